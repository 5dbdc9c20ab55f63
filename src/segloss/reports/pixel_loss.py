"""The articles' argument in one figure: the loss of one pixel over its prediction, for soft targets."""

from pathlib import Path

import numpy as np

from segloss.reports.style import COLOURS, COLUMN, DASHES, drawing, write_figure

TARGETS = (1.0, 0.75, 0.5, 0.25)


def product_form(x: np.ndarray, y: float) -> np.ndarray:
    """Soft Jaccard loss of one pixel with the intersection as a product: 1 - xy / (x + y - xy).

    Falls with x for every y > 0: its minimum is at x = 1, not at x = y.
    """
    return 1 - x * y / (x + y - x * y)


def jaccard_metric_loss(x: np.ndarray, y: float) -> np.ndarray:
    """Jaccard metric loss (JML) of one pixel: 1 - (x + y - |x - y|) / (x + y + |x - y|); its minimum is at x = y.

    Reference: Wang et al., 2023, https://arxiv.org/abs/2302.05666
    """
    return 1 - (x + y - np.abs(x - y)) / (x + y + np.abs(x - y))


def draw_pixel_loss(path: Path) -> None:
    """Both losses of one pixel over its probability x, for several target probabilities y; a dot at each minimum."""
    x = np.linspace(1e-3, 1, 1000)
    with drawing() as pyplot:
        figure, axes = pyplot.subplots(1, 2, sharey=True, figsize=(1.5 * COLUMN, 1.9), layout="constrained")
        for axis, loss, title in zip(
            axes,
            (product_form, jaccard_metric_loss),
            ("soft Jaccard, product form", "Jaccard metric loss (JML)"),
            strict=True,
        ):
            for y, colour, dashes in zip(TARGETS, COLOURS[:1] + COLOURS[3:6], DASHES, strict=True):
                values = loss(x, y)
                axis.plot(x, values, color=colour, linestyle=dashes, label=f"y = {y:g}")
                axis.plot(x[values.argmin()], values.min(), "o", color=colour, clip_on=False, zorder=3)
            axis.set(title=title, xlabel="predicted probability x", xlim=(0, 1), ylim=(0, 1))
        axes[0].set_ylabel("loss")
        axes[1].legend(loc="upper right", title="target", title_fontsize=7, handlelength=2.6)
        write_figure(figure, path)
