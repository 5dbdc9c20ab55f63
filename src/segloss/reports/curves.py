"""Training and validation curves over seeds."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segloss.reports.style import drawing, legend_below, line_styles, one_line, panels, write_figure

# (steps, 2): iteration and value
Curve = np.ndarray


def training_curves(record: Mapping[str, Any]) -> tuple[Curve, Curve]:
    """Training loss and validation mIoU of a record by iteration; empty where none was logged."""
    rows = [(row["iteration"], row["train/loss"]) for row in record["training"]["rows"] if "train/loss" in row]
    validations = [(entry["iteration"], entry["mIoU"]) for entry in record["training"]["checkpoint"]["validations"]]
    return tuple(np.array(values, float).reshape(-1, 2) for values in (rows, validations))


def draw_curves(
    path: Path,
    curves: Mapping[str, Mapping[str, Sequence[tuple[Curve, Curve]]]],
    titles: Mapping[str, Mapping[str, str]],
) -> None:
    """Draw training loss and, below it, validation mIoU if any: mean over seeds, shaded from minimum to maximum.

    Args:
        path: The figure.
        curves: For each label scenario and loss the curves of its seeds.
        titles: Titles of ``losses`` and ``labels``.
    """
    styles = line_styles(dict.fromkeys(loss for losses in curves.values() for loss in losses))
    validated = any(len(curve[1]) for losses in curves.values() for seeds in losses.values() for curve in seeds)
    handles: dict[str, Any] = {}
    with drawing() as pyplot:
        figure, axes = panels(pyplot, len(curves), 1.7 * (1 + validated), ratios=(1,) * (1 + validated), sharex=True)
        for panel, (labels, losses) in zip(axes, curves.items(), strict=False):
            for kind, axis in enumerate(panel):
                for loss, seeds in losses.items():
                    style = {key: styles[loss][key] for key in ("color", "linestyle")}
                    if line := draw_band(axis, [curve[kind] for curve in seeds], style):
                        handles[loss] = line
            panel[0].set_title(one_line(titles["labels"][labels]))
            panel[-1].set_xlabel("iteration")
        for axis, name in zip(axes[0], ("training loss", "validation mIoU (%)"), strict=False):
            axis.set_ylabel(name)
        legend_below(figure, handles, titles["losses"])
        write_figure(figure, path)


def draw_band(axis: Any, seeds: Sequence[Curve], style: Mapping[str, Any]) -> Any:
    """The mean of several seeds as a line, their range as a band; None where they share no iteration."""
    by_seed = [dict(curve) for curve in seeds if len(curve)]
    shared = sorted(set.intersection(*map(set, by_seed))) if by_seed else []
    if not shared:
        return None
    values = np.array([[curve[iteration] for iteration in shared] for curve in by_seed])
    axis.fill_between(shared, values.min(0), values.max(0), color=style["color"], alpha=0.12, linewidth=0)
    return axis.plot(shared, values.mean(0), **style)[0]
