"""The data sets: where they lie, what their classes are called, and how to come by them."""

from pathlib import Path

from segloss.datasets._dataset import Dataset, image_names, read_list
from segloss.datasets._fingerprints import fingerprints
from segloss.datasets._read import DatasetError
from segloss.datasets._semi_supervised import split_labelled, training_lists
from segloss.datasets.ade20k import ADE20K
from segloss.datasets.bsds500 import BSDS500
from segloss.datasets.bubil import BUBIL
from segloss.datasets.camvid import CAMVID
from segloss.datasets.camvid_original import CAMVID_ORIGINAL
from segloss.datasets.ccp import CCP12, CCP59
from segloss.datasets.cityscapes import CITYSCAPES
from segloss.datasets.coco_stuff import COCO_STUFF
from segloss.datasets.cwfid import CWFID
from segloss.datasets.dark_zurich import DARK_ZURICH
from segloss.datasets.deepglobe import DEEPGLOBE_LAND, DEEPGLOBE_ROAD
from segloss.datasets.deepglobe_building import DEEPGLOBE_BUILDING
from segloss.datasets.mapillary_vistas import MAPILLARY_VISTAS
from segloss.datasets.nighttime_driving import NIGHTTIME_DRIVING
from segloss.datasets.pascal_context import PASCAL_CONTEXT
from segloss.datasets.pascal_voc import PASCAL_VOC
from segloss.datasets.phantom import PHANTOM
from segloss.datasets.qubiq import QUBIQ
from segloss.datasets.stare import STARE

__all__ = [
    "DATASETS",
    "PAPER_DATASETS",
    "Dataset",
    "DatasetError",
    "find",
    "fingerprints",
    "image_names",
    "locate",
    "read_list",
    "root_of",
    "split_labelled",
    "training_lists",
]

# The large data sets of the articles on the JDT losses.
PAPER_DATASETS = (
    CITYSCAPES,
    NIGHTTIME_DRIVING,
    DARK_ZURICH,
    MAPILLARY_VISTAS,
    *CAMVID_ORIGINAL,
    ADE20K,
    COCO_STUFF,
    PASCAL_VOC,
    PASCAL_CONTEXT,
    DEEPGLOBE_LAND,
    DEEPGLOBE_ROAD,
    DEEPGLOBE_BUILDING,
)
DATASETS: dict[str, Dataset] = {
    dataset.name: dataset
    for dataset in (PHANTOM, CAMVID, BUBIL, STARE, CWFID, BSDS500, CCP12, CCP59, *QUBIQ, *PAPER_DATASETS)
}


def find(name: str) -> Dataset:
    """The data set of a name; ``<name>-fold<k>`` is fold k of its cross-validation.

    Raises:
        DatasetError: No data set of that name, or it has no such fold.
    """
    base, is_fold, number = name.rpartition("-fold")
    if is_fold and base in DATASETS and number.isdecimal():
        if DATASETS[base].with_fold is None or int(number) >= DATASETS[base].folds:
            raise DatasetError(f"{base} has {DATASETS[base].folds or 'no'} folds, got fold {number}")
        return DATASETS[base].with_fold(int(number))
    if name not in DATASETS:
        raise DatasetError(f"unknown data set {name!r}; known: {', '.join(sorted(DATASETS))}")
    return DATASETS[name]


def root_of(name: str, data_root: Path) -> Path:
    """The folder that holds a data set's own folder: ``data/`` for generated ones, as the data root may be read-only.

    Raises:
        DatasetError: No data set of that name.
    """
    return Path("data") if find(name).generated else Path(data_root)


def locate(name: str, data_root: Path) -> Path:
    """The folder of a data set.

    Raises:
        DatasetError: No data set of that name, or its folder is not there; the sentence says how to get it.
    """
    dataset = find(name)
    folder = root_of(name, data_root) / (dataset.folder or name)
    if not folder.is_dir():
        raise DatasetError(f"data set {name} is not at {folder}; {dataset.instructions}")
    return folder
