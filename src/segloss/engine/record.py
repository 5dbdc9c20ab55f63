"""The results that the stages of a cell pass on, and the record of a finished cell."""

import resource
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config
from torch import nn

from segloss import records
from segloss.datasets import Dataset as Source
from segloss.engine import distillation, processes
from segloss.engine.data import missing_raters
from segloss.engine.evaluation import Evaluation
from segloss.engine.machine import Machine, device_name, uses_channels_last
from segloss.files import sha256_of
from segloss.grid import Experiment
from segloss.metrics import METRICS_VERSION

# Rows of the training's log that a record keeps; weights.pt has all of them.
ROWS = 1000


@dataclass(frozen=True)
class Prepared:
    """Everything a cell needs before its first iteration.

    Attributes:
        experiment: The cell, resolved.
        folder: Its folder in the results.
        source: Its data on disk.
        data_folder: The folder of these data.
        fingerprints: The fingerprints of its training and evaluation data.
        config: The MMEngine config.
        teacher: The teacher of a distillation.
        teacher_entry: The record's entry about the teacher.
        pretrained_entry: The record's entry about pretrained weights.
        identity: The identity of its training, stored with its checkpoints and weights.
        evaluation: The protocol of its evaluation.
    """

    experiment: Experiment
    folder: Path
    source: Source
    data_folder: Path
    fingerprints: Mapping[str, str]
    config: Config
    teacher: distillation.Teacher | None
    teacher_entry: dict[str, Any] | None
    pretrained_entry: Mapping[str, Any] | None
    identity: str
    evaluation: Evaluation


@dataclass(frozen=True)
class Trained:
    """A trained model, its training images, its weights file's content, the training's first iteration and run time."""

    model: nn.Module
    images: Any
    weights: Mapping[str, Any]
    start: int
    seconds: float


@dataclass(frozen=True)
class Measured:
    """All metrics of a trained model; those on validation images are None where the data set has none."""

    metrics: dict[str, float]
    calibration: dict[str, dict[str, Any]] | None
    validation: dict[str, Any] | None
    test: Any
    seconds: float


def calibration_entry(
    evaluation: Evaluation, calibrators: Mapping[str, Any], metrics: Mapping[str, dict[str, float]]
) -> dict[str, dict[str, Any]]:
    """The record's entry about calibrators: the metrics after each, or the reason why it was not fitted."""
    entry: dict[str, dict[str, Any]] = {name: {"metrics": measured} for name, measured in metrics.items()}
    if "scaled" in entry:
        entry["scaled"] = {"temperature": calibrators["scaled"].temperature, **entry["scaled"]}
    return entry | {name: {"skipped": reason} for name, reason in evaluation.skipped().items()}


def data_entry(prepared: Prepared, trained: Trained, measured: Measured) -> dict[str, Any]:
    """The record's entry about images and labels."""
    images, test = trained.images, measured.test
    # The number of images, by split and by the number of raters without a map.
    missing = {"train": missing_raters(images), test.split: missing_raters(test)} if prepared.source.raters else None
    return {
        "source": prepared.source.name,
        "fingerprints": dict(prepared.fingerprints),
        "split": test.split,
        "images": len(test),
        "labelled_images": len(images),
        "missing_raters": missing,
    }


def thinned(rows: Sequence[Any], most: int = ROWS) -> list[Any]:
    """At most ``most`` rows, evenly spaced: the first, the last, and rows between them; nothing is averaged."""
    if len(rows) <= most:
        return list(rows)
    return [rows[round(place * (len(rows) - 1) / (most - 1))] for place in range(most)]


def training_entry(config: Config, trained: Trained) -> dict[str, Any]:
    """The record's entry about the training."""
    weights = trained.weights
    images = (config.iterations - trained.start) * config.batch_size
    return {
        "started_at_iteration": trained.start,
        "iterations": config.iterations,
        "seconds": trained.seconds,
        "images_per_second": images / trained.seconds if images else None,  # none if it was only evaluated again
        "rows": thinned(weights["rows"]),
        "checkpoint": {
            "rule": config.checkpoint,
            "iteration": weights["iteration"],
            "validations": weights["validations"],
        },
    }


def config_entry(config: Config) -> dict[str, Any]:
    """The record's copy of the config, without the location of the data on this machine: records are published."""
    entry = config.to_dict()
    for value in entry.values():
        if isinstance(value, dict) and "folder" in value:
            value["folder"] = Path(value["folder"]).name
    return entry


def peak_memory() -> int:
    """The peak resident set size of this process so far, in bytes (Linux reports it in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def publish(
    prepared: Prepared, trained: Trained, measured: Measured, machine: Machine, seconds: float
) -> dict[str, Any]:
    """Write record.json and return the record."""
    config, teacher = prepared.config, prepared.teacher
    record = {
        **records.identity_entry(prepared.experiment, data_entry(prepared, trained, measured)),
        "seed": config.seed,
        "config": config_entry(config),
        "machine": {
            **records.machine(),
            **asdict(machine),
            "channels_last": uses_channels_last(config, machine),
            "device": device_name(machine),
            "processes": processes.world_size(),
        },
        "pretrained": prepared.pretrained_entry,
        "training": training_entry(config, trained),
        "validation": measured.validation,
        **({"teacher": {**prepared.teacher_entry, "seconds": teacher.seconds()}} if teacher else {}),
        "evaluation": {
            "seconds": measured.seconds,
            "metrics_version": METRICS_VERSION,
            "reference": config.reference,
            "protocol": config.protocol,
            "boundaries": config.boundaries,
            "counts_sha256": sha256_of(prepared.folder / "counts.npz"),
        },
        "calibration": measured.calibration,
        "seconds": seconds,
        "peak_memory_bytes": peak_memory(),
        "metrics": measured.metrics,
    }
    if processes.rank() == 0:
        records.write(prepared.folder, record)
    processes.barrier()
    return record
