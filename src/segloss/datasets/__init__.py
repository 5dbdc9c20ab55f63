"""The data sets: where they lie, what their classes are called, and how to come by them."""

from pathlib import Path

from segloss.datasets._dataset import Dataset, DatasetError, image_names, read_list
from segloss.datasets._fingerprints import fingerprints
from segloss.datasets._semi_supervised import split_labelled, training_lists
from segloss.datasets.bubil import BUBIL
from segloss.datasets.camvid import CAMVID
from segloss.datasets.cwfid import CWFID
from segloss.datasets.phantom import PHANTOM
from segloss.datasets.qubiq import QUBIQ
from segloss.datasets.stare import STARE

__all__ = [
    "DATASETS",
    "Dataset",
    "DatasetError",
    "fingerprints",
    "image_names",
    "locate",
    "read_list",
    "root_of",
    "split_labelled",
    "training_lists",
]

DATASETS: dict[str, Dataset] = {dataset.name: dataset for dataset in (PHANTOM, CAMVID, BUBIL, STARE, CWFID, *QUBIQ)}


def root_of(name: str, data_root: Path) -> Path:
    """The folder a data set's own folder lies in: ``data/`` for generated ones, since the data root may be read-only.

    Raises:
        DatasetError: No data set of that name.
    """
    if name not in DATASETS:
        raise DatasetError(f"unknown data set {name!r}; known: {', '.join(sorted(DATASETS))}")
    return Path("data") if DATASETS[name].generated else Path(data_root)


def locate(name: str, data_root: Path) -> Path:
    """The folder of a data set.

    Raises:
        DatasetError: No data set of that name, or its folder is not there; the sentence says how to get it.
    """
    folder = root_of(name, data_root) / (DATASETS[name].folder or name)
    if not folder.is_dir():
        raise DatasetError(f"data set {name} is not at {folder}; {DATASETS[name].how_to_get}")
    return folder
