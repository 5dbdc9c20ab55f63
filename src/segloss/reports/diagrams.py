"""Diagrams of the counts: reliability, accuracy against calibration, mean ranks, differences of classes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segloss.reports.ranks import Ranking
from segloss.reports.style import COLUMN, PAGE, drawing, legend_below, line_styles, one_line, panels, write_figure

Titles = Mapping[str, Mapping[str, str]]


def reliability(path: Path, calibration: Mapping[str, Mapping[str, np.ndarray]], titles: Titles) -> None:
    """Reliability diagrams: accuracy by confidence, and below it the share of the pixels in each bin.

    The upper panel draws only bins with over a thousandth of the pixels, so that no line follows a handful of pixels.

    Args:
        path: The figure.
        calibration: For each label scenario and loss the pixels, correct pixels and summed confidence of the bins, over
            images and seeds: (3, bins).
        titles: Titles of ``losses`` and ``labels``.

    Reference: Guo et al., 2017, https://arxiv.org/abs/1706.04599
    """
    styles = line_styles(dict.fromkeys(loss for lines in calibration.values() for loss in lines))
    handles: dict[str, Any] = {}
    with drawing() as pyplot:
        figure, axes = panels(pyplot, len(calibration), 2.5, ratios=(2.4, 1), sharex=True)
        for (accuracy, share), (labels, lines) in zip(axes, calibration.items(), strict=False):
            accuracy.plot([0, 100], [0, 100], color="0.75", linewidth=0.8, zorder=0)
            for loss, (pixels, correct, confidence) in lines.items():
                shown = pixels > pixels.sum() / 1000
                (handles[loss],) = accuracy.plot(
                    100 * confidence[shown] / pixels[shown], 100 * correct[shown] / pixels[shown], **styles[loss]
                )
                edges = np.linspace(0, 100, len(pixels) + 1)
                line = {key: styles[loss][key] for key in ("color", "linestyle")}
                share.stairs(100 * pixels / pixels.sum(), edges, linewidth=0.9, **line)
            accuracy.set(title=one_line(titles["labels"][labels]), xlim=(0, 100), ylim=(0, 100))
            share.set(xlabel="confidence (%)", ylim=(0, 100))
        axes[0, 0].set_ylabel("accuracy (%)")
        axes[0, 1].set_ylabel("pixels (%)")
        legend_below(figure, handles, titles["losses"])
        write_figure(figure, path)


def accuracy_against_calibration(
    path: Path,
    points: Mapping[str, Mapping[str, Mapping[str, tuple[float, float, float]]]],
    titles: Titles,
) -> None:
    """mIoU against ECE with intervals, one panel for each label scenario; hollow after temperature scaling.

    Args:
        path: The figure.
        points: For each label scenario and loss: mean, low and high of ``mIoU``, ``ECE`` and, if known, ``ECE_scaled``.
        titles: Titles of ``losses`` and ``labels``.
    """
    styles = line_styles(dict.fromkeys(loss for losses in points.values() for loss in losses))
    handles: dict[str, Any] = {}
    with drawing() as pyplot:
        figure, axes = panels(pyplot, len(points), 2.2, sharex=True, sharey=True)
        for (axis,), (labels, losses) in zip(axes, points.items(), strict=False):
            for loss, values in losses.items():
                style = {key: styles[loss][key] for key in ("color", "marker")}
                (miou, *_), (ece, *_) = values["mIoU"], values["ECE"]
                handles[loss] = axis.errorbar(
                    miou, ece, xerr=error_bar(values["mIoU"]), yerr=error_bar(values["ECE"]), elinewidth=0.6, **style
                )
                if "ECE_scaled" in values:
                    scaled = values["ECE_scaled"]
                    axis.plot([miou, miou], [ece, scaled[0]], color=style["color"], linestyle=":", linewidth=0.6)
                    bar = error_bar(scaled)
                    axis.errorbar(miou, scaled[0], yerr=bar, elinewidth=0.6, markerfacecolor="white", **style)
            axis.set(title=one_line(titles["labels"][labels]), xlabel="mIoU (%)")
        axes[0, 0].set_ylim(bottom=0)  # shared by all panels, so set only after the last panel has widened it
        for (axis,) in axes[:: min(4, len(points))]:
            axis.set_ylabel("ECE (%)")
        legend_below(figure, handles, titles["losses"])
        write_figure(figure, path)


def error_bar(values: tuple[float, float, float]) -> np.ndarray:
    """Distances of low and high from the mean, as matplotlib takes them; never negative."""
    mean, low, high = values
    return np.maximum([[mean - low], [high - mean]], 0)


def critical_difference(path: Path, ranking: Ranking, metric: str, titles: Mapping[str, str]) -> None:
    """Mean ranks on a line, the best on the left; a bar joins losses that do not differ by the critical difference.

    Args:
        path: The figure.
        ranking: The ranks.
        metric: Name of the metric, for the title.
        titles: Titles of the losses.

    Reference: Demšar, 2006, https://www.jmlr.org/papers/v7/demsar06a.html
    """
    ranks = sorted(ranking.ranks.items(), key=lambda entry: entry[1])
    number, half = len(ranks), -(-len(ranks) // 2)
    bars = cliques([rank for _, rank in ranks], ranking.critical_difference)
    depth = 1.1 + 0.6 * len(bars)  # in lines of text, like all heights here
    height, width = 4.4 + depth + 1.3 * half, 1.5 * COLUMN
    # The axis takes the middle half of the width, with the names on both sides of it.
    unit = (number - 1) / 0.5 / width  # ranks per inch
    left, right = 1 - 0.25 * width * unit, number + 0.25 * width * unit
    line = {"color": "black", "linewidth": 0.7}
    with drawing() as pyplot:
        figure = pyplot.figure(figsize=(width, 0.13 * height))
        axis = figure.add_axes((0, 0, 1, 1))
        axis.plot([1, number], [0, 0], **line)
        for tick in range(1, number + 1):
            axis.plot([tick, tick], [0, 0.35], **line)
            axis.text(tick, 0.5, str(tick), ha="center", va="bottom", fontsize=7)
        for place, (loss, rank) in enumerate(ranks):
            end, side, step = (1, -1, place) if place < half else (number, 1, number - 1 - place)
            low = -depth - 1.3 * step
            axis.plot([rank, rank, end + 0.15 * side * unit], [0, low, low], **line)
            label = f"{one_line(titles[loss])} ({rank:.2f})"
            alignment = "right" if side < 0 else "left"
            axis.text(end + 0.2 * side * unit, low, label, ha=alignment, va="center", fontsize=7)
        for place, (start, end) in enumerate(bars):
            low = -0.7 - 0.6 * place
            axis.plot([start - 0.03 * unit, end + 0.03 * unit], [low, low], color="black", linewidth=2.4)
        distance = ranking.critical_difference
        for start, end, low, high in (
            (1, 1 + distance, 2.4, 2.4),
            (1, 1, 2.15, 2.65),
            (1 + distance,) * 2 + (2.15, 2.65),
        ):
            axis.plot([start, end], [low, high], **line)
        blocks = f"mean rank by {metric} over {len(ranking.blocks)} blocks; CD = {distance:.2f}"
        axis.text(1, 2.75, blocks, ha="left", va="bottom", fontsize=7)
        axis.set(xlim=(left, right), ylim=(-depth - 1.3 * half, 4.4))
        axis.axis("off")
        write_figure(figure, path)


def cliques(ranks: Sequence[float], critical_difference: float) -> list[tuple[float, float]]:
    """First and last rank of each maximal group of two or more neighbours that do not differ, left to right."""
    groups: list[tuple[int, int]] = []
    for start in range(len(ranks)):
        end = max(place for place in range(start, len(ranks)) if ranks[place] - ranks[start] <= critical_difference)
        if end > start and (not groups or end > groups[-1][1]):
            groups.append((start, end))
    return [(ranks[start], ranks[end]) for start, end in groups]


def class_differences(
    path: Path,
    differences: Mapping[str, Mapping[str, np.ndarray]],
    classes: Sequence[str],
    baseline: str,
    titles: Titles,
) -> None:
    """IoU of each class minus that of the baseline, in points: classes down, losses across, a panel per label scenario.

    Args:
        path: The figure.
        differences: For each label scenario and loss the difference of each class, NaN where the class does not occur.
        classes: Names of the classes.
        baseline: The loss that is subtracted.
        titles: Titles of ``losses`` and ``labels``.
    """
    largest = max(np.nanmax(np.abs(list(losses.values())), initial=1e-9) for losses in differences.values())
    columns, longest = max(map(len, differences.values())), max(map(len, titles["losses"].values()))
    with drawing() as pyplot:
        height = 0.4 + 0.15 * len(classes) + 0.05 * longest
        figure, axes = panels(pyplot, len(differences), height, across=max(1, min(4, 16 // columns)), sharey=True)
        figure.set_figwidth(PAGE if len(differences) > 1 or columns > 7 else COLUMN)
        for (axis,), (labels, losses) in zip(axes, differences.items(), strict=False):
            values = np.array(list(losses.values())).T
            # Orange below zero, purple above: distinguishable when colour-blind, and in greyscale by the printed signs.
            axis.imshow(values, cmap="PuOr", vmin=-1.6 * largest, vmax=1.6 * largest, aspect="auto")
            for (row, column), value in np.ndenumerate(values):
                shown = f"{value:+.1f}" if np.isfinite(value) else "–"
                axis.text(column, row, shown, ha="center", va="center", fontsize=5)
            axis.set(title=f"{one_line(titles['labels'][labels])}: ΔIoU to {one_line(titles['losses'][baseline])}")
            axis.set_xticks(
                range(len(losses)), [one_line(titles["losses"][loss]) for loss in losses], rotation=90, fontsize=6
            )
            axis.set_yticks(range(len(classes)), [one_line(name) for name in classes], fontsize=6)
            axis.tick_params(length=0)
            axis.spines[:].set_visible(False)
        write_figure(figure, path)
