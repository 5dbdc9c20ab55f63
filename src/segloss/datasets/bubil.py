"""BU-BIL phase contrast: single cells cut out of microscope frames, drawn by five experts with two tools each.

Gurari et al., How to Collect Segmentations for Biomedical Images?, 2015, https://doi.org/10.1109/WACV.2015.160.
Official home: http://www.cs.bu.edu/fac/betke/BiomedicalImageSegmentation/ (4-clause BSD terms of Boston University).

The reference label is the owners' gold standard. It is, pixel for pixel, the drawing of Person2 with ImageJ, so it is
not counted as a rater. In data set 1, Person2's two drawings are identical files: only one of them counts. Two
drawings show a different cell from all the others; ``meta.csv`` excludes them.
"""

import csv
from pathlib import Path

from segloss.datasets._dataset import Dataset, Entry
from segloss.datasets._folders import published
from segloss.datasets._read import DatasetError, read_foreground

COUNTS = {"train": 59, "val": 17, "test": 40}
RATERS = tuple(f"Person{person}_{tool}" for person in range(1, 6) for tool in ("Amira", "ImageJ"))
LABELS_SHA256 = "55de245130431514156d0544fc6fdfe5ff21b1c766915dbc4af367edfa196116"
INSTRUCTIONS = (
    "cut the frames of data sets 1, 2A and 3 from http://www.cs.bu.edu/fac/betke/BiomedicalImageSegmentation/ to the "
    "boxes of meta.csv, as images/<id>.png, masks/<rater>/<id>.png (255 = cell), {train,val,test}.txt, meta.csv"
)


def read_list(folder: Path, split: str) -> list[Entry]:
    """Image, gold standard and the ten raters of each image of a split; None for duplicates and excluded drawings.

    Raises:
        DatasetError: There is no such list, or no meta.csv.
    """
    folder = Path(folder)
    for path in (folder / f"{split}.txt", folder / "meta.csv"):
        if not path.is_file():
            raise DatasetError(f"bubil: {path} is missing; {INSTRUCTIONS}")
    with open(folder / "meta.csv", newline="") as file:
        left_out = {row["id"]: set(row["exclude"].split()) for row in csv.DictReader(file)}
    entries = []
    for name in (folder / f"{split}.txt").read_text().split():
        if name not in left_out:
            raise DatasetError(f"bubil: {name} of {folder / f'{split}.txt'} is not in {folder / 'meta.csv'}")
        missing = left_out[name] | ({"Person2_Amira"} if name.startswith("D1_") else set())
        raters = [None if rater in missing else f"masks/{rater}/{name}.png" for rater in RATERS]
        entries.append((f"images/{name}.png", f"masks/GoldStandard/{name}.png", *raters))
    return entries


BUBIL = published(
    Dataset(
        name="bubil",
        classes=("background", "cell"),
        palette=((0, 0, 0), (0, 158, 115)),
        void=None,
        raters=len(RATERS),
        generated=False,
        instructions=INSTRUCTIONS,
        terms="4-clause BSD of Boston University",
        read_list=read_list,
        read_label=read_foreground,
        redistributable=True,
    ),
    COUNTS,
    LABELS_SHA256,
)
