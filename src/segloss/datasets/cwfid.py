"""CWFID: a carrot field seen from above, crop against weed; 93 % of the pixels are soil.

Haug and Ostermann, A Crop/Weed Field Image Dataset, 2014, https://doi.org/10.1007/978-3-319-16220-1_8.
Official home: https://github.com/cwfid/dataset (non-commercial research).

The owners' split names image 28 in both of its lists; here it is in train only.
"""

import re
from pathlib import Path

import numpy as np

from segloss.datasets._dataset import Dataset, Entry
from segloss.datasets._folders import published
from segloss.datasets._lookup import colour_table, ids_of_colours
from segloss.datasets._read import DatasetError, read_image

COUNTS = {"train": 40, "test": 20}
COLOURS = ((0, 0, 0), (0, 255, 0), (255, 0, 0))  # of soil, crop and weed in the annotations
TABLE = tuple((colour, index) for index, colour in enumerate(COLOURS))
LABELS_SHA256 = "c401912beeac6abbcd940d2dd75b084966b16dd340a938c3f7aea3b8ab836122"
INSTRUCTIONS = (
    "unpack a release of https://github.com/cwfid/dataset/releases to cwfid/, with images/, annotations/ and "
    "train_test_split.yaml"
)


def read_list(folder: Path, split: str) -> list[Entry]:
    """Image and annotation of each image of the owners' split, without image 28 in test.

    Raises:
        DatasetError: There is no such split, or the owners' split file is missing.
    """
    if split not in COUNTS:
        raise DatasetError(f"cwfid has no list {split!r}; known: {', '.join(COUNTS)}")
    path = Path(folder) / "train_test_split.yaml"
    if not path.is_file():
        raise DatasetError(f"cwfid: {path} is missing; {INSTRUCTIONS}")
    # Two flow lists of integers: no YAML library is needed to read them.
    lists = {
        key: [int(number) for number in numbers.split(",")]
        for key, numbers in re.findall(r"^(\w+):\s*\[([\d,\s]+)\]", path.read_text(), re.MULTILINE)
    }
    if set(lists) != set(COUNTS):
        raise DatasetError(f"cwfid: {path} must hold the lists train and test, got {', '.join(lists) or 'none'}")
    numbers = [number for number in lists[split] if split == "train" or number not in lists["train"]]
    # The owners publish PNG; copies with JPEG images are smaller.
    suffix = "png" if (Path(folder) / "images" / "001_image.png").is_file() else "jpg"
    return [(f"images/{n:03d}_image.{suffix}", f"annotations/{n:03d}_annotation.png") for n in numbers]


def read_label(path: Path) -> np.ndarray:
    """The class ids, uint8 (height, width), of an annotation in colours.

    Raises:
        DatasetError: It holds any other colour.
    """
    return ids_of_colours(read_image(path), colour_table(TABLE), path)


CWFID = published(
    Dataset(
        name="cwfid",
        classes=("soil", "crop", "weed"),
        palette=COLOURS,
        void=None,
        raters=0,
        generated=False,
        instructions=INSTRUCTIONS,
        terms="non-commercial research",
        splits=tuple(COUNTS),
        read_list=read_list,
        read_label=read_label,
    ),
    COUNTS,
    LABELS_SHA256,
)
