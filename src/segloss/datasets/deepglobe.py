"""DeepGlobe Land Cover and Road Extraction: satellite images, 6 classes at 2448 x 2448 and roads at 1024 x 1024 pixels.

Demir et al., DeepGlobe 2018: A Challenge to Parse the Earth through Satellite Images, 2018,
https://arxiv.org/abs/1805.06561. The labels of the owners' validation and test images are not public: as in the
articles on the JDT losses, the training images are divided into five folds by name, and ``train`` and ``val`` are those
of fold 0.
"""

from functools import partial
from pathlib import Path

import numpy as np

from segloss.datasets._dataset import Dataset, Entry
from segloss.datasets._folds import fold_of
from segloss.datasets._image_folders import folder_dataset, pairs
from segloss.datasets._lookup import VOID, colour_table, ids_of_colours
from segloss.datasets._read import DatasetError, read_image

LAND_COUNTS = {"train": 643, "val": 160}
ROAD_COUNTS = {"train": 4981, "val": 1245}
LAND = {
    "urban": (0, 255, 255),
    "agriculture": (255, 255, 0),
    "rangeland": (255, 0, 255),
    "forest": (0, 255, 0),
    "water": (0, 0, 255),
    "barren": (255, 255, 255),
}
LAND_COLOURS = (*((colour, index) for index, colour in enumerate(LAND.values())), ((0, 0, 0), VOID))


def instructions(task: str) -> str:
    """One sentence on how to get the images of a task."""
    return (
        f"get the training images of the {task} task at http://deepglobe.org (research; check the owners' terms) and "
        f"unpack them to deepglobe-{task}/train/<id>_sat.jpg and <id>_mask.png"
    )


def entries(folder: Path, split: str, fold: int = 0) -> list[Entry]:
    """Image and mask of each image of a split of one of five folds by name."""
    images = pairs(folder, "train/*_sat.jpg", lambda image: image.replace("_sat.jpg", "_mask.png"))
    train, val = fold_of(images, fold)
    return train if split == "train" else val


def read_land(path: Path) -> np.ndarray:
    """The class ids, uint8 (height, width), of a mask in colours; channel values from 128 up count as 255.

    Raises:
        DatasetError: It holds the one colour without a class, pure red.
    """
    colours = np.where(read_image(path) >= 128, np.uint8(255), np.uint8(0))
    return ids_of_colours(colours, colour_table(LAND_COLOURS), path)


def read_road(path: Path) -> np.ndarray:
    """The class ids, uint8 (height, width), of a grey mask: 1 from 128 up, since some masks are not just 0 and 255.

    Raises:
        DatasetError: The mask is not grey.
    """
    grey = read_image(path)
    if (grey != grey[..., :1]).any():
        raise DatasetError(f"{path} must be a grey mask, got colours")
    return (grey[..., 0] >= 128).astype(np.uint8)


def dataset(task: str, fold: int | None = None) -> Dataset:
    """The description of a task, ``land`` or ``road``, with the split of one fold; by default of fold 0."""
    land = task == "land"
    return folder_dataset(
        name=f"deepglobe-{task}" + ("" if fold is None else f"-fold{fold}"),
        classes=tuple(LAND) if land else ("background", "road"),
        palette=tuple(LAND.values()) if land else ((0, 0, 0), (255, 255, 255)),
        void=VOID if land else None,
        counts=LAND_COUNTS if land else ROAD_COUNTS,
        instructions=instructions(task),
        terms="competition terms, research; check the owners' page",
        entries=partial(entries, fold=fold or 0),
        read_label=read_land if land else read_road,
        folder=f"deepglobe-{task}",
        with_fold=partial(dataset, task) if fold is None else None,
    )


DEEPGLOBE_LAND, DEEPGLOBE_ROAD = dataset("land"), dataset("road")
