"""Whether a folder holds a data set, whole and unchanged; every failure is one sentence."""

import hashlib
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from segloss.datasets._dataset import Dataset, DatasetError, content


def check_files_of_lists(dataset: Dataset, folder: Path, counts: dict[str, int]) -> None:
    """Raise DatasetError unless every split lists so many entries, all their files exist, and no image is in two."""
    seen: dict[str, str] = {}
    for split, count in counts.items():
        entries = dataset.read_list(folder, split)
        if len(entries) != count:
            raise DatasetError(f"{dataset.name}: {split} must list {count} images, got {len(entries)} in {folder}")
        for entry in entries:
            if len(entry) != 2 + dataset.raters:
                raise DatasetError(
                    f"{dataset.name}: an entry must name an image, a label and {dataset.raters} raters' maps, "
                    f"got {entry} in {split} of {folder}"
                )
            if entry[0] in seen:
                raise DatasetError(f"{dataset.name}: {entry[0]} is in both {seen[entry[0]]} and {split} of {folder}")
            seen[entry[0]] = split
            for relative in filter(None, entry):
                # By name alone: whoever owns the folder may keep the images elsewhere behind a link.
                if Path(relative).is_absolute() or ".." in Path(relative).parts:
                    raise DatasetError(f"{dataset.name}: {split} lists {relative}, which lies outside of {folder}")
                path = folder / relative
                if not path.is_file() or not path.stat().st_size:
                    state = "empty" if path.is_file() else "missing"
                    raise DatasetError(f"{dataset.name}: {path} is {state}, though {split} lists it")


def labels_sha256(dataset: Dataset, folder: Path) -> str:
    """sha256 (hex) over path and content of every label and rater file, in the order of the lists; images do not count.

    Of each file its path, a line end and the 32 bytes of its own sha256 are taken. Images may be re-encoded, labels may
    not.
    """
    digest = hashlib.sha256()
    for split in dataset.splits:
        for entry in dataset.read_list(folder, split):
            for relative in filter(None, entry[1:]):
                digest.update(relative.encode() + b"\n" + hashlib.sha256(content(folder / relative)).digest())
    return digest.hexdigest()


def check_labels(dataset: Dataset, folder: Path, expected: str) -> None:
    """Raise DatasetError unless the label files are those whose ``labels_sha256`` was written down."""
    found = labels_sha256(dataset, folder)
    if found != expected:
        raise DatasetError(f"{dataset.name}: the label files in {folder} are not those published (sha256 {found})")


def check_sizes(dataset: Dataset, folder: Path) -> None:
    """Raise DatasetError unless all files can be read, maps have their image's size, and known classes only."""
    allowed = [*range(len(dataset.classes)), *([] if dataset.void is None else [dataset.void])]
    for split in dataset.splits:
        for image, *maps in dataset.read_list(folder, split):
            height, width, _ = _read(dataset, dataset.read_image, folder / image).shape
            for path in (folder / relative for relative in maps if relative is not None):
                labels = _read(dataset, dataset.read_label, path)
                if labels.shape != (height, width):
                    size = " x ".join(str(size) for size in labels.shape[::-1])
                    raise DatasetError(
                        f"{dataset.name}: {path} must be {width} x {height} pixels as its image, got {size}"
                    )
                if not np.isin(labels, allowed).all():
                    wrong = min(set(labels.ravel().tolist()) - set(allowed))
                    raise DatasetError(f"{dataset.name}: labels must be one of {allowed}, got {wrong} in {path}")


def _read(dataset: Dataset, reader: Callable[[Path], np.ndarray], path: Path) -> np.ndarray:
    try:
        return reader(path)
    except (OSError, EOFError, SyntaxError, zlib.error) as error:  # what PIL and gzip raise for damaged files
        raise DatasetError(f"{dataset.name}: {path} cannot be read ({error})") from error
