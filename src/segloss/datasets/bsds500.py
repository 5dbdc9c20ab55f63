"""BSDS500: object boundaries in 500 photographs, each drawn by four to nine people.

Arbelaez, Maire, Fowlkes and Malik, Contour Detection and Hierarchical Image Segmentation, 2011,
https://doi.org/10.1109/TPAMI.2010.161. Official home: https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/bsds/
(non-commercial research and education).

The drawings are lines one pixel wide. They are dilated by 3 x 3 pixels when read: otherwise two drawings one pixel
apart disagree everywhere. The label is the first drawing. Rater k of one image and rater k of another are not the same
person, so a mean over one rater's images means nothing here; the spread within an image does.
"""

from pathlib import Path

import numpy as np

from segloss.datasets._dataset import Dataset, Entry
from segloss.datasets._folders import published
from segloss.datasets._read import DatasetError, read_foreground

COUNTS = {"train": 200, "val": 100, "test": 200}
MOST_DRAWINGS = 9  # of one image
LABELS_SHA256 = "a7704a937287278cabe39d0fef3b20b3be62a7e9b36b37fb41f2185305f64ab7"
INSTRUCTIONS = (
    "from BSR_bsds500.tgz of https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/resources.html save "
    "images/<split>/<id>.jpg, each groundTruth{k}.Boundaries as boundaries/<split>/<id>_<k>.png (0 and 255), and the "
    "ids of each split as {train,val,test}.txt, below bsds500/"
)


def read_list(folder: Path, split: str) -> list[Entry]:
    """Image, first drawing as label, and all drawings of each image of a split, padded with None to nine.

    Raises:
        DatasetError: There is no such list, or an image without any drawing.
    """
    folder = Path(folder)
    path = folder / f"{split}.txt"
    if not path.is_file():
        raise DatasetError(f"bsds500: {path} is missing; {INSTRUCTIONS}")
    entries = []
    for name in path.read_text().split():
        drawings = [f"boundaries/{split}/{name}_{number}.png" for number in range(MOST_DRAWINGS)]
        present = [drawing if (folder / drawing).is_file() else None for drawing in drawings]
        if present[0] is None:
            raise DatasetError(f"bsds500: {folder / drawings[0]} is missing, though {split} lists {name}")
        entries.append((f"images/{split}/{name}.jpg", present[0], *present))
    return entries


def read_label(path: Path) -> np.ndarray:
    """A drawing dilated by 3 x 3 pixels, uint8 (height, width), 1 on boundaries."""
    padded = np.pad(read_foreground(path), 1)
    rows = padded[:-2] | padded[1:-1] | padded[2:]
    return rows[:, :-2] | rows[:, 1:-1] | rows[:, 2:]


BSDS500 = published(
    Dataset(
        name="bsds500",
        classes=("none", "boundary"),
        palette=((0, 0, 0), (230, 159, 0)),
        void=None,
        raters=MOST_DRAWINGS,
        generated=False,
        instructions=INSTRUCTIONS,
        terms="non-commercial research and education",
        megabytes=71,
        read_list=read_list,
        read_label=read_label,
    ),
    COUNTS,
    LABELS_SHA256,
)
