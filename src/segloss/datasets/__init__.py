"""The data sets: where they are stored, what their classes are called, and how to obtain them."""

import difflib
from pathlib import Path

from segloss.datasets._availability import availability, format_availability
from segloss.datasets._dataset import Dataset, read_list
from segloss.datasets._described import described
from segloss.datasets._fingerprints import fingerprints
from segloss.datasets._new_dataset import new_dataset
from segloss.datasets._read import DatasetError
from segloss.datasets._semi_supervised import split_labelled, training_lists
from segloss.datasets._training_config import training_config
from segloss.datasets.ade20k import ADE20K
from segloss.datasets.bsds500 import BSDS500
from segloss.datasets.bubil import BUBIL
from segloss.datasets.camvid import CAMVID, CAMVID_TRAINVAL
from segloss.datasets.camvid_original import CAMVID_ORIGINAL
from segloss.datasets.ccp import CCP12, CCP59
from segloss.datasets.cityscapes import CITYSCAPES
from segloss.datasets.coco_stuff import COCO_STUFF
from segloss.datasets.cwfid import CWFID
from segloss.datasets.dark_zurich import DARK_ZURICH
from segloss.datasets.deepglobe import DEEPGLOBE_LAND, DEEPGLOBE_ROAD
from segloss.datasets.deepglobe_building import DEEPGLOBE_BUILDING
from segloss.datasets.lits_kits import KITS19, LITS
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
    "add_described",
    "find",
    "fingerprints",
    "list_datasets",
    "locate",
    "new_dataset",
    "place_of",
    "read_list",
    "root_of",
    "split_labelled",
    "training_config",
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
    for dataset in (
        PHANTOM,
        CAMVID,
        CAMVID_TRAINVAL,
        BUBIL,
        STARE,
        CWFID,
        BSDS500,
        CCP12,
        CCP59,
        LITS,
        KITS19,
        *QUBIQ,
        *PAPER_DATASETS,
    )
}


def add_described(file: Path) -> Dataset:
    """Add the data set that a YAML file describes to ``DATASETS``, under the file's name without its extension.

    Raises:
        DatasetError: The file is not a description, or its name is that of a built-in data set.
    """
    dataset = described(file)
    if dataset.name in DATASETS and DATASETS[dataset.name].location is None:
        raise DatasetError(f"{file} needs another name: {dataset.name} is a data set of segloss")
    DATASETS[dataset.name] = dataset
    return dataset


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
        near = difflib.get_close_matches(name, DATASETS, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise DatasetError(f"unknown data set {name!r}{hint}; known: {', '.join(sorted(DATASETS))}")
    return DATASETS[name]


def root_of(name: str, data_root: Path) -> Path:
    """The folder that holds a data set's own folder: ``data/`` for generated ones, as the data root may be read-only.

    Raises:
        DatasetError: No data set of that name.
    """
    return Path("data") if find(name).generated else Path(data_root)


def place_of(dataset: Dataset, data_root: Path) -> Path:
    """The folder where a data set is, or would be."""
    if dataset.location is not None:
        return dataset.location
    return (Path("data") if dataset.generated else Path(data_root)) / (dataset.folder or dataset.name)


def list_datasets(data_root: Path) -> str:
    """A table of all data sets: state (ready, incomplete or missing), terms, size, and how to get missing ones."""
    return format_availability(availability(dataset, place_of(dataset, data_root)) for dataset in DATASETS.values())


def locate(name: str, data_root: Path) -> Path:
    """The folder of a data set.

    Raises:
        DatasetError: No data set of that name, or its folder is missing; the message includes the instructions.
    """
    dataset = find(name)
    folder = place_of(dataset, data_root)
    if not folder.is_dir():
        raise DatasetError(f"data set {name} is not at {folder}; {dataset.instructions}")
    return folder
