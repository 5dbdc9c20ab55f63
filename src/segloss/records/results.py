"""The results table: one long tidy table made from the records of a grid. Imports no torch."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from segloss.grid import Cell, Grid
from segloss.records.states import cell_status
from segloss.records.verification import check_comparable, check_counts, read

COLUMNS = [*Cell.__dataclass_fields__, "status", "metric", "value", "reason"]


def measured(record: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Names and values of all metrics of a record; those after temperature scaling end in ``_scaled``."""
    metrics = list(record["metrics"].items())
    if scaling := record["temperature_scaling"]:
        metrics += [(f"{name}_scaled", value) for name, value in scaling["metrics"].items()]
        metrics.append(("temperature", scaling["temperature"]))
    return metrics


def collect(
    grid: Grid, results: Path, fingerprints: Mapping[tuple[str, str], Mapping[str, str]] | None = None
) -> pd.DataFrame:
    """The results table of a grid: a row for each finished cell and metric, one with the reason for each other cell.

    Args:
        grid: The grid.
        results: Folder of the cells.
        fingerprints: Those of the data at hand, by ``Experiment.data_key``: a record of other data is stale.

    Columns: dataset, model, schedule, labels, loss, seed, status (one of ``states.STATES``), metric, value, reason.

    Raises:
        RecordError: if records are broken or cannot be compared.
    """
    rows, records = [], []
    for experiment in grid.experiments:
        axes = asdict(experiment.cell)
        status = cell_status(experiment, results, (fingerprints or {}).get(experiment.data_key))
        if status.state == "done":
            folder = results / str(experiment.cell)
            record = read(folder / "record.json")
            check_counts(record, folder)
            records.append(record)
            rows += [{**axes, "status": "done", "metric": name, "value": value} for name, value in measured(record)]
        else:
            rows.append({**axes, "status": status.state, "reason": status.reason or status.state})
    rows += [{**asdict(cell), "status": "skipped", "reason": reason} for cell, reason in grid.skipped.items()]
    check_comparable(records)
    return pd.DataFrame(rows, columns=COLUMNS)
