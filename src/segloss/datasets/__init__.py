"""The data sets: where they lie, what their classes are called, and how to come by them."""

from pathlib import Path

from segloss.datasets._dataset import Dataset, read_list
from segloss.datasets.camvid import CAMVID
from segloss.datasets.phantom import PHANTOM

__all__ = ["DATASETS", "Dataset", "locate", "read_list"]

DATASETS: dict[str, Dataset] = {dataset.name: dataset for dataset in (PHANTOM, CAMVID)}


def locate(name: str, data_root: Path) -> Path:
    """The folder of a data set below the data root.

    Raises:
        ValueError: No data set of that name.
        FileNotFoundError: Its folder is not there; the sentence says how to get it.
    """
    if name not in DATASETS:
        raise ValueError(f"unknown data set {name!r}; known: {', '.join(sorted(DATASETS))}")
    folder = Path(data_root) / name
    if not folder.is_dir():
        raise FileNotFoundError(f"data set {name} is not at {folder}; {DATASETS[name].how_to_get}")
    return folder
