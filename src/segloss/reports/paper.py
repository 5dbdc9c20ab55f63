"""Tables as a paper prints them, from results.csv alone: any axis down, any others and metrics across."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import pandas as pd

from segloss.metrics import Metric
from segloss.reports.comparisons import LEVEL
from segloss.reports.headings import CLASS_IOU, escape, heading, words
from segloss.reports.summary import AXES, Entry, summarise

STATES = {"skipped": "–", "missing": "…"}  # other states are written out
SPREADS = ("sd", "interval", "none")
AXIS_NAMES = {
    "dataset": "data set",
    "model": "model",
    "schedule": "schedule",
    "labels": "label scenario",
    "loss": "loss",
}
PUBLISHED = "publ."


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
class PaperTable:
    """A table before it is written in a format.

    Attributes:
        name: Names of its axes that do not vary, for its label.
        caption: Plain text, without the names of the metrics at its beginning: see `caption_of`.
        stub: Title of the first column.
        columns: The columns.
        heads: Lines of the head above the metrics: for each column its plain text.
        groups: (title, rows) where a row is (names, title, cells).
        notes: Reasons for what is not there; their numbers begin at 1.
    """

    name: tuple[str, ...]
    caption: str
    stub: str
    columns: tuple[Column, ...]
    heads: tuple[tuple[str, ...], ...]
    groups: tuple[tuple[str, tuple[tuple[str, str, tuple[Cell, ...]], ...]], ...]
    notes: tuple[str, ...]


def paper_tables(
    results: pd.DataFrame,
    metrics: Sequence[Metric],
    titles: Mapping[str, Mapping[str, str]],
    *,
    rows: str = "loss",
    columns: Sequence[str] = ("dataset", "labels"),
    spread: str = "sd",
    groups: Mapping[str, str] | None = None,
    row_titles: Mapping[str, str] | None = None,
    intervals: pd.DataFrame | None = None,
    comparisons: pd.DataFrame | None = None,
    published: pd.DataFrame | None = None,
) -> list[PaperTable]:
    """Tables of a results table, one for each combination of the axes that are neither down nor across.

    Args:
        results: The results table.
        metrics: The metrics under each column.
        titles: Titles of ``losses`` and ``labels``.
        rows: The axis down the table.
        columns: The axes across, from the outermost; one with a single value is named in the caption instead.
        spread: "sd" prints the sample standard deviation over seeds, "interval" the 95 % interval, "none" nothing.
        groups: The group of each value of ``rows``; rows of a group stand together.
        row_titles: Titles of the rows, in their order, where they are not those of the axis: others are left out.
        intervals: As from `interval_table`; needed for ``spread="interval"``.
        comparisons: As from `comparison_table`: marks what differs from the baseline.
        published: Columns of some axes, metric and value: numbers to print beside the measured ones.

    Raises:
        ValueError: an axis or a spread that does not exist, an axis twice, or no result left.
    """
    axes = [rows, *columns]
    for axis in axes:
        if axis not in AXES:
            raise ValueError(f"expected an axis of a table, got {axis!r}; there are {', '.join(AXES)}")
    if len(set(axes)) < len(axes):
        raise ValueError(f"each axis can be used once, got {', '.join(axes)}")
    if spread not in SPREADS:
        raise ValueError(f"expected one of {', '.join(SPREADS)} as spread, got {spread!r}")
    if row_titles is not None:
        results = results[results[rows].isin(row_titles)]
    if results.empty:
        raise ValueError("no row of the results table is left: the filter fits none")
    fixed = [axis for axis in AXES if axis not in axes]
    data = Data(metrics, titles, rows, tuple(columns), spread, intervals, comparisons, published)
    parts = results.groupby(fixed, sort=False) if fixed else [((), results)]
    several = [axis for axis in fixed if results[axis].nunique() > 1]
    return [_table(part, dict(zip(fixed, key, strict=True)), several, data, groups, row_titles) for key, part in parts]


@dataclass(frozen=True)
class Data:
    """What every table of one call shares; as the arguments of `paper_tables`."""

    metrics: Sequence[Metric]
    titles: Mapping[str, Mapping[str, str]]
    rows: str
    columns: tuple[str, ...]
    spread: str
    intervals: pd.DataFrame | None
    comparisons: pd.DataFrame | None
    published: pd.DataFrame | None

    def title(self, axis: str, name: str) -> str:
        """The title of a value of an axis."""
        return self.titles.get({"loss": "losses"}.get(axis, axis), {}).get(name, name)


def _table(
    results: pd.DataFrame,
    fixed: Mapping[str, str],
    several: Sequence[str],
    data: Data,
    groups: Mapping[str, str] | None,
    row_titles: Mapping[str, str] | None,
) -> PaperTable:
    entries = summarise(results, data.metrics, [*data.columns, data.rows], data.rows)
    points = list(dict.fromkeys(key[:-2] for key in entries))
    names = list(row_titles) if row_titles is not None else list(dict.fromkeys(key[-2] for key in entries))
    names = [name for name in names if (results[data.rows] == name).any()]
    columns = []
    for point in points:
        for metric in data.metrics:
            columns.append(Column(point, metric))
            if _published(data, fixed, point, None, metric) is not None:
                columns.append(Column(point, metric, published=True))
    seeds = max((entry.n for entry in entries.values()), default=0)
    notes: list[str] = []
    lookup = Lookup(data, fixed, entries, seeds, notes)
    titles = row_titles or {name: data.title(data.rows, name) for name in names}
    body = {name: (name, titles[name], tuple(lookup.cell(column, name) for column in columns)) for name in names}
    order = list(dict.fromkeys((groups or {}).get(name, "") for name in names))
    grouped = tuple(
        (group, tuple(body[name] for name in names if (groups or {}).get(name, "") == group)) for group in order
    )
    shown = [axis for axis in data.columns if results[axis].nunique() > 1]
    heads = tuple(
        tuple(data.title(axis, column.point[data.columns.index(axis)]) for column in columns) for axis in shown
    )
    constant = {axis: results[axis].iloc[0] for axis in data.columns if axis not in shown} | dict(fixed)
    caption = _caption(data, constant, lookup, columns)
    return PaperTable(
        name=tuple(str(fixed[axis]) for axis in several),
        caption=caption,
        stub={"loss": "Loss", "labels": "Labels", "dataset": "Data set"}.get(data.rows, data.rows.capitalize()),
        columns=tuple(columns),
        heads=heads,
        groups=grouped,
        notes=tuple(notes),
    )


@dataclass
class Lookup:
    """The cells of one table, and what was printed in them: for the caption."""

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
            value = _published(data, self.fixed, column.point, name, metric)
            return Cell("") if value is None else Cell(f"{value:.{metric.decimals}f}", values={"published": value})
        entry = self.entries.get((*column.point, name, metric.name))
        if entry is None:
            return Cell("–")
        reasons = entry.reasons
        if entry.mean is not None and entry.n != self.seeds:
            reasons = ("; ".join([f"n = {entry.n}", *reasons]),)
        marks = tuple(self._note(reason) for reason in reasons)
        if entry.mean is None:
            return Cell(STATES.get(entry.status, entry.status), notes=marks)
        values, text = {"mean": entry.mean}, ""
        axes = {**self.fixed, **dict(zip(data.columns, column.point, strict=True)), data.rows: name}
        if data.spread == "sd" and entry.deviation is not None:
            text, values["sd"] = f"{entry.deviation:.{metric.decimals}f}", entry.deviation
        if data.spread == "interval" and (row := _row(data.intervals, axes, metric.name)) is not None:
            values |= {"low": row.low, "high": row.high}
            text = f"[{row.low:.{metric.decimals}f}, {row.high:.{metric.decimals}f}]"
        return Cell(f"{entry.mean:.{metric.decimals}f}", text, entry.place, self._differs(axes, metric), marks, values)

    def _differs(self, axes: Mapping[str, str], metric: Metric) -> bool:
        compared = self.data.comparisons
        if compared is None or self.data.rows not in ("loss", "labels"):
            return False
        row = _row(compared[compared["against"] == self.data.rows], axes, metric.name)
        if row is None or not row.p_holm < LEVEL:
            return False
        self.baselines[row.baseline] = None
        return True

    def _note(self, reason: str) -> int:
        if reason not in self.notes:
            self.notes.append(reason)
        return self.notes.index(reason) + 1


def _row(table: pd.DataFrame | None, axes: Mapping[str, str], metric: str) -> pd.Series | None:
    """The row of a point and metric in a table of intervals or comparisons."""
    if table is None or table.empty:
        return None
    rows = table[table.metric == metric]
    for axis, name in axes.items():
        rows = rows[rows[axis] == name]
    return None if rows.empty else rows.iloc[0]


def _published(
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


def _caption(data: Data, constant: Mapping[str, str], lookup: Lookup, columns: Sequence[Column]) -> str:
    """The caption: what is shown, on which data, and how numbers are marked."""
    percent = all(metric.unit == "percent" for metric in data.metrics)
    where = ", ".join(f"{AXIS_NAMES[axis]} {data.title(axis, name)}" for axis, name in constant.items())
    sentences = [f"{' (%)' if percent else ''}{f' for {where}' if where else ''}."]
    number = {1: "One seed"}.get(lookup.seeds, f"Mean over {lookup.seeds} seeds")
    if data.spread == "sd" and lookup.seeds > 1:
        number = f"Mean ± sample standard deviation over {lookup.seeds} seeds"
    if data.spread == "interval":
        number += ", in brackets 95 % intervals over images and seeds"
    sentences.append(f"{number}. Best in bold, second best underlined.")
    if lookup.baselines:
        reference = ", ".join(data.title(data.rows, name) for name in lookup.baselines)
        sentences.append(f"*: differs from {reference} (p < .05, adjusted by Holm).")
    if any(column.published for column in columns):
        sentences.append(f"{PUBLISHED}: as published.")
    names = [metric.name for metric in data.metrics]
    sentences += [meaning for pattern, meaning in MEANINGS if any(re.search(pattern, name) for name in names)]
    return " ".join(sentences)


# Explanations of what `words` adds to names.
MEANINGS = (
    (r"_scaled$", "TS: after temperature scaling."),
    (r"_vector$", "VS: after vector scaling."),
    (r"_isotonic$", "IR: after class-wise isotonic regression."),
    (r"_I(_|$)", "I: mean over the classes of an image, then over images."),
    (r"_C(_|$)", "C: mean over the images of a class, then over classes."),
    (r"_q$", "q̄: mean over the worst 10, 20, ..., 100 % of the images."),
    (r"_q5$", "5: of the worst 5 % of the images."),
)


def caption_of(table: PaperTable) -> tuple[str, str]:
    """The caption in plain text and in LaTeX."""
    metrics = dict.fromkeys(column.metric.name for column in table.columns)
    pairs = [words(name) for name in metrics]
    if all(name.startswith(CLASS_IOU) for name in metrics):
        pairs = [("IoU of each class",) * 2]
    plain, tex = (
        ("; " if any("," in name for name in names) else ", ").join(names) for names in zip(*pairs, strict=True)
    )
    gap = " " * table.caption.startswith(" ")
    return plain + table.caption, tex + gap + escape(table.caption)


def column_heading(column: Column) -> tuple[str, str]:
    """The last line of the head of a column, in plain text and in LaTeX."""
    return (PUBLISHED, PUBLISHED) if column.published else heading(column.metric)


def select_columns(table: PaperTable, places: Sequence[int]) -> PaperTable:
    """The table with some of its columns."""

    def some(line: Sequence) -> tuple:
        return tuple(line[place] for place in places)

    return replace(
        table,
        columns=some(table.columns),
        heads=tuple(map(some, table.heads)),
        groups=tuple(
            (group, tuple((name, title, some(cells)) for name, title, cells in rows)) for group, rows in table.groups
        ),
    )
