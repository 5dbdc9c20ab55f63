"""PASCAL Context with its 59 most frequent classes: the photographs of PASCAL VOC 2010, every pixel labelled.

Mottaghi et al., The Role of Context for Object Detection and Semantic Segmentation in the Wild, 2014,
https://doi.org/10.1109/CVPR.2014.119. Official home: https://cs.stanford.edu/~roozbeh/pascal-context/.

Two forms of the labels are read. MMSegmentation's converter writes ``VOC2010/SegmentationClassContext/*.png`` with
0 for pixels outside the 59 classes, and its own lists (4996 and 5104 images, the articles' counts). Without them,
the owners' ``trainval/*.mat`` with 459 classes are used: a table keeps 59 of them and maps all others to void. Their
lists are VOC 2010's main lists (4998 and 5105).
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from segloss.datasets._dataset import Entry
from segloss.datasets._image_folders import folder_dataset
from segloss.datasets._lookup import VOID, distinct_colours, ids_of_values, value_table
from segloss.datasets._matlab import read_map
from segloss.datasets._read import DatasetError, read_values

COUNTS = {"png": {"train": 4996, "val": 5104}, "mat": {"train": 4998, "val": 5105}}
PNG_FOLDER, MAT_FOLDER = "VOC2010/SegmentationClassContext", "VOC2010/trainval"
LISTS = {"png": "VOC2010/ImageSets/SegmentationContext", "mat": "VOC2010/ImageSets/Main"}
INSTRUCTIONS = (
    "unpack VOC 2010 of http://host.robots.ox.ac.uk/pascal/VOC/voc2010/ to VOCdevkit/VOC2010/ and trainval.tar.gz of "
    "https://cs.stanford.edu/~roozbeh/pascal-context/ to VOCdevkit/VOC2010/trainval/, or run MMSegmentation's "
    "converter pascal_context.py (photographs under Flickr's terms; check the owners' pages)"
)
# Class: its id among the owners' 459.
CLASSES = {
    "aeroplane": 2, "bag": 9, "bed": 18, "bedclothes": 19, "bench": 22, "bicycle": 23, "bird": 25, "boat": 31,
    "book": 33, "bottle": 34, "building": 44, "bus": 45, "cabinet": 46, "car": 59, "cat": 65, "ceiling": 68,
    "chair": 72, "cloth": 80, "computer": 85, "cow": 98, "cup": 104, "curtain": 105, "dog": 113, "door": 115,
    "fence": 144, "floor": 158, "flower": 159, "food": 162, "grass": 187, "ground": 189, "horse": 207, "keyboard": 220,
    "light": 232, "motorbike": 258, "mountain": 259, "mouse": 260, "person": 284, "plate": 295, "platform": 296,
    "pottedplant": 308, "road": 324, "rock": 326, "sheep": 347, "shelves": 349, "sidewalk": 354, "sign": 355,
    "sky": 360, "snow": 366, "sofa": 368, "table": 397, "track": 415, "train": 416, "tree": 420, "truck": 424,
    "tvmonitor": 427, "wall": 440, "water": 445, "window": 454, "wood": 458,
}  # fmt: skip
PNG_TABLE = value_table({0: VOID, **{index + 1: index for index in range(len(CLASSES))}})
MAT_TABLE = value_table(
    dict.fromkeys(range(460), VOID) | {value: index for index, value in enumerate(CLASSES.values())}
)


def form(folder: Path) -> str:
    """The form of the labels in a folder: ``png`` of the converter, else ``mat`` of the owners."""
    return "png" if (Path(folder) / PNG_FOLDER).is_dir() else "mat"


def counts(folder: Path) -> Mapping[str, int]:
    """Number of images of each split, for the form of the labels in a folder."""
    return COUNTS[form(folder)]


def entries(folder: Path, split: str) -> list[Entry]:
    """Image and label of each image of a split, sorted by name."""
    labels = form(folder)
    path = Path(folder) / LISTS[labels] / f"{split}.txt"
    if not path.is_file():
        raise DatasetError(f"pascal-context: {path} is missing; {INSTRUCTIONS}")
    names = sorted(path.read_text(encoding="utf-8").split())
    place = PNG_FOLDER if labels == "png" else MAT_FOLDER
    return [(f"VOC2010/JPEGImages/{name}.jpg", f"{place}/{name}.{labels}") for name in names]


def read_label(path: Path) -> np.ndarray:
    """The class ids, uint8 (height, width), of a label in either form.

    Raises:
        DatasetError: It cannot be read, or holds a value other than 0..59 (PNG) or 0..459 (MATLAB).
    """
    if Path(path).suffix == ".mat":
        return ids_of_values(read_map(path, "LabelMap"), MAT_TABLE, path)
    return ids_of_values(read_values(path), PNG_TABLE, path)


PASCAL_CONTEXT = folder_dataset(
    name="pascal-context",
    classes=tuple(CLASSES),
    palette=distinct_colours(len(CLASSES)),
    void=VOID,
    counts=counts,
    instructions=INSTRUCTIONS,
    terms="photographs under Flickr's terms; check the owners' pages",
    entries=entries,
    read_label=read_label,
    folder="VOCdevkit",
)
