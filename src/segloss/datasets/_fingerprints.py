"""Fingerprints of the data a cell is trained and evaluated on, cached as long as no file changes."""

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from segloss.datasets._dataset import Dataset, Entry
from segloss.datasets._semi_supervised import training_lists
from segloss.files import write_json

# Below the folder of the generated data sets, which is writable.
CACHE = Path("data") / ".fingerprints"


def _lists(dataset: Dataset, folder: Path, labelled: Mapping[str, Any] | None) -> dict[str, dict[str, list[Entry]]]:
    """The lists behind both fingerprints: ``training``, and ``evaluation`` with all other splits."""
    with_labels, without = training_lists(dataset, folder, labelled) if "train" in dataset.splits else ([], [])
    others = {split: dataset.read_list(folder, split) for split in dataset.splits if split != "train"}
    return {"training": {"train": with_labels, "unlabelled": without}, "evaluation": others}


def _state_of_files(dataset: Dataset, folder: Path, lists: Mapping[str, Mapping[str, list[Entry]]]) -> str:
    """SHA-256 of the lists, and of size and modification time of every label and rater file in them."""
    state = hashlib.sha256(f"{dataset.name}\n{folder.absolute()}\n".encode())
    for splits in lists.values():
        for split, entries in splits.items():
            for entry in entries:
                stats = [(folder / path).stat() for path in entry[1:] if path is not None]
                times = [(stat.st_size, stat.st_mtime_ns) for stat in stats]
                state.update(f"{split} {entry} {times}\n".encode())
    return state.hexdigest()


def fingerprints(
    dataset: Dataset, folder: Path, labelled: Mapping[str, Any] | None = None, cache: Path | None = None
) -> dict[str, str]:
    """SHA-256 of the lists and labels of the ``training`` images and, separately, of all other splits.

    All labels except those of unlabelled images are read again when the size or time of a file has changed.

    Args:
        dataset: The data set.
        folder: Its folder.
        labelled: The training images that keep their labels, as for ``training_lists``.
        cache: Folder of the cached fingerprints. Default ``CACHE``.
    """
    lists = _lists(dataset, folder, labelled)
    remembered = (cache or CACHE) / f"{_state_of_files(dataset, folder, lists)}.json"
    with suppress(OSError, ValueError):
        content = json.loads(remembered.read_text(encoding="utf-8"))
        if isinstance(content, dict) and content.keys() == lists.keys():
            return content
    content = {part: dataset.fingerprint(folder, splits) for part, splits in lists.items()}
    with suppress(OSError):  # without a writable cache, the labels are read again next time
        write_json(remembered, content)
    return content
