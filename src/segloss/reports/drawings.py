"""The figures of a report: one of each kind for every data set and model, and one of the ranks."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from segloss.datasets import Dataset, DatasetError, find, locate
from segloss.grid import Grid
from segloss.records.verification import RecordError
from segloss.reports import diagrams
from segloss.reports.curves import draw_curves
from segloss.reports.evidence import Evidence
from segloss.reports.points import Point, PointStatistics
from segloss.reports.qualitative import draw_predictions, example_names, read_examples
from segloss.reports.ranks import Ranking, is_conclusive
from segloss.reports.style import file_name, remove_figure
from segloss.reports.summary import AXES, PAPER_METRICS

EXAMPLES = 3  # images of a qualitative figure


def draw_figures(
    grid: Grid,
    table: pd.DataFrame,
    evidence: Evidence,
    intervals: pd.DataFrame,
    ranked: Mapping[str, Ranking],
    results: Path,
    data_root: Path,
    folder: Path,
) -> None:
    """Draw all figures of a report as PNG, PDF and SVG; arguments as for `write_report`."""
    sources = {experiment.cell.dataset: find(experiment.source) for experiment in grid.experiments}
    draw_qualitative(grid, evidence.splits, sources, results, data_root, folder)  # first: it reads files and may fail
    for (dataset, model), points in by_dataset_and_model(evidence.points).items():
        path = {
            kind: folder / file_name(kind, dataset, model)
            for kind in ("reliability", "calibration", "classes", "curves")
        }
        calibration = {key: statistics.calibration.sum(0) for key, statistics in points.items()}
        diagrams.reliability(path["reliability"], by_labels(calibration), grid.titles)
        values = calibration_values(dataset, model, table, intervals)
        diagrams.accuracy_against_calibration(path["calibration"], by_labels(values), grid.titles)
        draw_classes(path["classes"], points, sources[dataset], grid.titles)
        curves = {key: evidence.curves[dataset, model, *key] for key in points}
        if any(len(loss) for seeds in curves.values() for loss, _ in seeds):
            draw_curves(path["curves"], by_labels(curves), grid.titles)
    draw_ranks(ranked, grid.titles["losses"], folder)


def named(path: Path) -> Path:
    """The PNG of a figure; a name may contain dots."""
    return path.with_name(f"{path.name}.png")


def by_dataset_and_model(
    points: Mapping[Point, PointStatistics],
) -> dict[tuple[str, str], dict[Point, PointStatistics]]:
    """Points by (dataset, model), there keyed by (schedule, labels, loss)."""
    grouped: dict[tuple[str, str], dict[Point, PointStatistics]] = {}
    for (dataset, model, *rest), statistics in points.items():
        grouped.setdefault((dataset, model), {})[tuple(rest)] = statistics
    return grouped


def by_labels(points: Mapping[Point, Any]) -> dict[str, dict[str, Any]]:
    """Values keyed by (schedule, labels, loss) as a dict by labels and then by loss; a grid has one schedule."""
    grouped: dict[str, dict[str, Any]] = {}
    for (_, labels, loss), value in points.items():
        grouped.setdefault(labels, {})[loss] = value
    return grouped


def calibration_values(
    dataset: str, model: str, table: pd.DataFrame, intervals: pd.DataFrame
) -> dict[Point, dict[str, tuple[float, float, float]]]:
    """Mean, low and high of mIoU and ECE, and of ECE after temperature scaling, by (schedule, labels, loss).

    The counts hold no histogram after scaling, so the bounds of that ECE are one standard deviation over seeds.
    """
    values: dict[Point, dict[str, tuple[float, float, float]]] = {}
    for row in intervals[(intervals.dataset == dataset) & (intervals.model == model)].itertuples():
        values.setdefault((row.schedule, row.labels, row.loss), {})[row.metric] = (row.mean, row.low, row.high)
    scaled = table[(table.dataset == dataset) & (table.model == model) & (table.metric == "ECE_scaled")]
    for key, seeds in scaled.groupby(AXES[2:], sort=False).value:
        deviation = seeds.std(ddof=1) if len(seeds) > 1 else 0.0
        values[key]["ECE_scaled"] = (seeds.mean(), seeds.mean() - deviation, seeds.mean() + deviation)
    return values


def class_iou_by_seed(statistics: PointStatistics) -> np.ndarray:
    """IoU of each class in percent, (seeds, classes); NaN where a class occurs in no label or prediction."""
    hits, labelled, predicted = np.moveaxis(statistics.overlap.astype(float), 1, 0)
    union = labelled + predicted - hits
    return 100 * np.divide(hits, union, out=np.full_like(union, np.nan), where=union > 0)


def class_shares(statistics: PointStatistics) -> np.ndarray:
    """The share of each class in the labelled pixels of the evaluated images, in percent."""
    labelled = statistics.overlap[0, 1].astype(float)
    return 100 * labelled / labelled.sum()


def draw_classes(
    path: Path, points: Mapping[Point, PointStatistics], dataset: Dataset, titles: Mapping[str, Mapping[str, str]]
) -> None:
    """Draw the IoU of each class minus that of the first loss, frequent classes first; no figure for one loss."""
    differences: dict[str, dict[str, np.ndarray]] = {}
    baseline = next(iter(points))[2]
    shares = class_shares(next(iter(points.values())))
    order = np.argsort(-shares, kind="stable")
    for labels, losses in by_labels(points).items():
        if baseline in losses and len(losses) > 1:
            means = {loss: class_iou_by_seed(statistics).mean(0) for loss, statistics in losses.items()}
            others = [loss for loss in losses if loss != baseline]
            differences[labels] = {loss: (means[loss] - means[baseline])[order] for loss in others}
    if differences:
        classes = [f"{dataset.classes[place]}, {shares[place]:.2g} %" for place in order]
        diagrams.class_differences(path, differences, classes, baseline, titles)
    else:
        remove_figure(path)


def draw_ranks(ranked: Mapping[str, Ranking], titles: Mapping[str, str], folder: Path) -> None:
    """Draw the ranks of each metric that has enough blocks for a difference to show."""
    for metric in PAPER_METRICS:
        path = folder / f"ranks-{metric.name}.png"
        if metric.name in ranked and is_conclusive(ranked[metric.name]):
            diagrams.critical_difference(path, ranked[metric.name], metric.name, titles)
        else:
            remove_figure(path)


def draw_qualitative(
    grid: Grid,
    splits: Mapping[str, str],
    sources: Mapping[str, Dataset],
    results: Path,
    data_root: Path,
    folder: Path,
) -> None:
    """Predictions of every loss on the same images: the first label scenario of each data set and model, seed 0."""
    for dataset, model in dict.fromkeys((cell.dataset, cell.model) for cell in grid.cells):
        cells = [cell for cell in grid.cells if (cell.dataset, cell.model, cell.seed) == (dataset, model, 0)]
        cells = [cell for cell in cells if cell.labels == cells[0].labels]
        predictions = {
            cell.loss: read_predictions(path)
            for cell in cells
            if (path := results / str(cell) / "predictions.npz").exists()
        }
        names = example_names(predictions, EXAMPLES) if predictions else []
        if not names:
            continue
        try:
            data = locate(sources[dataset].name, data_root)
        except DatasetError:
            data = None  # the class maps can be drawn without the data
        maps = next(iter(predictions.values()))
        examples = read_examples(sources[dataset], data, splits[dataset], names, maps)
        shapes = {example.name: example.label.shape for example in examples if example.label is not None}
        for cell in cells:
            for name in names if cell.loss in predictions else ():
                shape = predictions[cell.loss][name].shape
                if len(shape) != 2 or shapes.get(name, shape) != shape:
                    raise damaged_predictions(results / str(cell) / "predictions.npz", f"{name} has the shape {shape}")
        path = named(folder / file_name("predictions", dataset, model))
        draw_predictions(path, sources[dataset], examples, predictions, grid.titles["losses"])


def read_predictions(path: Path) -> dict[str, np.ndarray]:
    """The class maps of predictions.npz by image.

    Raises:
        RecordError: if it is damaged.
    """
    try:
        with np.load(path) as maps:
            return dict(maps)
    except Exception as error:  # a damaged file makes numpy, zipfile or zlib raise its own error
        raise damaged_predictions(path, f"it is damaged, {type(error).__name__}") from error


def damaged_predictions(path: Path, problem: str) -> RecordError:
    """The error for predictions that cannot be drawn."""
    return RecordError(
        f"{path} must hold predicted class maps, but {problem}: delete it and run its cell again, which does not "
        "retrain if work/weights.pt exists"
    )
