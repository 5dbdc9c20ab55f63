"""Tables as a paper prints them, from results.csv alone: any axis down, any others and metrics across."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from segloss.grid.controls import CONTROLS, MEANING
from segloss.metrics import Metric
from segloss.reports.controls import with_controls, without_controls
from segloss.reports.headings import CLASS_IOU, escape, heading, words
from segloss.reports.paper_cells import Cell, Column, Data, Lookup, published_value
from segloss.reports.summary import AXES, summarise

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
class PaperTable:
    """A table before it is written in a format.

    Attributes:
        name: Names of its axes that do not vary, for its label.
        caption: Plain text, without the names of the metrics at its beginning: see `caption_of`.
        stub: Title of the first column.
        columns: The columns.
        heads: Lines of the head above the metrics: for each column its plain text.
        groups: (title, rows) where a row is (names, title, cells).
        notes: Reasons for missing numbers; the notes are numbered from 1.
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
        row_titles: Titles of the rows, in their order, if they are not those of the axis; other rows are left out.
        intervals: As returned by `interval_table`; needed for ``spread="interval"``.
        comparisons: As returned by `comparison_table`; marks cells that differ from the baseline.
        published: Columns of some axes, metric and value: numbers to print next to the measured ones.

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
    # Unless the rows are losses, a control would be a column with the same number in every row.
    results = with_controls(results) if rows == "loss" else without_controls(results)
    if row_titles is not None:
        results = results[results[rows].isin(row_titles)]
    if results.empty:
        raise ValueError("no row of the results table is left: the filter matches none")
    fixed = [axis for axis in AXES if axis not in axes]
    data = Data(metrics, titles, rows, tuple(columns), spread, intervals, comparisons, published)
    parts = results.groupby(fixed, sort=False) if fixed else [((), results)]
    several = [axis for axis in fixed if results[axis].nunique() > 1]
    return [_table(part, dict(zip(fixed, key, strict=True)), several, data, groups, row_titles) for key, part in parts]


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
            if published_value(data, fixed, point, None, metric) is not None:
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
    if any(key[-2] in CONTROLS for key in lookup.entries):
        sentences.append(MEANING)
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
