"""The state of a cell, decided here alone, for the results table, ``segloss status`` and the workflow's plan."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segloss.files import sha256_of
from segloss.grid import Cell, Experiment
from segloss.grid.weights import pretrained_entry
from segloss.records import progress
from segloss.records.run_lock import crash_reason, is_running
from segloss.records.verification import RecordError, load

# In display order. A stopped cell resumes where its process ended. A stale one has a record made with settings or data
# that have changed since, and is trained again. A blocked one needs a cell that failed: a teacher, a fold, or the one
# whose weights it evaluates.
STATES = ("done", "running", "waiting", "stopped", "stale", "missing", "failed", "blocked", "skipped")


@dataclass(frozen=True)
class CellStatus:
    """The state of one cell.

    Attributes:
        cell: The cell.
        state: One of ``STATES``.
        reason: Why the cell was killed, failed, or is blocked, stale or skipped.
        progress: The last progress of its process: state, host, pid, iteration, iterations, images_per_second,
            seconds_left.
        seconds: Its run time (only for some of the finished cells).
        record: The record of a finished cell, complete and unchanged.
    """

    cell: Cell
    state: str
    reason: str = ""
    progress: Mapping[str, Any] | None = None
    seconds: float | None = None
    record: Mapping[str, Any] | None = None


def counts_problem(folder: Path, expected: str) -> str | None:
    """Why counts.npz is not the file that the record next to it was made from; None if it is."""
    try:
        same = sha256_of(folder / "counts.npz") == expected
    except OSError:
        return "its counts.npz is missing"
    return None if same else "its counts.npz is not the file that its record was made from"


def stale_reason(experiment: Experiment, results: Path, fingerprints: Mapping[str, str] | None) -> str | None:
    """Why a cell with a record must be run again; None if it need not be, or if it has no record.

    Args:
        experiment: The cell, resolved.
        results: Folder of the cells.
        fingerprints: Those of its ``training`` and ``evaluation`` data; None where the data are not at hand.
    """
    return examine_record(experiment, results, fingerprints)[1]


def examine_record(
    experiment: Experiment, results: Path, fingerprints: Mapping[str, str] | None
) -> tuple[dict[str, Any] | None, str | None]:
    """The record of a cell, if it can be read, and its ``stale_reason``; arguments as for that function."""
    folder = results / str(experiment.cell)
    path = folder / "record.json"
    if not path.exists():
        return None, None
    try:
        record = load(path)
    except RecordError as error:
        return None, str(error)
    return record, _difference(record, experiment, folder, fingerprints) or _changed_fold(record, experiment, results)


def _difference(
    record: Mapping[str, Any], experiment: Experiment, folder: Path, fingerprints: Mapping[str, str] | None
) -> str | None:
    """How a record differs from the current experiment, data and counts; None if it does not."""
    try:
        cell, config_hash = record["cell"], record["config_hash"]
        recorded, counts = record["data"]["fingerprints"], record["evaluation"]["counts_sha256"]
        changed = [name for name, value in (fingerprints or {}).items() if recorded[name] != value]
    except (KeyError, TypeError) as error:
        return f"{folder / 'record.json'}: not a complete record: {type(error).__name__}: {error}"
    if cell != str(experiment.cell):
        return f"its record is that of another cell, {cell}"
    if config_hash != experiment.config_hash:
        return "it was trained with settings other than those in configs/"
    weights = pretrained_entry(experiment.pretrained)
    if weights and record.get("pretrained") != weights:
        return "its pretrained weights have changed since it was trained"
    if changed:
        return f"its {' and '.join(changed)} data have changed since it was trained"
    return counts_problem(folder, counts)


def _changed_fold(record: Mapping[str, Any], experiment: Experiment, results: Path) -> str | None:
    """Why the folds must be pooled again; None if they are those that were pooled, or if there are none."""
    for fold in experiment.folds:
        try:
            same = record["folds"][str(fold.cell)] == sha256_of(results / str(fold.cell) / "record.json")
        except (OSError, KeyError, TypeError):
            same = False
        if not same:
            return f"its fold {fold.cell} has changed since it was pooled"
    return None


def failure_reason(cell: Cell, results: Path) -> str | None:
    """Why a cell failed or was killed; None if neither."""
    folder = results / str(cell)
    if reason := crash_reason(folder):
        return reason
    try:
        reason = json.loads((folder / "failure.json").read_text(encoding="utf-8"))["reason"]
    except OSError:
        return None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        return f"failed, and its failure.json is damaged ({type(error).__name__})"
    return reason if isinstance(reason, str) else "failed, and its failure.json is damaged (its reason is not a string)"


def block_reason(experiment: Experiment, results: Path) -> str | None:
    """Why a cell cannot be trained before another one is repaired; None if it can."""
    role = "the cell whose weights it evaluates," if experiment.trained else "its teacher"
    role = "its fold" if experiment.folds else role
    for needed in experiment.dependencies:
        has_record = (results / str(needed.cell) / "record.json").exists()
        if not has_record and (reason := failure_reason(needed.cell, results)):
            return f"{role} {needed.cell} failed: {reason}"
    return None


def cell_status(experiment: Experiment, results: Path, fingerprints: Mapping[str, str] | None = None) -> CellStatus:
    """The state of one cell, from the files in its folder; arguments as for ``stale_reason``."""
    cell = experiment.cell
    record, stale = examine_record(experiment, results, fingerprints)
    if record and stale is None:
        return CellStatus(cell, "done", record=record)
    folder = results / str(cell)
    current = progress.read(folder)
    if current and is_running(folder):
        return CellStatus(cell, "waiting" if current["state"] == "waiting" else "running", progress=current)
    if reason := crash_reason(folder):
        return CellStatus(cell, "stopped", reason, current)
    if reason := failure_reason(cell, results):
        return CellStatus(cell, "failed", reason)
    if reason := block_reason(experiment, results):
        return CellStatus(cell, "blocked", reason)
    if stale:
        return CellStatus(cell, "stale", stale)
    return CellStatus(cell, "stopped" if current else "missing", "" if current else "not trained yet", current)
