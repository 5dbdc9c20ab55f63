"""Folders of data sets: put in place by hand, or created atomically."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from segloss.datasets._checks import check_files_of_lists, check_labels, check_sizes
from segloss.datasets._dataset import Dataset
from segloss.datasets._read import DatasetError


def manual_download(name: str, verify: Callable[[Path], None], instructions: str) -> Callable[[Path], Path]:
    """A ``prepare`` for data that cannot be fetched: it verifies the folder, or raises an error with instructions."""

    def prepare(data_root: Path) -> Path:
        folder = Path(data_root) / name
        if not folder.is_dir():
            raise DatasetError(f"data set {name} is not at {folder}; {instructions}")
        verify(folder)
        return folder

    return prepare


def published(dataset: Dataset, counts: Mapping[str, int], labels_sha256: str | None = None) -> Dataset:
    """The data set with a ``verify`` for the number of images and the label files that its owners published.

    Args:
        dataset: Its description; without ``prepare`` it gets one that verifies a folder put in place by hand.
        counts: Number of images of each split.
        labels_sha256: ``labels_sha256`` of its label files. Default: None: they are not compared.
    """

    def verify(folder: Path) -> None:
        """Raise DatasetError, in one sentence, unless the folder holds all images and the labels unchanged."""
        check_files_of_lists(dataset, folder, counts)
        if labels_sha256 is not None:
            check_labels(dataset, folder, labels_sha256)
        check_sizes(dataset, folder)

    prepare = dataset.prepare or manual_download(dataset.folder or dataset.name, verify, dataset.instructions)
    return replace(dataset, verify=verify, prepare=prepare)


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """An empty folder to fill, renamed to ``folder`` when the block ends and removed if it fails.

    ``folder`` never exists half-filled. If another process was faster, that process's folder is kept.

    Raises:
        DatasetError: Nothing can be written there.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise DatasetError(f"cannot make {folder} ({error}); choose a data root that can be written to") from error
    try:
        temporary.chmod(0o755)  # mkdtemp makes private folders, a data set is shared
        yield temporary
        try:
            os.rename(temporary, folder)
        except OSError:
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
