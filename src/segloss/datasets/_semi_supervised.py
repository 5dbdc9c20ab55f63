"""The labelled and unlabelled images of a training list in semi-supervised learning."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segloss.datasets._dataset import Dataset, Entry
from segloss.datasets._read import DatasetError


def split_labelled(entries: Sequence[Entry], fraction: float, seed: int) -> tuple[list[Entry], list[Entry]]:
    """Divide a list at random into labelled and unlabelled entries, both in the order of the list.

    The same list, fraction and seed always give the same division, on any machine; a smaller fraction's labelled
    entries are among a larger one's.

    Args:
        entries: A training list, as ``read_list`` returns it.
        fraction: Share of labelled entries, above 0 and up to 1, such as 1/16; rounded to whole entries, half up.
        seed: Any integer from 0 to 2^32 - 1.

    Returns:
        The complete labelled entries, and only the images of the unlabelled ones: their labels must not be read.

    Raises:
        DatasetError: The fraction is outside its range, or so small that no entry is labelled.
    """
    if not 0 < fraction <= 1:
        raise DatasetError(f"the labelled fraction must be above 0 and at most 1, got {fraction}")
    count = int(len(entries) * fraction + 0.5)
    if count == 0:
        raise DatasetError(f"a labelled fraction of {fraction} leaves none of {len(entries)} images with a label")
    # RandomState's streams are frozen by numpy's policy, Generator's are not.
    labelled = set(np.random.RandomState(seed).permutation(len(entries))[:count].tolist())
    return (
        [entry for place, entry in enumerate(entries) if place in labelled],
        [entry[:1] for place, entry in enumerate(entries) if place not in labelled],
    )


def training_lists(
    dataset: Dataset, folder: Path, labelled: Mapping[str, Any] | None = None
) -> tuple[list[Entry], list[Entry]]:
    """The training entries that keep their labels, and only the images of all others.

    Args:
        dataset: The data set.
        folder: Its folder.
        labelled: ``fraction`` and ``seed`` (default 0) of a random draw, or ``list``, a folder of the data set with the
            lists labeled.txt and unlabeled.txt. Default: None: all images keep their labels.

    Raises:
        DatasetError: The fraction is invalid, or a list is missing.
    """
    if labelled is None:
        return dataset.read_list(folder, "train"), []
    if "list" in labelled:
        with_labels, without = (
            dataset.read_list(folder, f"{labelled['list']}/{name}") for name in ("labeled", "unlabeled")
        )
        return with_labels, [entry[:1] for entry in without]
    return split_labelled(dataset.read_list(folder, "train"), labelled["fraction"], labelled.get("seed", 0))
