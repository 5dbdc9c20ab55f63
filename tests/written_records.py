"""Records and counts as a finished cell leaves them, of random predictions and without a training."""

import functools
from pathlib import Path
from typing import Any

import torch

from segloss import records
from segloss.datasets import DATASETS, fingerprints
from segloss.files import sha256_of
from segloss.grid import Cell, Configs, resolve
from segloss.metrics import METRICS_VERSION, Counts, summarize

PROTOCOL = dict(mode="whole", crop_size=None, stride=None, scales=[1.0], flip=False, size_divisor=1)


@functools.cache
def fingerprints_of(folder: Path) -> dict[str, str]:
    """The fingerprints of phantom in that folder; made-up ones if it does not exist."""
    if not folder.is_dir():
        return {"training": "t", "evaluation": "e"}
    return fingerprints(DATASETS["phantom"], folder, None)


def random_counts(seed: int) -> Counts:
    """Counts of random predictions on four images of five classes, whose labels are the same for every seed."""
    random = torch.Generator().manual_seed(seed)
    counts = Counts(5)
    labels = torch.randint(5, (4, 1, 6, 7), generator=torch.Generator().manual_seed(1))
    for image in range(4):
        probabilities = torch.rand(1, 5, 6, 7, generator=random).softmax(1)
        counts.update(probabilities, labels[image], names=[f"image{image}"])
    return counts


def write_cell(results: Path, cell: Cell, counts: Counts | None = None, **changes: Any) -> None:
    """Counts of random predictions and the record that goes with them, without a training.

    Args:
        results: The folder of the cells.
        cell: The cell, of the configs in the working directory.
        counts: Its counts (default: `random_counts` of its seed).
        changes: Entries of the record that differ, by their path, joined with two underscores.
    """
    folder, experiment = results / str(cell), resolve(cell, Configs())
    folder.mkdir(parents=True)
    counts = counts or random_counts(experiment.random_seed)
    counts.save(folder / "counts.npz")
    metrics = summarize(counts)
    data = {
        "source": cell.dataset,
        "fingerprints": dict(fingerprints_of(Path("data/phantom").resolve())),
        "split": "test",
        "images": 4,
        "labelled_images": 3,
    }
    record = {
        **records.identity_entry(experiment, data),
        "command": f"segloss train {cell}",
        "seed": experiment.random_seed,
        "config": {},
        "machine": {"device": "cpu", "threads": 1},
        "pretrained": None,
        "training": {
            "started_at_iteration": 0,
            "iterations": 16,
            "seconds": 1.0,
            "images_per_second": 64.0,
            "rows": [],
            "checkpoint": {"rule": "last", "iteration": 16, "validations": []},
        },
        "validation": {"split": "val", "images": 4, "metrics": metrics},
        "evaluation": {
            "seconds": 1.0,
            "metrics_version": METRICS_VERSION,
            "reference": "label",
            "protocol": PROTOCOL,
            "boundaries": dict.fromkeys(("iou_width", "surface_tolerance", "edge_tolerance")),
            "counts_sha256": sha256_of(folder / "counts.npz"),
        },
        "calibration": {
            "scaled": {"temperature": 1.5, "metrics": {"ECE": metrics["ECE"] / 2}},
            "vector": {"metrics": {"mIoU": metrics["mIoU"], "ECE": metrics["ECE"] / 3}},
            "isotonic": {"skipped": "not among the calibrators of the data set's test_cfg"},
        },
        "seconds": 2.0,
        "peak_memory_bytes": 2**28,
        "metrics": metrics,
    }
    for place, value in changes.items():
        *path, last = place.split("__")
        part = record
        for key in path:
            part = part[key]
        part[last] = value
    records.write(folder, record)
