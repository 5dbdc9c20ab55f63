"""Which differences are more than chance: each loss against the grid's first, each kind of label against the first."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from segloss.metrics import METRICS, calibration_error, mean_iou
from segloss.records.verification import RecordError
from segloss.reports.intervals import done_cells, stacked
from segloss.reports.statistics import compare, holm, pseudo_values
from segloss.reports.summary import AXES

MEASURED = ["difference", "low", "high", "p", "images", "seeds"]


def compare_along(axis: Literal["loss", "labels"], table: pd.DataFrame, results: Path) -> pd.DataFrame:
    """The difference in mIoU and ECE of every point from the first along an axis, for other images and other seeds.

    Args:
        axis: What differs: the loss, all else equal, or the kind of label.
        table: The results table.
        results: Folder of the cells, whose counts say how each image fared.

    Returns:
        A row for each point but the first of its kind, and each metric: the axes, ``against`` (the axis), ``baseline``
        (the first), ``metric``, ``difference`` in points, its 95 % interval, p, and ``p_holm``, adjusted over the rows
        of that metric. Interval and p are empty where a point has one seed.

    Raises:
        RecordError: if two points were evaluated on different images.
    """
    place = AXES.index(axis)
    columns: dict[tuple[str, ...], dict[str, list]] = {}
    for point, cells in done_cells(table).items():
        columns.setdefault((*point[:place], *point[place + 1 :]), {})[point[place]] = cells
    rows = []
    for rest, points in columns.items():
        first, *others = points
        reference = stacked(points[first], results) if others else None
        for name in others:
            counts = stacked(points[name], results)
            if counts.names != reference.names:
                raise RecordError(
                    f"{name} and {first} of {'/'.join(rest)} were evaluated on different images: "
                    "they cannot be compared"
                )
            for metric, kind, of in (("mIoU", "overlap", mean_iou), ("ECE", "calibration", calibration_error)):
                own, other = (pseudo_values(getattr(one, kind), of) for one in (counts, reference))
                found = asdict(compare(own, other))
                axes = dict(zip(AXES, (*rest[:place], name, *rest[place:]), strict=True))
                known = dict(against=axis, baseline=first, metric=metric)
                rows.append(axes | known | {key: found[key] for key in MEASURED})
    compared = pd.DataFrame(rows, columns=[*AXES, "against", "baseline", "metric", *MEASURED])
    compared["p_holm"] = np.nan
    for _, of_metric in compared[compared.p.notna()].groupby("metric"):
        compared.loc[of_metric.index, "p_holm"] = holm(of_metric.p.astype(float).to_numpy())
    return compared


def markdown(compared: pd.DataFrame, titles: Mapping[str, Mapping[str, str]]) -> str:
    """The differences in Markdown, laid out as the tables are; a star where Holm's p is below .05."""
    parts = []
    kinds = {"loss": ("losses", "labels"), "labels": ("labels", "losses")}
    for (dataset, model, schedule, axis, baseline, metric), rows in compared.groupby(
        [*AXES[:3], "against", "baseline", "metric"], sort=False
    ):
        down, across = kinds[axis]
        other = "labels" if axis == "loss" else "loss"
        names = list(dict.fromkeys(rows[other]))
        head = " | ".join(titles[across][name] for name in names)
        better = METRICS[metric].direction
        title = f"**{dataset}, {model}** (schedule {schedule}): {metric} minus that of {titles[down][baseline]}"
        lines = [f"{title} ({better} is better)", "", f"| {axis.capitalize()} | {head} |"]
        lines.append("|:--|" + "--:|" * len(names))
        for name in dict.fromkeys(rows[axis]):
            of_name = rows[rows[axis] == name].set_index(other)
            cells = [entry(of_name.loc[place]) if place in of_name.index else "–" for place in names]
            lines.append(f"| {titles[down][name]} | " + " | ".join(cells) + " |")
        parts.append("\n".join(lines))
    counted = compared[compared.p.notna()].groupby(["against", "metric"], sort=False).size()
    families = ", ".join(f"{number} of {metric} between {kinds[axis][0]}" for (axis, metric), number in counted.items())
    note = (
        "95 % interval for other images of the same kind and other seeds; p adjusted by Holm over the comparisons of "
        f"one metric ({families or 'none'}), a star below .05. One data set says nothing of others."
    )
    return "\n\n".join([*parts, note]) + "\n"


def entry(row: pd.Series) -> str:
    """One difference with its interval and p."""
    if pd.isna(row.p):
        return f"{row.difference:+.2f} (one seed: no interval)"
    star = " *" if row.p_holm < 0.05 else ""
    p = f"p {row.p_holm:.3f}" if row.p_holm >= 0.001 else "p < 0.001"
    return f"{row.difference:+.2f} [{row.low:+.2f}, {row.high:+.2f}], {p}{star}"
