"""Cityscapes: street scenes from 50 cities, 2048 x 1024 pixels, 19 classes and void, fine annotations.

Cordts et al., The Cityscapes Dataset for Semantic Urban Scene Understanding, 2016, https://arxiv.org/abs/1604.01685.
Official home: https://www.cityscapes-dataset.com (registration; non-commercial).

The owners' label files ``*_gtFine_labelIds.png`` hold the ids 0..33 of cityscapesScripts; a table maps them to the 19
classes, so neither a converter nor a second copy of the labels is needed. The labels of the owners' test images are not
public: articles train on ``train`` and evaluate on ``val``.
"""

from pathlib import Path

import numpy as np

from segloss.datasets._dataset import Entry
from segloss.datasets._image_folders import folder_dataset, pairs
from segloss.datasets._lookup import VOID, ids_of_values, value_table
from segloss.datasets._read import read_values

COUNTS = {"train": 2975, "val": 500}
INSTRUCTIONS = (
    "register at https://www.cityscapes-dataset.com (non-commercial; check its terms), unpack "
    "leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip to cityscapes/{leftImg8bit,gtFine}/, and for "
    "semi-supervised grids put UniMatch's lists at cityscapes/unimatch/<list>/labeled.txt"
)
# Class: its id in the label files, its colour.
CLASSES = {
    "road": (7, (128, 64, 128)),
    "sidewalk": (8, (244, 35, 232)),
    "building": (11, (70, 70, 70)),
    "wall": (12, (102, 102, 156)),
    "fence": (13, (190, 153, 153)),
    "pole": (17, (153, 153, 153)),
    "traffic light": (19, (250, 170, 30)),
    "traffic sign": (20, (220, 220, 0)),
    "vegetation": (21, (107, 142, 35)),
    "terrain": (22, (152, 251, 152)),
    "sky": (23, (70, 130, 180)),
    "person": (24, (220, 20, 60)),
    "rider": (25, (255, 0, 0)),
    "car": (26, (0, 0, 142)),
    "truck": (27, (0, 0, 70)),
    "bus": (28, (0, 60, 100)),
    "train": (31, (0, 80, 100)),
    "motorcycle": (32, (0, 0, 230)),
    "bicycle": (33, (119, 11, 32)),
}
PALETTE = tuple(colour for _, colour in CLASSES.values())
TABLE = value_table(
    dict.fromkeys(range(34), VOID) | {value: index for index, (value, _) in enumerate(CLASSES.values())}
)


def label_of(image: str) -> str:
    """The label of an image, both relative to the folder."""
    return image.replace("leftImg8bit/", "gtFine/", 1).replace("_leftImg8bit.png", "_gtFine_labelIds.png")


def entries(folder: Path, split: str) -> list[Entry]:
    """Image and label of each image of a split, sorted by city and name."""
    return pairs(folder, f"leftImg8bit/{split}/*/*_leftImg8bit.png", label_of)


def entries_of(folder: Path, images: list[str]) -> list[Entry]:
    """The entries of the images in one of UniMatch's lists, whose label paths (a converter's) are not used."""
    return [(image, label_of(image)) for image in images]


def read_label(path: Path) -> np.ndarray:
    """The class ids, uint8 (height, width), of a file of Cityscapes' label ids.

    Raises:
        DatasetError: It holds a value other than 0..33.
    """
    return ids_of_values(read_values(path), TABLE, path)


CITYSCAPES = folder_dataset(
    name="cityscapes",
    classes=tuple(CLASSES),
    palette=PALETTE,
    void=VOID,
    counts=COUNTS,
    instructions=INSTRUCTIONS,
    terms="registration; non-commercial; check the owners' page",
    entries=entries,
    read_label=read_label,
    entries_of=entries_of,
)
