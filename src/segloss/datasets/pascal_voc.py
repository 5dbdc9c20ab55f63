"""PASCAL VOC 2012 with the extra annotations of SBD: photographs of about 500 x 375 pixels, 20 kinds of objects.

Everingham et al., The PASCAL Visual Object Classes Challenge: A Retrospective, 2015,
https://doi.org/10.1007/s11263-014-0733-5; Hariharan et al., Semantic Contours from Inverse Detectors, 2011 (SBD),
https://doi.org/10.1109/ICCV.2011.6126343.

``train`` is called trainaug in articles: the images of VOC's and of both of SBD's lists, without VOC's ``val``. The
label is VOC's own if it exists, else SBD's, whose MATLAB files are read directly (MMSegmentation's
``SegmentationClassAug`` works too). VOC's labels have a void border around objects, SBD's have none.
"""

from pathlib import Path

import numpy as np

from segloss.datasets._dataset import Entry
from segloss.datasets._image_folders import folder_dataset
from segloss.datasets._lookup import VOID, consecutive, distinct_colours, ids_of_values
from segloss.datasets._matlab import read_map
from segloss.datasets._read import DatasetError, read_values

COUNTS = {"train": 10582, "val": 1449}
INSTRUCTIONS = (
    "unpack VOCtrainval_11-May-2012.tar of http://host.robots.ox.ac.uk/pascal/VOC/voc2012/ and benchmark.tgz of "
    "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/ to "
    "VOCdevkit/{VOC2012,benchmark_RELEASE}/ (photographs under Flickr's terms; check the owners' pages), and for "
    "semi-supervised grids put UniMatch's lists at VOCdevkit/unimatch/<list>/labeled.txt"
)
SBD_FOLDERS = ("benchmark_RELEASE/dataset", "VOCaug/dataset")  # as in the archive, as in MMSegmentation's documentation
CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
TABLE = consecutive(len(CLASSES))


def names_of(path: Path) -> list[str]:
    """The image names in one of the owners' lists."""
    if not path.is_file():
        raise DatasetError(f"pascal-voc: {path} is missing; {INSTRUCTIONS}")
    return path.read_text(encoding="utf-8").split()


def sbd_folder(folder: Path) -> str:
    """The folder of SBD, relative to the data set's."""
    return next((place for place in SBD_FOLDERS if (folder / place).is_dir()), SBD_FOLDERS[0])


def labelled_names(folder: Path) -> set[str]:
    """The names of the images with one of VOC's own labels."""
    return {
        name for split in ("train", "val") for name in names_of(folder / f"VOC2012/ImageSets/Segmentation/{split}.txt")
    }


def entry(folder: Path, name: str, labelled: set[str]) -> Entry:
    """Image and label of an image by its name."""
    image = f"VOC2012/JPEGImages/{name}.jpg"
    if name in labelled:
        return image, f"VOC2012/SegmentationClass/{name}.png"
    if (folder / "VOC2012/SegmentationClassAug").is_dir() and not (folder / sbd_folder(folder)).is_dir():
        return image, f"VOC2012/SegmentationClassAug/{name}.png"
    return image, f"{sbd_folder(folder)}/cls/{name}.mat"


def entries(folder: Path, split: str) -> list[Entry]:
    """Image and label of each image of a split, sorted by name."""
    lists = folder / "VOC2012" / "ImageSets" / "Segmentation"
    names = set(names_of(lists / f"{split}.txt"))
    if split == "train":
        converted, sbd = lists / "aug.txt", folder / sbd_folder(folder)
        extra = [converted] if converted.is_file() and not sbd.is_dir() else [sbd / "train.txt", sbd / "val.txt"]
        names = names.union(*map(names_of, extra)) - set(names_of(lists / "val.txt"))
    labelled = labelled_names(folder)
    return [entry(folder, name, labelled) for name in sorted(names)]


def entries_of(folder: Path, images: list[str]) -> list[Entry]:
    """The entries of the images in one of UniMatch's lists, whose label paths (a converter's) are not used."""
    labelled = labelled_names(folder)
    return [entry(folder, Path(image).stem, labelled) for image in images]


def read_label(path: Path) -> np.ndarray:
    """The class ids, uint8 (height, width), of a palette image of VOC or a MATLAB file of SBD.

    Raises:
        DatasetError: It cannot be read, or holds a value other than 0..20 and 255.
    """
    values = read_map(path, "GTcls", "Segmentation") if Path(path).suffix == ".mat" else read_values(path)
    return ids_of_values(values, TABLE, path)


PASCAL_VOC = folder_dataset(
    name="pascal-voc",
    classes=CLASSES,
    palette=distinct_colours(len(CLASSES)),
    void=VOID,
    counts=COUNTS,
    instructions=INSTRUCTIONS,
    terms="photographs under Flickr's terms; check the owners' pages",
    entries=entries,
    read_label=read_label,
    folder="VOCdevkit",
    entries_of=entries_of,
)
