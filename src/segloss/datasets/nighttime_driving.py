"""Nighttime Driving: 50 street scenes at night with Cityscapes' 19 classes, coarse annotations; for evaluation only.

Dai and Van Gool, Dark Model Adaptation: Semantic Image Segmentation from Daytime to Nighttime, 2018,
https://arxiv.org/abs/1810.02575. Models are trained on Cityscapes.
"""

from pathlib import Path

import numpy as np

from segloss.datasets import cityscapes
from segloss.datasets._dataset import Entry
from segloss.datasets._image_folders import folder_dataset, pairs
from segloss.datasets._lookup import VOID, consecutive, ids_of_values
from segloss.datasets._read import read_values

COUNTS = {"test": 50}
INSTRUCTIONS = (
    "unpack https://data.vision.ee.ethz.ch/daid/NighttimeDriving/NighttimeDrivingTest.zip (research; check the owners' "
    "terms) to NighttimeDrivingTest/{leftImg8bit,gtCoarse_daytime_trainvaltest}/test/night/"
)
TABLE = consecutive(len(cityscapes.CLASSES))


def label_of(image: str) -> str:
    """The label of an image, both relative to the folder."""
    folder = image.replace("leftImg8bit/", "gtCoarse_daytime_trainvaltest/", 1)
    return folder.replace("_leftImg8bit.png", "_gtCoarse_labelTrainIds.png")


def entries(folder: Path, split: str) -> list[Entry]:
    """Image and label of each image, sorted by name."""
    return pairs(folder, f"leftImg8bit/{split}/night/*_leftImg8bit.png", label_of)


def read_label(path: Path) -> np.ndarray:
    """The class ids, uint8 (height, width), of a file of Cityscapes' train ids.

    Raises:
        DatasetError: It holds a value other than 0..18 and 255.
    """
    return ids_of_values(read_values(path), TABLE, path)


NIGHTTIME_DRIVING = folder_dataset(
    name="nighttime-driving",
    classes=tuple(cityscapes.CLASSES),
    palette=cityscapes.PALETTE,
    void=VOID,
    counts=COUNTS,
    instructions=INSTRUCTIONS,
    terms="research; check the owners' page",
    entries=entries,
    read_label=read_label,
    folder="NighttimeDrivingTest",
    splits=("test",),
    why_no_other=" since it is for evaluation only: train on cityscapes",
)
