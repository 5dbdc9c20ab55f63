"""Statistics over images and seeds of each point of a grid; every file of counts is read once, and none is kept.

A point is (dataset, model, schedule, labels, loss); its cells differ only in the seed.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import groupby
from pathlib import Path

import numpy as np
import pandas as pd

from segloss.grid import Cell
from segloss.metrics import (
    ImageCounts,
    calibration_error,
    divergence,
    image_counts,
    image_mean_iou,
    mean_accuracy,
    mean_dice,
    mean_iou,
    mean_precision,
    optimal_dataset_scale,
    soft_brier,
    soft_dice,
)
from segloss.records.verification import RecordError
from segloss.reports.statistics import bootstrap_interval, pseudo_values
from segloss.reports.summary import AXES

# Metrics with intervals and tests: the counts of an image that each is a function of, and the function.
STATISTICS = {"mIoU": ("overlap", mean_iou), "ECE": ("calibration", calibration_error)}
# Tested for the claims that name them, not in every report; some need a soft truth, one the edges of boundaries.
CLAIM_STATISTICS = {
    "mDice": ("overlap", mean_dice),
    "mAcc": ("overlap", mean_accuracy),
    "mPrecision": ("overlap", mean_precision),
    "mDice_soft": ("soft_overlap", soft_dice),
    "KL": ("distances", divergence),
    "Brier_soft": ("distances", soft_brier),
    "ODS": ("edges", optimal_dataset_scale),
}
# Likewise, but means over images: each image has its own value.
IMAGE_STATISTICS = {"mIoU_I": ("overlap", image_mean_iou)}

Point = tuple[str, ...]


@dataclass(frozen=True)
class PointStatistics:
    """Statistics of one point for intervals, comparisons and figures: a few kilobytes instead of its counts.

    Attributes:
        cells: Its finished cells, one for each seed.
        images: Names of the images; one object for all points with the same images.
        pseudo_values: Of each metric, (images, seeds), those against a soft truth if there is one; empty with one
            image.
        means: Of each metric, the mean over seeds of the metric of the whole data set.
        intervals: Of each metric, the bounds of its 95 % bootstrap interval.
        calibration: Pixels, correct pixels and summed confidence of each bin, over images, (seeds, 3, bins).
        overlap: True positives, labelled and predicted pixels of each class, over images, (seeds, 3, classes).
    """

    cells: tuple[Cell, ...]
    images: tuple[str, ...]
    pseudo_values: Mapping[str, np.ndarray]
    means: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    calibration: np.ndarray
    overlap: np.ndarray


def stack_seeds(cells: Sequence[Cell], counts: Sequence[ImageCounts]) -> ImageCounts:
    """The counts of several seeds of one point as arrays (images, seeds, ...).

    Raises:
        RecordError: if the seeds were evaluated on different images.
    """
    for cell, other in zip(cells, counts, strict=True):
        if other.names != counts[0].names:
            raise RecordError(f"{cell} and {cells[0]} were evaluated on different images: they cannot be compared")
    kinds = [field.name for field in fields(ImageCounts) if field.name != "names"]
    arrays = {kind: [getattr(entry, kind) for entry in counts] for kind in kinds}
    return ImageCounts(
        counts[0].names, **{kind: np.stack(values, 1) for kind, values in arrays.items() if values[0] is not None}
    )


def statistics_of(cells: Sequence[Cell], counts: Sequence[ImageCounts]) -> PointStatistics:
    """The statistics of one point from the counts of its seeds."""
    stacked = stack_seeds(cells, counts)
    arrays = {metric: (getattr(stacked, kind), function) for metric, (kind, function) in STATISTICS.items()}
    further = {metric: (getattr(stacked, kind), function) for metric, (kind, function) in CLAIM_STATISTICS.items()}
    of_images = {metric: function(getattr(stacked, kind)) for metric, (kind, function) in IMAGE_STATISTICS.items()}
    several = len(stacked.names) > 1  # the jackknife leaves one image out
    return PointStatistics(
        cells=tuple(cells),
        images=tuple(stacked.names),
        pseudo_values={
            metric: pseudo_values(values, function)
            for metric, (values, function) in (arrays | further).items()
            if several and values is not None
        }
        | {metric: values for metric, values in of_images.items() if several and np.isfinite(values).all()},
        means={metric: float(function(values.sum(0)).mean()) for metric, (values, function) in arrays.items()},
        intervals={metric: bootstrap_interval(*array) for metric, array in arrays.items()},
        calibration=stacked.calibration.sum(0),
        overlap=stacked.overlap.sum(0),
    )


def reported_metrics(statistics: PointStatistics) -> list[str]:
    """The metrics that are compared in every report; the others are for the claims that name them."""
    return [metric for metric in STATISTICS if metric in statistics.pseudo_values]


def point_statistics(cells: Iterable[tuple[Cell, ImageCounts]]) -> dict[Point, PointStatistics]:
    """The statistics of all points, from their cells; the seeds of a point must follow one another.

    Takes an iterator, so only the counts of one point are in memory at a time.
    """
    points: dict[Point, PointStatistics] = {}
    known: dict[tuple[str, ...], tuple[str, ...]] = {}
    for point, group in groupby(cells, key=lambda entry: point_of(entry[0])):
        seeds, counts = zip(*group, strict=True)
        statistics = statistics_of(seeds, counts)
        points[point] = replace(statistics, images=known.setdefault(statistics.images, statistics.images))
    return points


def point_of(cell: Cell) -> Point:
    """The point of a cell."""
    return tuple(getattr(cell, axis) for axis in AXES)


def done_cells(table: pd.DataFrame) -> Iterator[Cell]:
    """The finished cells of a results table, the seeds of a point following one another."""
    done = table.loc[table.status == "done", [*AXES, "seed"]].drop_duplicates()
    for _, rows in done.groupby(AXES, sort=False):
        yield from (Cell(*row) for row in rows.itertuples(index=False))


def read_statistics(table: pd.DataFrame, results: Path) -> dict[Point, PointStatistics]:
    """The statistics of all points of a results table, from the counts below a results folder.

    Raises:
        RecordError: a file of counts is damaged, or the seeds of a point were evaluated on different images.
    """

    def read(cell: Cell) -> ImageCounts:
        path = results / str(cell) / "counts.npz"
        try:
            return image_counts(path)
        except ValueError as error:
            raise RecordError(f"{path}: {error}") from error

    return point_statistics((cell, read(cell)) for cell in done_cells(table))
