"""Diagrams of what was counted: reliability of the confidence, and which mean ranks differ."""

import zlib
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from segloss.files import write_atomic
from segloss.reports.ranks import Ranking


def canvas() -> Any:
    """pyplot, drawing into files."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def write_figure(figure: Any, path: Path) -> None:
    """Write a figure as PNG: the same drawing gives the same bytes."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=130, metadata={"Software": None})
    canvas().close(figure)
    write_atomic(path, lambda file: file.write(buffer.getvalue()))


def reliability(path: Path, panels: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Accuracy by confidence, one panel for each kind of label and one line for each loss.

    A bin is drawn where it holds one pixel in a thousand, so that no line follows a handful of pixels.

    Args:
        path: The PNG.
        panels: For each title of a panel, and each of a line, pixels, right pixels and the sum of confidence of the
            bins, summed over images and seeds: (3, bins).
    """
    pyplot = canvas()
    losses = list(dict.fromkeys(loss for lines in panels.values() for loss in lines))
    styles = [(pyplot.get_cmap("tab10")(number % 10), ("-", "--", ":")[number // 10 % 3]) for number in range(30)]
    style = {loss: styles[number % 30] for number, loss in enumerate(losses)}
    figure, axes = pyplot.subplots(
        1, len(panels), squeeze=False, sharey=True, figsize=(3.2 * len(panels) + 2, 3.6), layout="constrained"
    )
    for axis, (title, lines) in zip(axes[0], panels.items(), strict=True):
        axis.plot([0, 100], [0, 100], color="0.75", linewidth=1)
        for loss, (pixels, right, confidence) in lines.items():
            some = pixels > pixels.sum() / 1000
            colour, dashes = style[loss]
            axis.plot(
                100 * confidence[some] / pixels[some],
                100 * right[some] / pixels[some],
                color=colour,
                linestyle=dashes,
                marker=".",
                label=loss,
            )
        axis.set(title=title, xlabel="confidence (%)", xlim=(0, 100), ylim=(0, 100), aspect="equal")
    axes[0, 0].set_ylabel("accuracy (%)")
    found = {label: line for axis in axes[0] for line, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(
        found.values(), found.keys(), loc="outside right center", fontsize=8, frameon=False, ncols=1 + len(found) // 16
    )
    write_figure(figure, path)


class Title(str):
    """A title whose hash is the same in every process: the diagram goes through sets of titles in their order."""

    def __hash__(self) -> int:
        return zlib.crc32(self.encode())


def critical_difference(path: Path, ranking: Ranking, metric: str, titles: Mapping[str, str]) -> None:
    """Mean ranks on a line; a bar joins losses that do not differ by Nemenyi's critical difference.

    Reference: Demšar, 2006, https://www.jmlr.org/papers/v7/demsar06a.html
    """
    import scikit_posthocs

    pyplot = canvas()
    names = pd.Index([Title(titles[loss]) for loss in ranking.ranks], dtype=object)
    ranks = pd.Series(list(ranking.ranks.values()), index=names, name="rank")
    apart = np.abs(np.subtract.outer(ranks.to_numpy(), ranks.to_numpy())) > ranking.critical_difference
    figure, axis = pyplot.subplots(figsize=(7, 1.2 + 0.25 * len(ranks)), layout="constrained")
    # All the diagram takes from the matrix is which of its entries are below .05.
    differs = pd.DataFrame(np.where(apart, 0.0, 1.0), index=ranks.index, columns=ranks.index)
    scikit_posthocs.critical_difference_diagram(
        ranks, differs, ax=axis, label_fmt_left="{label} ({rank:.2f})  ", label_fmt_right="  {label} ({rank:.2f})"
    )
    axis.set_title(
        f"mean rank by {metric} over {len(ranking.blocks)} blocks; critical difference "
        f"{ranking.critical_difference:.2f}",
        fontsize=10,
    )
    write_figure(figure, path)
