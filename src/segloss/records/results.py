"""The results table: one long tidy table made from the records of a grid. Imports no torch.

pandas is imported only where a table is made or read, so a command that trains starts a quarter of a second sooner.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segloss.grid import Cell, Experiment, Grid
from segloss.metrics import Counts
from segloss.records.states import CellStatus, cell_status
from segloss.records.verification import RecordError, check_comparable, check_counts, check_record

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = [*Cell.__dataclass_fields__, "status", "metric", "value", "reason"]


def measured(record: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Names and values of all metrics of a record; those after a calibrator end in its name, as ``ECE_scaled``."""
    metrics = list(record["metrics"].items())
    for calibrator, entry in (record["calibration"] or {}).items():
        metrics += [(f"{name}_{calibrator}", value) for name, value in entry.get("metrics", {}).items()]
        if "temperature" in entry:
            metrics.append(("temperature", entry["temperature"]))
    return metrics


Fingerprints = Mapping[tuple[str, str], Mapping[str, str]]


@dataclass(frozen=True)
class EvaluatedCell:
    """A cell of a grid with its state and, if it is done, its verified record and the counts next to it."""

    experiment: Experiment
    status: CellStatus
    record: Mapping[str, Any] | None = None
    counts: Counts | None = None


def evaluated_cells(grid: Grid, results: Path, fingerprints: Fingerprints | None = None) -> Iterator[EvaluatedCell]:
    """Every cell of a grid in its order, controls last; each file is read and verified once, one cell at a time.

    Args:
        grid: The grid.
        results: Folder of the cells.
        fingerprints: Those of the data at hand, by ``Experiment.data_key``: a record of other data is stale.

    Raises:
        RecordError: if a record is broken or does not match its counts.
    """
    for experiment in grid.evaluated:
        status = cell_status(experiment, results, (fingerprints or {}).get(experiment.data_key))
        if status.record is not None:
            folder = results / str(experiment.cell)
            check_record(status.record, folder / "record.json")
            yield EvaluatedCell(experiment, status, status.record, check_counts(status.record, folder))
        else:
            yield EvaluatedCell(experiment, status)


def results_table(grid: Grid, cells: Iterable[EvaluatedCell]) -> "pd.DataFrame":
    """The results table of a grid: a row for each finished cell and metric, and one with the reason for any other cell.

    Columns: dataset, model, schedule, labels, loss, seed, status (one of ``states.STATES``), metric, value, reason.

    Raises:
        RecordError: if records cannot be compared.
    """
    import pandas as pd

    rows, records = [], []
    for cell in cells:
        axes, status = asdict(cell.experiment.cell), cell.status
        if cell.record is not None:
            records.append({**cell.record, "training": None})  # most of the record of a long training
            rows += [
                {**axes, "status": "done", "metric": name, "value": value} for name, value in measured(cell.record)
            ]
        else:
            rows.append({**axes, "status": status.state, "reason": status.reason or status.state})
    rows += [{**asdict(cell), "status": "skipped", "reason": reason} for cell, reason in grid.skipped.items()]
    check_comparable(records)
    return pd.DataFrame(rows, columns=COLUMNS)


def collect(grid: Grid, results: Path, fingerprints: Fingerprints | None = None) -> "pd.DataFrame":
    """The results table of a grid, from the records below a results folder; arguments as for `evaluated_cells`.

    Raises:
        RecordError: if records are broken or cannot be compared.
    """
    return results_table(grid, evaluated_cells(grid, results, fingerprints))


def read_csv(path: Path, kind: str) -> "pd.DataFrame":
    """The content of a CSV file.

    Raises:
        RecordError: if it cannot be read; ``kind`` is what was expected.
    """
    import pandas as pd

    try:
        return pd.read_csv(path)
    except (OSError, ValueError) as error:  # pandas' own errors and undecodable bytes are ValueErrors
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise RecordError(f"{path} must be {kind}, it cannot be read ({reason})") from None


def listed_columns(content: "pd.DataFrame") -> str:
    """The columns of a table, shortened for an error message."""
    columns = ", ".join(map(str, content.columns))
    return f"{columns[:100]}{'...' * (len(columns) > 100)}"


def read_table(path: Path, grid: Grid) -> "pd.DataFrame":
    """A results.csv of a grid, checked for its columns and its cells; ``report`` also compares it with the records.

    Raises:
        RecordError: if it cannot be read, or does not contain exactly the cells of the grid.
    """
    import pandas as pd

    content = read_csv(path, "a results.csv")
    if list(content.columns) != COLUMNS:
        raise RecordError(
            f"{path} must be a results.csv with the columns {', '.join(COLUMNS)}, got {listed_columns(content)}"
        )
    listed = set(content[COLUMNS[:6]].itertuples(index=False, name=None))
    cells = (*(experiment.cell for experiment in grid.evaluated), *grid.skipped)
    expected = {tuple(vars(cell).values()) for cell in cells}
    if different := sorted(map(str, listed ^ expected)):
        raise RecordError(
            f"{path} is not the whole table of {grid.name}, they differ in {len(different)} cells "
            f"such as {different[0]}: collect it again with segloss collect"
        )
    if not (numbers := pd.to_numeric(content.value, errors="coerce")).equals(content.value):
        raise RecordError(f"{path}: value must be a number, got {content.value[numbers.isna()].dropna().iloc[0]!r}")
    return content
