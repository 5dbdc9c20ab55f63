"""Comparisons of every point of a grid with every other one of its block."""

from collections.abc import Mapping, Sequence

import numpy as np

from segloss.records import RecordError
from segloss.reports.points import STATISTICS, Point, PointStatistics
from segloss.reports.statistics import holm
from segloss.reports.summary import AXES


def compare_points(
    points: Mapping[Point, PointStatistics],
) -> dict[str, dict[str, dict[str, list[list[float] | None]]]]:
    """Every loss against every other and every label scenario against every other, the other axes being equal.

    Returns:
        ``[axis][baseline][metric]``: for each point its difference from the baseline, half the width of the 95 %
        interval and p adjusted by Holm over this list; interval and p are None where a point has one seed; the
        whole entry is None for the baseline itself and where the baseline has no result.

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
            name: {metric: [None] * len(points) for metric in STATISTICS}
            for name in dict.fromkeys(p[place] for p in points)
        }
        for block in blocks.values():
            _check_images(points, block)
            for metric in STATISTICS:
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


def _check_images(points: Mapping[Point, PointStatistics], block: Sequence[Point]) -> None:
    for point in block:
        if points[point].images != points[block[0]].images:
            names = f"{'/'.join(point)} and {'/'.join(block[0])}"
            raise RecordError(f"{names} were evaluated on different images: they cannot be compared")


def _adjust(entries: list[list[float] | None]) -> None:
    """Replace p by Holm's adjusted p over the list and NaN by None, and round for the page."""
    tested = [entry for entry in entries if entry is not None and not np.isnan(entry[2])]
    if tested:
        for entry, p in zip(tested, holm([entry[2] for entry in tested]), strict=True):
            entry[2] = float(p)
    for entry in entries:
        if entry is not None:
            entry[:] = [None if np.isnan(number) else float(f"{number:.6g}") for number in entry]
