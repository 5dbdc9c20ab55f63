"""The cell that pools the folds of a cross-validation: their counts merged, as if one model had predicted all images.

Every fold holds out different images, so the merged counts contain each image once. Imports no torch.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from segloss.files import sha256_of, write_atomic
from segloss.grid import ConfigError, Experiment
from segloss.grid.data import experiment_fingerprints
from segloss.metrics import Counts, summarize
from segloss.records.record import identity_entry, write
from segloss.records.states import cell_status
from segloss.records.verification import check_counts, read


def pool_folds(experiment: Experiment, results: Path, data_root: Path) -> dict[str, Any]:
    """Write counts.npz, predictions.npz (those of the first fold) and record.json of a cell that pools folds.

    Returns:
        The record.

    Raises:
        ConfigError: a fold is not finished, or two folds hold out the same image.
    """
    folder, records, merged = results / str(experiment.cell), [], None
    for fold in experiment.folds:
        if (status := cell_status(fold, results)).state != "done":
            raise ConfigError(f"{experiment.cell} needs its fold {fold.cell}, which is {status.state}")
        place = results / str(fold.cell)
        records.append(read(place / "record.json"))
        merged = _merge(merged, check_counts(records[-1], place), fold)
    folder.mkdir(parents=True, exist_ok=True)
    merged.save(folder / "counts.npz")
    first = results / str(experiment.folds[0].cell) / "predictions.npz"
    if first.exists():
        with first.open("rb") as maps:
            write_atomic(folder / "predictions.npz", lambda file: shutil.copyfileobj(maps, file))
    record = _record(experiment, records, merged, results, experiment_fingerprints(experiment, data_root))
    write(folder, record)
    return record


def _merge(merged: Counts | None, counts: Counts, fold: Experiment) -> Counts:
    """Add the counts of one more fold to those merged so far."""
    if merged is None:
        return counts
    try:
        merged.merge(counts)
    except ValueError as error:
        raise ConfigError(f"{fold.cell} cannot be pooled with the folds before it: {error}") from None
    return merged


def _record(
    experiment: Experiment,
    folds: Sequence[Mapping[str, Any]],
    merged: Counts,
    results: Path,
    fingerprints: Mapping[str, str],
) -> dict[str, Any]:
    """The record: shared values are those of the first fold, times are sums, metrics are those of the merged counts."""
    first = folds[0]
    images = [record["data"]["images"] for record in folds]
    labelled = [record["data"]["labelled_images"] for record in folds]
    data = {
        **first["data"],
        "fingerprints": dict(fingerprints),
        "images": sum(images),
        "labelled_images": min(labelled),
    }
    training = {
        **first["training"],
        "seconds": sum(record["training"]["seconds"] for record in folds),
        "images_per_second": None,
        "rows": [],
    }
    counts = results / str(experiment.cell) / "counts.npz"
    seconds = sum(record["evaluation"]["seconds"] for record in folds)
    return {
        **identity_entry(experiment, data),
        **{key: first[key] for key in ("config", "machine", "pretrained")},
        "seed": experiment.random_seed,
        "training": training,
        "validation": None,
        "evaluation": {**first["evaluation"], "seconds": seconds, "counts_sha256": sha256_of(counts)},
        "calibration": _calibration([record["calibration"] for record in folds], images),
        "folds": {str(fold.cell): sha256_of(results / str(fold.cell) / "record.json") for fold in experiment.folds},
        "seconds": sum(record["seconds"] for record in folds),
        "peak_memory_bytes": max(record["peak_memory_bytes"] for record in folds),
        "metrics": summarize(merged),
    }


def _calibration(folds: Sequence[Mapping[str, Any] | None], images: Sequence[int]) -> dict[str, Any] | None:
    """Means over the folds, weighted by images: counts after a calibrator are not kept and cannot be merged."""
    if any(fold is None for fold in folds):
        return None

    def mean(values: Sequence[float]) -> float:
        return sum(value * number for value, number in zip(values, images, strict=True)) / sum(images)

    pooled: dict[str, Any] = {}
    for calibrator, entry in folds[0].items():
        entries = [fold[calibrator] for fold in folds]
        if skipped := next((other["skipped"] for other in entries if "skipped" in other), None):
            pooled[calibrator] = {"skipped": skipped}
            continue
        pooled[calibrator] = {
            "metrics": {name: mean([other["metrics"][name] for other in entries]) for name in entry["metrics"]}
        }
        if "temperature" in entry:
            pooled[calibrator]["temperature"] = mean([other["temperature"] for other in entries])
    return pooled
