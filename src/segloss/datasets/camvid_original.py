"""CamVid at its original 960 x 720 pixels: 32 colour-coded classes, grouped into the 11 of SegNet's version.

Brostow et al., Segmentation and Recognition Using Structure from Motion Point Clouds, 2008. Official home:
http://mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid/. The classes are grouped as in the articles on the JDT
losses, which is SegNet's grouping. The split is SegNet's, by its lists of 367, 101 and 233 names;
``camvid-960-trainval`` trains on its training and validation images together.
"""

from functools import partial
from pathlib import Path

import numpy as np

from segloss.datasets import camvid
from segloss.datasets._dataset import Dataset, Entry
from segloss.datasets._image_folders import folder_dataset
from segloss.datasets._lookup import VOID, colour_table, ids_of_colours
from segloss.datasets._read import DatasetError, read_image

COUNTS = {"train": 367, "val": 101, "test": 233}
TRAINVAL_COUNTS = {"train": 468, "test": 233}
INSTRUCTIONS = (
    "unpack the images and labels of http://mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid/ (check the owners' "
    "terms) to camvid-960/701_StillsRaw_full/<name>.png and camvid-960/LabeledApproved_full/<name>_L.png, and put "
    f"SegNet's lists {camvid.URL.replace('/archive/', '/tree/').removesuffix('.tar.gz')}/CamVid to "
    "camvid-960/{train,val,test}.txt"
)
# The owners' colours of each class, the class's own colour first.
COLOURS = {
    "sky": ((128, 128, 128),),
    "building": ((128, 0, 0), (64, 0, 64), (0, 128, 64), (64, 192, 0), (192, 0, 128)),
    "pole": ((192, 192, 128), (0, 0, 64)),
    "road": ((128, 64, 128), (192, 0, 64), (128, 0, 192)),
    "pavement": ((0, 0, 192), (64, 192, 128), (128, 128, 192)),
    "tree": ((128, 128, 0), (192, 192, 0)),
    "sign_symbol": ((192, 128, 128), (128, 128, 64), (0, 64, 64)),
    "fence": ((64, 64, 128),),
    "car": ((64, 0, 128), (64, 128, 192), (128, 64, 64), (192, 64, 128), (192, 128, 192)),
    "pedestrian": ((64, 64, 0), (192, 128, 64), (64, 0, 192), (64, 128, 64)),
    "bicyclist": ((0, 128, 192), (192, 0, 192)),
}
TABLE = (
    *((colour, index) for index, colours in enumerate(COLOURS.values()) for colour in colours),
    ((0, 0, 0), VOID),
)


def entries(folder: Path, split: str, trainval: bool = False) -> list[Entry]:
    """Image and label of each image of a split, in the order of SegNet's lists, of which only file names are used."""
    listed = []
    for name in ("train", "val") if trainval and split == "train" else (split,):
        path = Path(folder) / f"{name}.txt"
        if not path.is_file():
            raise DatasetError(f"camvid-960: {path} is missing; {INSTRUCTIONS}")
        lines = path.read_text(encoding="utf-8").splitlines()
        listed += [Path(line.split()[0]).stem for line in lines if line.strip()]
    return [(f"701_StillsRaw_full/{name}.png", f"LabeledApproved_full/{name}_L.png") for name in listed]


def read_label(path: Path) -> np.ndarray:
    """The class ids, uint8 (height, width), of a label in the owners' 32 colours.

    Raises:
        DatasetError: It holds any other colour.
    """
    return ids_of_colours(read_image(path), colour_table(TABLE), path)


def dataset(trainval: bool = False) -> Dataset:
    """The description with SegNet's split, or with its training and validation images together."""
    return folder_dataset(
        name="camvid-960-trainval" if trainval else "camvid-960",
        classes=tuple(COLOURS),
        palette=tuple(colours[0] for colours in COLOURS.values()),
        void=VOID,
        counts=TRAINVAL_COUNTS if trainval else COUNTS,
        instructions=INSTRUCTIONS,
        terms="not stated; check the owners' page",
        entries=partial(entries, trainval=trainval),
        read_label=read_label,
        folder="camvid-960",
        splits=tuple(TRAINVAL_COUNTS if trainval else COUNTS),
    )


CAMVID_ORIGINAL = dataset(), dataset(trainval=True)
