"""How far a mean would move with other test images and other seeds: bootstrap intervals of the tables' metrics."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from segloss.grid import Cell
from segloss.metrics import ImageCounts, calibration_error, image_counts, mean_iou
from segloss.records.verification import RecordError
from segloss.reports.statistics import bootstrap_interval
from segloss.reports.summary import AXES

NOTE = (
    "Mean over seeds and its 95 % percentile interval when test images and seeds are drawn anew. "
    "Three seeds tell little of the spread of seeds: the interval of few seeds is rather too narrow."
)


def stacked(cells: Sequence[Cell], results: Path) -> ImageCounts:
    """The counts of several seeds of one point: arrays (images, seeds, ...).

    Raises:
        RecordError: if the seeds were evaluated on different images.
    """
    found = [image_counts(results / str(cell) / "counts.npz") for cell in cells]
    for cell, counts in zip(cells, found, strict=True):
        if counts.names != found[0].names:
            raise RecordError(f"{cell} and {cells[0]} were evaluated on different images: they cannot be compared")
    overlap, calibration = (np.stack([getattr(one, kind) for one in found], 1) for kind in ("overlap", "calibration"))
    return ImageCounts(found[0].names, overlap, calibration)


def done_cells(table: pd.DataFrame) -> dict[tuple[str, ...], list[Cell]]:
    """For each (dataset, model, schedule, labels, loss) the cells of its seeds that are done, in the table's order."""
    done = table.loc[table.status == "done", [*AXES, "seed"]].drop_duplicates()
    points: dict[tuple[str, ...], list[Cell]] = {}
    for row in done.itertuples(index=False):
        points.setdefault(tuple(row[:-1]), []).append(Cell(*row))
    return points


def intervals(table: pd.DataFrame, results: Path) -> pd.DataFrame:
    """The 95 % intervals of mIoU and ECE of every point, for other images and other seeds.

    Args:
        table: The results table.
        results: Folder of the cells, whose counts say how each image fared.

    Returns:
        A row for each point and metric: the axes, metric, mean over seeds, low, high, images, seeds.

    Raises:
        RecordError: if the seeds of a point were evaluated on different images.
    """
    rows = []
    for point, cells in done_cells(table).items():
        counts = stacked(cells, results)
        images = len(counts.names)
        for metric, values, of in (
            ("mIoU", counts.overlap, mean_iou),
            ("ECE", counts.calibration, calibration_error),
        ):
            low, high = bootstrap_interval(values, of)
            mean = float(of(values.sum(0)).mean())
            known = dict(metric=metric, mean=mean, low=low, high=high, images=images, seeds=len(cells))
            rows.append(dict(zip(AXES, point, strict=True)) | known)
    return pd.DataFrame(rows, columns=[*AXES, "metric", "mean", "low", "high", "images", "seeds"])


def markdown(found: pd.DataFrame, titles: Mapping[str, Mapping[str, str]]) -> str:
    """The intervals in Markdown, laid out as the tables are."""
    parts = []
    for (dataset, model, schedule), rows in found.groupby(AXES[:3], sort=False):
        labels, metrics = (list(dict.fromkeys(rows[axis])) for axis in ("labels", "metric"))
        columns = [(label, metric) for label in labels for metric in metrics]
        head = " | ".join(f"{titles['labels'][label]}: {metric}" for label, metric in columns)
        images = "/".join(map(str, sorted(set(rows.images))))
        lines = [f"**{dataset}, {model}** (schedule {schedule}, {images} test images)", "", f"| Loss | {head} |"]
        lines.append("|:--|" + "--:|" * len(columns))
        for loss in dict.fromkeys(rows.loss):
            of_loss = rows[rows.loss == loss].set_index(["labels", "metric"])
            cells = [
                "{0[mean]:.2f} [{0[low]:.2f}, {0[high]:.2f}]".format(of_loss.loc[column])
                if column in of_loss.index
                else "–"
                for column in columns
            ]
            lines.append(f"| {titles['losses'][loss]} | " + " | ".join(cells) + " |")
        parts.append("\n".join(lines))
    one = ["Where there is one seed, the interval is for other images alone."] if (found.seeds == 1).any() else []
    return "\n\n".join([*parts, " ".join([NOTE, *one])]) + "\n"
