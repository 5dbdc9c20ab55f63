"""The cells of a paper table: mean, spread, place, significance and notes of each, and published numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd

from segloss.metrics import Metric
from segloss.reports.comparisons import LEVEL
from segloss.reports.summary import AXES, Entry

STATES = {"skipped": "–", "missing": "…"}  # other states are written out


@dataclass(frozen=True)
class Cell:
    """One cell of the body.

    Attributes:
        text: The mean as it is printed, or the state of a cell without one.
        spread: Standard deviation, or "[low, high]"; empty for none.
        place: 1 for the best of its column, 2 for the second.
        significant: Whether it differs from the baseline.
        notes: Numbers of its notes.
        values: Unrounded numbers by name, for machines.
    """

    text: str
    spread: str = ""
    place: int | None = None
    significant: bool = False
    notes: tuple[int, ...] = ()
    values: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Column:
    """One column: the values of the axes across, the metric, and whether it holds published numbers."""

    point: tuple[str, ...]
    metric: Metric
    published: bool = False


@dataclass(frozen=True)
class Data:
    """The input that all tables of one call share; attributes as the arguments of `paper_tables`."""

    metrics: Sequence[Metric]
    titles: Mapping[str, Mapping[str, str]]
    rows: str
    columns: tuple[str, ...]
    spread: str
    intervals: pd.DataFrame | None
    comparisons: pd.DataFrame | None
    published: pd.DataFrame | None

    @cached_property
    def interval_rows(self) -> dict[tuple[str, ...], Any]:
        """The interval of each point and metric."""
        return {} if self.intervals is None else _rows_by_key(self.intervals)

    @cached_property
    def compared_rows(self) -> dict[tuple[str, ...], Any]:
        """The comparison with its baseline of each point and metric, where the rows are losses or label scenarios."""
        compared = self.comparisons
        if compared is None or compared.empty or self.rows not in ("loss", "labels"):
            return {}
        return _rows_by_key(compared[compared["against"] == self.rows])

    def title(self, axis: str, name: str) -> str:
        """The title of a value of an axis."""
        return self.titles.get({"loss": "losses"}.get(axis, axis), {}).get(name, name)


@dataclass
class Lookup:
    """Looks up the cells of one table and collects the notes and baselines printed in them."""

    data: Data
    fixed: Mapping[str, str]
    entries: Mapping[tuple[str, ...], Entry]
    seeds: int
    notes: list[str]
    baselines: dict[str, None] = field(default_factory=dict)

    def cell(self, column: Column, name: str) -> Cell:
        """The cell of a row in a column."""
        data, metric = self.data, column.metric
        if column.published:
            value = published_value(data, self.fixed, column.point, name, metric)
            return Cell("") if value is None else Cell(f"{value:.{metric.decimals}f}", values={"published": value})
        entry = self.entries.get((*column.point, name, metric.name))
        if entry is None:
            return Cell("–")
        reasons = entry.reasons
        if entry.mean is not None and entry.n not in (0, self.seeds):
            reasons = ("; ".join([f"n = {entry.n}", *reasons]),)
        marks = tuple(self._note(reason) for reason in reasons)
        if entry.mean is None:
            return Cell(STATES.get(entry.status, entry.status), notes=marks)
        values, text = {"mean": entry.mean}, ""
        axes = {**self.fixed, **dict(zip(data.columns, column.point, strict=True)), data.rows: name}
        if data.spread == "sd" and entry.deviation is not None:
            text, values["sd"] = f"{entry.deviation:.{metric.decimals}f}", entry.deviation
        if data.spread == "interval" and (row := data.interval_rows.get(_key(axes, metric.name))) is not None:
            values |= {"low": row.low, "high": row.high}
            text = f"[{row.low:.{metric.decimals}f}, {row.high:.{metric.decimals}f}]"
        return Cell(f"{entry.mean:.{metric.decimals}f}", text, entry.place, self._differs(axes, metric), marks, values)

    def _differs(self, axes: Mapping[str, str], metric: Metric) -> bool:
        row = self.data.compared_rows.get(_key(axes, metric.name))
        if row is None or not row.p_holm < LEVEL:
            return False
        self.baselines[row.baseline] = None
        return True

    def _note(self, reason: str) -> int:
        if reason not in self.notes:
            self.notes.append(reason)
        return self.notes.index(reason) + 1


def _key(axes: Mapping[str, str], metric: str) -> tuple[str, ...]:
    return (*(axes[axis] for axis in AXES), metric)


def _rows_by_key(table: pd.DataFrame) -> dict[tuple[str, ...], Any]:
    """The first row of each point and metric in a table of intervals or comparisons."""
    rows: dict[tuple[str, ...], Any] = {}
    for row in table.itertuples(index=False):
        rows.setdefault(_key(row._asdict(), row.metric), row)
    return rows


def published_value(
    data: Data, fixed: Mapping[str, str], point: tuple[str, ...], name: str | None, metric: Metric
) -> float | None:
    """The published number of a row and column, or of any row where ``name`` is None; None if there is none."""
    if data.published is None:
        return None
    axes = {**fixed, **dict(zip(data.columns, point, strict=True)), **({data.rows: name} if name is not None else {})}
    rows = data.published[data.published.metric == metric.name]
    for axis, value in axes.items():
        if axis in rows:
            rows = rows[(rows[axis] == value) | rows[axis].isna()]
    return None if rows.empty else float(rows.value.iloc[0])
