"""``segloss compare``: two results folders, and which of their numbers differ beyond their intervals."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from segloss.grid import Cell, ConfigError
from segloss.metrics import Counts, ImageCounts, image_counts
from segloss.records import RecordError, check_counts, read
from segloss.reports.comparisons import LEVEL
from segloss.reports.markdown import table, text
from segloss.reports.points import STATISTICS, Point, PointStatistics, point_of, point_statistics, reported_metrics
from segloss.reports.statistics import compare, compare_models, holm

NOTE = (
    "Second minus first. With two or more seeds on both sides the interval is for other images and other seeds; with "
    "one seed it is for other images and these trained models alone. p is adjusted by Holm over the rows of a metric."
)


@dataclass(frozen=True)
class Change:
    """One metric of one point in two results folders; interval and p are for the difference, second minus first."""

    point: Point
    metric: str
    first: float
    second: float
    difference: float
    low: float
    high: float
    p: float


def compare_folders(first: Path, second: Path) -> str:
    """The points of two results folders whose mIoU or ECE differs beyond its interval, in Markdown.

    Raises:
        RecordError: a folder is missing or holds no finished cell, they share no point, or a record is damaged.
    """
    sides = [read_folder(folder) for folder in (first, second)]
    shared = [point for point in sides[0] if point in sides[1]]
    if not shared:
        raise RecordError(f"{first} and {second} have no finished cell in common: they cannot be compared")
    other_images = [point for point in shared if sides[0][point].images != sides[1][point].images]
    same_images = [point for point in shared if point not in other_images]
    equal = [point for point in same_images if same_counts(sides[0][point], sides[1][point])]
    differing = [point for point in same_images if point not in equal]
    changes = [change for point in differing for change in changes_of(point, sides[0][point], sides[1][point])]
    changes = adjusted(changes)
    beyond = [change for change in changes if change.p < LEVEL]
    lines = [
        f"{len(shared)} points are in both: {len(equal)} have the same counts image by image, {len(differing)} differ; "
        f"{len(beyond)} of the {len(changes)} numbers of these differ beyond their interval."
    ]
    for folder, side, other in ((first, *sides), (second, *reversed(sides))):
        if only := [point for point in side if point not in other]:
            lines.append(f"{len(only)} only in {text(str(folder))}, such as {text('/'.join(only[0]))}.")
    if other_images:
        lines.append(f"{len(other_images)} were evaluated on other images, such as {text('/'.join(other_images[0]))}.")
    parts = [" ".join(lines)]
    if beyond:
        head = ["Point", "Metric", "First", "Second", "Difference [95 % interval]", "p"]
        parts += [table(head, list(map(row_of, beyond))), NOTE]
    return "\n\n".join(parts) + "\n"


def read_folder(folder: Path) -> dict[Point, PointStatistics]:
    """Statistics of every point below a results folder, each record and its counts verified.

    Raises:
        RecordError: the folder does not exist or has no finished cell, or a record is damaged.
    """
    if not folder.is_dir():
        raise RecordError(
            f"expected a results folder, got {folder}, which is {'a file' if folder.exists() else 'missing'}"
        )
    cells = sorted(cells_below(folder))
    if not cells:
        raise RecordError(f"{folder} has no finished cell: expected <dataset>/<model>/.../seed<k>/record.json below it")

    def counts() -> Iterator[tuple[Cell, ImageCounts]]:
        for _, group in groupby(cells, key=point_of):
            for cell in group:
                place = folder / str(cell)
                verified: Counts = check_counts(read(place / "record.json"), place)
                yield cell, image_counts(verified)

    return point_statistics(counts())


def cells_below(folder: Path) -> Iterator[Cell]:
    """The cells with a record below a results folder."""
    for path in folder.glob("*/*/*/*/*/seed*/record.json"):
        try:
            yield Cell.parse(path.parent.relative_to(folder).as_posix())
        except ConfigError:
            continue  # not a cell, for example a copy kept aside


def same_counts(first: PointStatistics, second: PointStatistics) -> bool:
    """True if all seeds have the same summed counts and every image the same pseudo-values."""
    return (
        [cell.seed for cell in first.cells] == [cell.seed for cell in second.cells]
        and all(np.array_equal(getattr(first, kind), getattr(second, kind)) for kind, _ in STATISTICS.values())
        and all(
            np.array_equal(first.pseudo_values[name], second.pseudo_values[name]) for name in reported_metrics(first)
        )
    )


def changes_of(point: Point, first: PointStatistics, second: PointStatistics) -> Iterator[Change]:
    """The difference in every metric of one point."""
    for metric in reported_metrics(first):
        values, others = first.pseudo_values[metric], second.pseudo_values[metric]
        several = min(values.shape[1], others.shape[1]) > 1
        result = compare(others, values) if several else compare_models(others, values)
        means = first.means[metric], second.means[metric]
        yield Change(point, metric, *means, result.difference, result.low, result.high, result.p)


def adjusted(changes: list[Change]) -> list[Change]:
    """The changes with p adjusted over those of the same metric."""
    families: dict[str, list[Change]] = {}
    for change in changes:
        families.setdefault(change.metric, []).append(change)
    p_values: Mapping[tuple[Point, str], float] = {
        (change.point, change.metric): float(p)
        for family in families.values()
        for change, p in zip(family, holm([change.p for change in family]), strict=True)
    }
    return [Change(**{**vars(change), "p": p_values[change.point, change.metric]}) for change in changes]


def row_of(change: Change) -> list[str]:
    """A change as a line of the table."""
    return [
        text("/".join(change.point)),
        change.metric,
        f"{change.first:.2f}",
        f"{change.second:.2f}",
        f"{change.difference:+.2f} [{change.low:+.2f}, {change.high:+.2f}]",
        f"{change.p:.3f}" if change.p >= 0.001 else "< 0.001",
    ]
