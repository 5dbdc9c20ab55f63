"""95 % bootstrap intervals of the metrics of every point, for other test images and other seeds."""

from collections.abc import Mapping

import pandas as pd

from segloss.reports.markdown import table, text
from segloss.reports.points import Point, PointStatistics
from segloss.reports.summary import AXES

COLUMNS = [*AXES, "metric", "mean", "low", "high", "images", "seeds"]
# Two of three values can be drawn in six ways only, so the bootstrap over seeds is coarse and its tails are too short.
NOTE = (
    "Mean over seeds and its 95 % percentile bootstrap interval over test images and seeds. "
    "Three seeds carry little information on the variation between seeds: with few seeds the interval is too narrow."
)


def interval_table(points: Mapping[Point, PointStatistics]) -> pd.DataFrame:
    """A row for each point and metric: the axes, metric, mean over seeds, low, high, images, seeds."""
    rows = [
        (*point, metric, statistics.means[metric], low, high, len(statistics.images), len(statistics.cells))
        for point, statistics in points.items()
        for metric, (low, high) in statistics.intervals.items()
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def markdown_intervals(intervals: pd.DataFrame, titles: Mapping[str, Mapping[str, str]]) -> str:
    """The intervals in Markdown: a table for each data set and model, losses down, label scenarios and metrics across.

    Args:
        intervals: As returned by `interval_table`.
        titles: Titles of ``losses`` and ``labels``.
    """
    parts = []
    for (dataset, model, schedule), rows in intervals.groupby(AXES[:3], sort=False):
        columns = [(label, metric) for label in rows.labels.unique() for metric in rows.metric.unique()]
        cells = {
            (row.loss, row.labels, row.metric): f"{row.mean:.2f} [{row.low:.2f}, {row.high:.2f}]"
            for row in rows.itertuples()
        }
        images = "/".join(map(str, sorted(set(rows.images))))
        parts.append(f"**{text(dataset)}, {text(model)}** (schedule {text(schedule)}, {images} test images)")
        head = [f"{titles['labels'][label]}: {metric}" for label, metric in columns]
        body = [
            [text(titles["losses"][loss]), *(cells.get((loss, *column), "–") for column in columns)]
            for loss in rows.loss.unique()
        ]
        parts.append(table(["Loss", *head], body))
    one_seed = " With one seed the interval covers other images only." if (intervals.seeds == 1).any() else ""
    return "\n\n".join([*parts, NOTE + one_seed]) + "\n"
