"""Whether a folder holds a data set, whole and unchanged; every failure is one sentence."""

import hashlib
import zlib
from pathlib import Path

import numpy as np

from segloss.datasets._dataset import Dataset, DatasetError, content, opened


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
            for relative in entry:
                if relative is not None and not (folder / relative).is_file():
                    raise DatasetError(f"{dataset.name}: {folder / relative} is missing, though {split} lists it")


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
    """Raise DatasetError unless every image can be read and its maps have its size and known classes.

    Of images only the head is read.
    """
    allowed = [*range(len(dataset.classes)), *([] if dataset.void is None else [dataset.void])]
    for split in dataset.splits:
        for image, *maps in dataset.read_list(folder, split):
            for relative in filter(None, maps):
                try:
                    with opened(folder / image) as picture:
                        width, height = picture.size
                    labels = dataset.read_label(folder / relative)
                except (OSError, EOFError, SyntaxError, zlib.error) as error:
                    raise DatasetError(
                        f"{dataset.name}: {folder / image} or {folder / relative} cannot be read ({error})"
                    ) from error
                if labels.shape != (height, width):
                    raise DatasetError(
                        f"{dataset.name}: {folder / relative} must be {width} x {height} pixels as its image, "
                        f"got {' x '.join(str(size) for size in labels.shape[::-1])}"
                    )
                if not np.isin(labels, allowed).all():
                    wrong = sorted(set(labels.ravel().tolist()) - set(allowed))
                    raise DatasetError(
                        f"{dataset.name}: labels must be one of {allowed}, got {wrong[0]} in {folder / relative}"
                    )
