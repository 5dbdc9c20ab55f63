"""Pixels of each class in the training labels, counted once for each state of the data."""

import json
from contextlib import suppress
from pathlib import Path

from segloss.datasets import find, training_lists
from segloss.files import write_json
from segloss.grid import Experiment

# Below the folder of the generated data sets, which can be written to.
CLASS_COUNTS = Path("data") / ".class_counts"


def _remembered_counts(path: Path, classes: int) -> list[int] | None:
    """The class counts in a file, None if it is missing or damaged."""
    try:
        counts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    whole = isinstance(counts, list) and len(counts) == classes and all(type(count) is int for count in counts)
    return counts if whole else None


def training_class_counts(experiment: Experiment, folder: Path, fingerprint: str) -> list[int]:
    """Pixels of each class in the labelled training images, counted (and the labels checked) once and cached.

    Args:
        experiment: The cell, resolved.
        folder: The folder of its data set.
        fingerprint: The fingerprint of its training data.
    """
    remembered = CLASS_COUNTS / f"{experiment.source}-{fingerprint}.json"
    dataset = find(experiment.source)
    counts = _remembered_counts(remembered, len(dataset.classes))
    if counts is None:
        labelled, _ = training_lists(dataset, folder, experiment.scenario.get("labelled"))
        counts = dataset.class_counts(folder, labelled)
        with suppress(OSError):  # if they cannot be cached, they are counted again
            write_json(remembered, counts)
    return counts
