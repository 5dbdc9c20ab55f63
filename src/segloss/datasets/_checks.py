"""Verification of a data set's folder; every failure is one sentence."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from segloss.datasets._dataset import Dataset, Entry
from segloss.datasets._read import DatasetError, content


def check_files_of_lists(dataset: Dataset, folder: Path, counts: dict[str, int]) -> None:
    """Raise DatasetError unless every split lists ``counts`` entries, all files exist, and no image is in two."""
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
                # By path alone: the folder's owner may keep the images elsewhere behind a symbolic link.
                if Path(relative).is_absolute() or ".." in Path(relative).parts:
                    raise DatasetError(f"{dataset.name}: {split} lists {relative}, which is outside {folder}")
                path = folder / relative
                if not path.is_file() or not path.stat().st_size:
                    state = "empty" if path.is_file() else "missing"
                    raise DatasetError(f"{dataset.name}: {path} is {state}, though {split} lists it")


def labels_sha256(dataset: Dataset, folder: Path) -> str:
    """SHA-256 (hex) of path and content of every label and rater file, in the order of the lists; images are left out.

    Each file contributes its path, a newline and the 32 bytes of its own SHA-256. Images may be re-encoded, labels may
    not.
    """
    digest = hashlib.sha256()
    for split in dataset.splits:
        for entry in dataset.read_list(folder, split):
            for relative in filter(None, entry[1:]):
                digest.update(relative.encode() + b"\n" + hashlib.sha256(content(folder / relative)).digest())
    return digest.hexdigest()


def check_labels(dataset: Dataset, folder: Path, expected: str) -> None:
    """Raise DatasetError unless the label files have the expected ``labels_sha256``."""
    files = labels_sha256(dataset, folder)
    if files != expected:
        raise DatasetError(
            f"{dataset.name}: the label files in {folder} differ from the published ones (sha256 {files})"
        )


def check_sizes(dataset: Dataset, folder: Path) -> None:
    """Raise DatasetError unless all files can be read and all maps have their image's size and known classes only.

    Files are decoded in threads, one per core available to the process: Pillow's decoders release the GIL.
    """

    def check(entry: Entry) -> None:
        image, *maps = entry
        size = dataset.load_image(folder / image).shape[:2]
        for relative in filter(None, maps):
            dataset.load_label(folder / relative, size)

    entries = [entry for split in dataset.splits for entry in dataset.read_list(folder, split)]
    executor = ThreadPoolExecutor(len(os.sched_getaffinity(0)))
    try:
        for _ in executor.map(check, entries):  # in order, so the first fault is the one reported
            pass
    finally:
        executor.shutdown(cancel_futures=True)
