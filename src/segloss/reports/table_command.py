"""``segloss table``: any table of a grid from its results.csv."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from segloss.datasets import find
from segloss.grid import ConfigError, Grid
from segloss.grid.errors import unknown
from segloss.records import RecordError, read_csv, read_table
from segloss.records.results import listed_columns
from segloss.reports.controls import with_controls
from segloss.reports.drawings import class_iou_by_seed
from segloss.reports.headings import CLASS_IOU, METRIC_SETS, metric_of
from segloss.reports.latex import TEXT_WIDTH, latex
from segloss.reports.paper import paper_tables
from segloss.reports.points import Point, PointStatistics, read_statistics
from segloss.reports.published_rows import published_rows
from segloss.reports.summary import AXES
from segloss.reports.table_text import markdown, to_csv

KNOWN = "known"
FORMATS = ("latex", "markdown", "csv")
# The taxonomy of Ma et al., 2021, https://doi.org/10.1016/j.media.2021.102035
CONTROL_GROUP = "controls"
FAMILIES = ("distribution-based", "region-based", "boundary-based", "compound")


def make_table(
    grid: Grid,
    table: Path,
    results: Path,
    *,
    rows: str = "loss",
    columns: Sequence[str] = ("dataset", "labels"),
    metrics: Sequence[str] = ("paper",),
    spread: str = "sd",
    form: str = "latex",
    only: Mapping[str, Sequence[str]] | None = None,
    published: Path | None = None,
    width: float = TEXT_WIDTH,
) -> str:
    """A table of a grid as text.

    Args:
        grid: The grid.
        table: Its results.csv; intervals.csv and comparisons.csv next to it are read if they exist.
        results: Folder of the cells; read only for the IoU of each class.
        rows: The axis down: one of ``AXES``, or ``loss.<option>`` or ``labels.<option>`` for an ablation.
        columns: The axes across, from the outermost.
        metrics: Names of metrics or of sets of them (``METRIC_SETS``), or ``classes`` for the IoU of each class.
        spread: sd, interval or none.
        form: One of ``FORMATS``.
        only: For some axes the values to keep.
        published: A CSV file with columns metric, value and some axes, or ``KNOWN`` for the numbers of
            `segloss.records.published`.
        width: Width of the text for LaTeX, in points.

    Raises:
        RecordError: a file cannot be read.
        ConfigError: an axis, metric, value or format that does not exist.
    """
    if form not in FORMATS:
        raise ConfigError(f"expected one of {', '.join(FORMATS)} as format, got {form!r}")
    content = read_table(table, grid)
    if "classes" in metrics:
        content = pd.concat([content, class_rows(grid, read_statistics(content, results))], ignore_index=True)
    content = _keep(with_controls(content), only or {})
    axis, _, option = rows.partition(".")
    names: list[str] = []
    for name in metrics:
        if name == "classes":
            names += dict.fromkeys(content.metric[content.metric.astype(str).str.startswith(CLASS_IOU)])
        else:
            names += METRIC_SETS.get(name, (name,))
    beside = {name: table.with_name(f"{name}.csv") for name in ("intervals", "comparisons")}
    if spread == "interval" and not beside["intervals"].exists():
        raise RecordError(f"--spread interval needs {beside['intervals']}: make the report first with segloss report")
    known = {name: read_metrics(path) if path.exists() else None for name, path in beside.items()}
    numbers = None
    if published and published.name == KNOWN and not published.exists():
        # A published loss that the grid does not have belongs to no row.
        numbers = pd.DataFrame(published_rows(grid), columns=["dataset", "model", "labels", "loss", "metric", "value"])
        numbers = numbers.dropna(subset="loss")
    elif published:
        numbers = read_metrics(published)
    try:
        tables = paper_tables(
            content,
            [metric_of(name) for name in names],
            grid.titles,
            rows=axis,
            columns=columns,
            spread=spread,
            groups=families(grid) if axis == "loss" and not option else None,
            row_titles=option_values(grid, axis, option) if option else None,
            published=numbers,
            **known,
        )
    except ValueError as error:
        raise ConfigError(str(error)) from None
    if form == "latex":
        return latex(tables, f"tab:{grid.name}", width)
    return markdown(tables) if form == "markdown" else to_csv(tables)


def read_metrics(path: Path) -> pd.DataFrame:
    """A table of a report or of published numbers.

    Raises:
        RecordError: if it cannot be read or has no column ``metric``.
    """
    content = read_csv(path, "a CSV file")
    if "metric" not in content:
        raise RecordError(f"{path} must have a column metric, got {listed_columns(content)}")
    return content


def _keep(content: pd.DataFrame, only: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    for axis, names in only.items():
        if axis not in AXES:
            raise unknown("axis", axis, AXES)
        known = list(content[axis].unique())
        for name in names:
            if name not in known:
                raise unknown(f"{axis} of the results", name, known)
        content = content[content[axis].isin(names)]
    return content


def families(grid: Grid) -> dict[str, str]:
    """The family of each loss of a grid, families in their usual order."""
    from segloss.reports.page.points import loss_family

    entries = {experiment.cell.loss: loss_family(experiment.loss) for experiment in grid.experiments}
    ordered = {loss: family for known in FAMILIES for loss, family in entries.items() if family == known}
    return ordered | {experiment.control: CONTROL_GROUP for experiment in grid.controls}


def option_values(grid: Grid, axis: str, option: str) -> dict[str, str]:
    """Titles of the losses or label scenarios that set an option, in ascending order of its value.

    Raises:
        ConfigError: if none sets it, or if the axis is neither ``loss`` nor ``labels``.
    """
    if axis not in ("loss", "labels"):
        raise ConfigError(f"expected loss.<option> or labels.<option>, got {axis}.{option}")
    values: dict[str, Any] = {}
    kinds: dict[str, str] = {}
    for experiment in grid.experiments:
        parts = experiment.loss if axis == "loss" else [experiment.scenario]
        for part in parts:
            if option in part:
                name = getattr(experiment.cell, axis)
                values[name], kinds[name] = part[option], part.get("loss") or part.get("target")
    if not values:
        raise ConfigError(f"no {axis} of the grid {grid.name} sets the option {option!r}")
    titles = grid.titles["losses" if axis == "loss" else "labels"]
    single = len(set(kinds.values())) == 1 and len(set(map(str, values.values()))) == len(values)

    def position(name: str) -> tuple[str, bool, float, str]:
        """Losses of one kind side by side; within a kind, numbers by size, then words."""
        value = values[name]
        number = isinstance(value, int | float)
        return kinds[name], not number, value if number else 0.0, str(value)

    shown = {name: f"{option} = {values[name]}" for name in sorted(values, key=position)}
    return shown if single else {name: f"{titles[name]}, {value}" for name, value in shown.items()}


def class_rows(grid: Grid, points: Mapping[Point, PointStatistics]) -> pd.DataFrame:
    """Rows of a results table with the IoU of each class, as `segloss table --metrics classes` prints it."""
    sources = {experiment.cell.dataset: find(experiment.source) for experiment in grid.experiments}
    rows = []
    for point, statistics in points.items():
        axes = dict(zip(AXES, point, strict=True))
        for cell, values in zip(statistics.cells, class_iou_by_seed(statistics), strict=True):
            entry = {**axes, "seed": cell.seed, "status": "done"}
            rows += [
                {**entry, "metric": CLASS_IOU + name, "value": value}
                for name, value in zip(sources[axes["dataset"]].classes, values, strict=True)
                if value == value  # NaN: the class occurs in no label or prediction
            ]
    return pd.DataFrame(rows)
