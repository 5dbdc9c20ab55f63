"""One pass over the counts of a grid: intervals, pseudo-values, reliability and class sums of every point."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from segloss.metrics import calibration_error, mean_iou
from segloss.records import RecordError
from segloss.reports.intervals import done_cells, stacked
from segloss.reports.statistics import bootstrap_interval, holm, pseudo_values
from segloss.reports.summary import AXES

# The metrics with an interval and a test: name, the counts they need, and the metric of those counts.
TESTED = {"mIoU": ("overlap", mean_iou), "ECE": ("calibration", calibration_error)}
Point = tuple[str, ...]  # dataset, model, schedule, labels, loss


@dataclass(frozen=True)
class PointCounts:
    """What the page needs of the counts of one point of the grid.

    Attributes:
        names: Names of the images.
        seeds: Its finished seeds.
        pseudo_values: (images, seeds) by metric; empty with one image.
        intervals: Bounds of the 95 % interval by metric.
        calibration: Pixels, correct pixels and sum of confidence of each bin, over images and seeds, (3, bins).
        overlap: True positives, labelled and predicted pixels of each class, over images, (seeds, 3, classes).
    """

    names: Sequence[str]
    seeds: Sequence[int]
    pseudo_values: Mapping[str, np.ndarray]
    intervals: Mapping[str, tuple[float, float]]
    calibration: np.ndarray
    overlap: np.ndarray


def read_points(table: pd.DataFrame, results: Path) -> dict[Point, PointCounts]:
    """Counts of every point with a finished cell, each file read once.

    Raises:
        RecordError: if the seeds of a point were evaluated on different images.
    """
    points = {}
    for point, cells in done_cells(table).items():
        counts = stacked(cells, results)
        measured = {name: (getattr(counts, kind), metric) for name, (kind, metric) in TESTED.items()}
        points[point] = PointCounts(
            names=counts.names,
            seeds=[cell.seed for cell in cells],
            pseudo_values={name: pseudo_values(*arrays) for name, arrays in measured.items()}
            if len(counts.names) > 1
            else {},
            intervals={name: bootstrap_interval(*arrays) for name, arrays in measured.items()},
            calibration=counts.calibration.sum((0, 1)),
            overlap=counts.overlap.sum(0),
        )
    return points


def compare_points(points: Mapping[Point, PointCounts]) -> dict[str, dict[str, dict[str, list[list[float] | None]]]]:
    """Every loss against every other and every label scenario against every other, all else equal.

    Returns:
        ``[axis][baseline][metric]``: for each point its difference from the baseline, half the width of the 95 %
        interval and p adjusted by Holm over this list; interval and p are None where a point has one seed; None
        instead of all three for the baseline itself and where the baseline has no result.

    Raises:
        RecordError: if two points of a block were evaluated on different images.
    """
    # Imported here: the statistics' libraries take longer to import than the rest of the page.
    from segloss.reports.page.differences import pairwise_differences

    order = {point: place for place, point in enumerate(points)}
    compared: dict[str, dict[str, dict[str, list[list[float] | None]]]] = {}
    for axis in ("loss", "labels"):
        place = AXES.index(axis)
        blocks: dict[Point, list[Point]] = {}
        for point in points:
            blocks.setdefault((*point[:place], *point[place + 1 :]), []).append(point)
        lists = compared[axis] = {
            name: {metric: [None] * len(points) for metric in TESTED}
            for name in dict.fromkeys(p[place] for p in points)
        }
        for block in blocks.values():
            _check_images(points, block)
            for metric in TESTED:
                values = [points[point].pseudo_values.get(metric) for point in block]
                if len(block) < 2 or values[0] is None:
                    continue
                difference, half, p = pairwise_differences(values)
                for column, baseline in enumerate(block):
                    entries = lists[baseline[place]][metric]
                    for row, point in enumerate(block):
                        if row != column:
                            numbers = difference[row, column], half[row, column], p[row, column]
                            entries[order[point]] = [float(number) for number in numbers]
        for metrics in lists.values():
            for entries in metrics.values():
                _adjust(entries)
    return compared


def _check_images(points: Mapping[Point, PointCounts], block: Sequence[Point]) -> None:
    for point in block:
        if points[point].names != points[block[0]].names:
            names = f"{'/'.join(point)} and {'/'.join(block[0])}"
            raise RecordError(f"{names} were evaluated on different images: they cannot be compared")


def _adjust(entries: list[list[float] | None]) -> None:
    """Replace p by Holm's p over the list, round for the page, and NaN by None."""
    tested = [entry for entry in entries if entry is not None and not np.isnan(entry[2])]
    if tested:
        for entry, p in zip(tested, holm([entry[2] for entry in tested]), strict=True):
            entry[2] = float(p)
    for entry in entries:
        if entry is not None:
            entry[:] = [None if np.isnan(number) else float(f"{number:.6g}") for number in entry]
