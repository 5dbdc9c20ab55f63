"""The loss of one pixel as a function of its prediction, for hard and soft targets; includes the articles' argument."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np

from segloss.reports.style import COLOURS, COLUMN, DASHES, drawing, write_figure

TARGETS = (1.0, 0.75, 0.5, 0.25)
PixelLoss = Callable[[np.ndarray, float], np.ndarray]


def product_form(x: np.ndarray, y: float) -> np.ndarray:
    """Soft Jaccard loss of one pixel with the intersection as a product: 1 - xy / (x + y - xy).

    Decreases with x for every y > 0: its minimum is at x = 1, not at x = y.
    """
    return 1 - x * y / (x + y - x * y)


def jaccard_metric_loss(x: np.ndarray, y: float) -> np.ndarray:
    """Jaccard metric loss (JML) of one pixel: 1 - (x + y - |x - y|) / (x + y + |x - y|); its minimum is at x = y.

    Reference: Wang et al., 2023, https://arxiv.org/abs/2302.05666
    """
    return 1 - (x + y - np.abs(x - y)) / (x + y + np.abs(x - y))


def draw_argument(path: Path, formats: Iterable[str] | None = None) -> None:
    """Draw the articles' argument: the product form next to JML; ``formats`` as in `write_figure`."""
    losses = {"soft Jaccard, product form": product_form, "Jaccard metric loss (JML)": jaccard_metric_loss}
    draw_pixel_losses(path, losses, np.linspace(1e-3, 1, 1000), formats=formats, ylim=(0, 1))


def draw_pixel_losses(
    path: Path,
    losses: Mapping[str, PixelLoss],
    x: np.ndarray,
    targets: Iterable[float] = TARGETS,
    formats: Iterable[str] | None = None,
    ylim: tuple[float, float] | None = None,
) -> None:
    """Draw losses of one pixel over its probability x, a panel each, for target probabilities y; a dot at each minimum.

    Args:
        path, formats: As in `write_figure`.
        losses: Titles of the panels and functions (x, y) -> loss.
        x: Predicted probabilities, increasing in [0, 1].
        targets: Target probabilities y, at most four.
        ylim: Limits of the losses. Default: None: those of the values.
    """
    with drawing() as pyplot:
        width = 0.6 + (1.7 * COLUMN - 0.6) / 2 * len(losses)
        figure, axes = pyplot.subplots(
            1, len(losses), squeeze=False, sharey=True, figsize=(width, 1.9), layout="constrained"
        )
        for axis, (title, loss) in zip(axes[0], losses.items(), strict=True):
            for y, colour, dashes in zip(targets, COLOURS[:1] + COLOURS[3:6], DASHES, strict=False):
                values = loss(x, y)
                axis.plot(x, values, color=colour, linestyle=dashes, label=f"y = {y:g}")
                axis.plot(x[values.argmin()], values.min(), "o", color=colour, clip_on=False, zorder=3)
            axis.set(title=title, xlabel="predicted probability x", xlim=(0, 1), ylim=ylim)
        axes[0, 0].set_ylabel("loss")
        handles = axes[0, -1].get_legend_handles_labels()
        figure.legend(*handles, loc="outside right center", title="target", title_fontsize=7, handlelength=2.6)
        write_figure(figure, path, formats)
