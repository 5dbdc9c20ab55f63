"""Differences between losses (each against the grid's first) and between label scenarios, with intervals and tests."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Literal

import numpy as np
import pandas as pd

from segloss.metrics import METRICS
from segloss.records.verification import RecordError
from segloss.reports.markdown import table, text
from segloss.reports.points import Point, PointStatistics, reported_metrics
from segloss.reports.statistics import compare, holm
from segloss.reports.summary import AXES

MEASURED = ["difference", "low", "high", "p", "images", "seeds"]
LEVEL = 0.05
NAMES = {"loss": ("losses", "labels"), "labels": ("labels", "losses")}  # titles down and across, by compared axis


def compare_along(axis: Literal["loss", "labels"], points: Mapping[Point, PointStatistics]) -> pd.DataFrame:
    """Differences in mIoU and ECE between every point and the first one along an axis, the other axes being equal.

    Args:
        axis: The axis along which points differ: the loss or the label scenario.
        points: The statistics of the points, in the grid's order.

    Returns:
        A row for each point but the first of its group, and each metric: the axes, ``against`` (the axis),
        ``baseline`` (the first), ``metric``, ``difference`` in points, its 95 % interval, p, and ``p_holm``, adjusted
        over the rows of that metric. Interval and p are empty where a point has one seed.

    Raises:
        RecordError: if two points were evaluated on different images.
    """
    place = AXES.index(axis)
    groups: dict[Point, dict[str, PointStatistics]] = {}
    for point, statistics in points.items():
        groups.setdefault((*point[:place], *point[place + 1 :]), {})[point[place]] = statistics
    rows = []
    for rest, group in groups.items():
        baseline, *others = group
        for name in others:
            if group[name].images != group[baseline].images:
                raise RecordError(
                    f"{name} and {baseline} of {'/'.join(rest)} were evaluated on different images: "
                    "they cannot be compared"
                )
            axes = dict(zip(AXES, (*rest[:place], name, *rest[place:]), strict=True))
            for metric in reported_metrics(group[name]):
                pair = group[name].pseudo_values[metric], group[baseline].pseudo_values[metric]
                comparison = asdict(compare(*pair))
                entry = axes | {"against": axis, "baseline": baseline, "metric": metric}
                rows.append(entry | {key: comparison[key] for key in MEASURED})
    compared = pd.DataFrame(rows, columns=[*AXES, "against", "baseline", "metric", *MEASURED])
    # One family per metric: a reader looks for any difference in that metric, over all data sets and scenarios.
    compared["p_holm"] = np.nan
    for _, family in compared[compared.p.notna()].groupby("metric"):
        compared.loc[family.index, "p_holm"] = holm(family.p.astype(float).to_numpy())
    return compared


def comparison_table(points: Mapping[Point, PointStatistics]) -> pd.DataFrame:
    """The differences along both axes, those of losses first."""
    return pd.concat([compare_along(axis, points) for axis in ("loss", "labels")], ignore_index=True)


def markdown_differences(compared: pd.DataFrame, titles: Mapping[str, Mapping[str, str]]) -> str:
    """The differences in Markdown, a star where Holm's p is below .05; arguments as for `markdown_intervals`."""
    parts = []
    groups = compared.groupby([*AXES[:3], "against", "baseline", "metric"], sort=False)
    for (dataset, model, schedule, axis, baseline, metric), rows in groups:
        down, across = NAMES[axis]
        other = "labels" if axis == "loss" else "loss"
        columns = rows[other].unique()
        cells = {
            (getattr(row, axis), getattr(row, other)): format_difference(row.difference, row.low, row.high, row.p_holm)
            for row in rows.itertuples()
        }
        parts.append(
            f"**{text(dataset)}, {text(model)}** (schedule {text(schedule)}): {metric} minus that of "
            f"{text(titles[down][baseline])} ({METRICS[metric].direction} is better)"
        )
        body = [
            [text(titles[down][name]), *(cells.get((name, column), "–") for column in columns)]
            for name in rows[axis].unique()
        ]
        parts.append(table([axis.capitalize(), *(titles[across][column] for column in columns)], body))
    counted = compared[compared.p.notna()].groupby(["against", "metric"], sort=False).size()
    families = ", ".join(f"{number} of {metric} between {NAMES[axis][0]}" for (axis, metric), number in counted.items())
    note = (
        "95 % interval for other images of the same kind and other seeds; p adjusted by Holm over the comparisons of "
        f"one metric ({families or 'none'}), a star below .05. These results do not extend to other data sets."
    )
    return "\n\n".join([*parts, note]) + "\n"


def format_difference(
    difference: float, low: float | None, high: float | None, p: float | None, decimals: int = 2
) -> str:
    """One difference with its interval and p, a star where it is significant.

    Args:
        difference: The difference.
        low, high: Bounds of its interval.
        p: Its adjusted p; None or NaN with one seed, where there is no interval.
        decimals: Digits after the point.
    """
    if p is None or np.isnan(p):
        return f"{difference:+.{decimals}f} (one seed: no interval)"
    star = " *" if p < LEVEL else ""
    shown = f"p {p:.3f}" if p >= 0.001 else "p < 0.001"
    return f"{difference:+.{decimals}f} [{low:+.{decimals}f}, {high:+.{decimals}f}], {shown}{star}"
