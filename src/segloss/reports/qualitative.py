"""Pictures of predictions: image, label, raters' mean, and for each loss its prediction, confidence and errors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segloss.datasets import Dataset
from segloss.reports.style import PAGE, drawing, one_line, write_figure

ACROSS = 7  # losses side by side; further ones go into new lines
LEGEND_COLUMNS = 7
TITLE, NAME, GAP = 0.17, 0.15, 0.03  # inches above a picture with a title, on the left of the first, between pictures


@dataclass(frozen=True)
class Example:
    """One image with its truth.

    Attributes:
        name: Its name.
        pictures: RGB pictures by title: image, label, raters' mean, those that are known.
        label: Its class map, None if unknown.
    """

    name: str
    pictures: Mapping[str, np.ndarray]
    label: np.ndarray | None


def colour(classes: np.ndarray, dataset: Dataset) -> np.ndarray:
    """A class map in the data set's colours; anything that is not a class is white."""
    palette = np.full((256, 3), 255, np.uint8)
    palette[: len(dataset.palette)] = dataset.palette
    return palette[classes]


def example_names(predictions: Mapping[str, Mapping[str, np.ndarray]], number: int) -> list[str]:
    """The first images for which all losses have a prediction; other maps of an image have a prefix with a slash."""
    shared = [set(maps) for maps in predictions.values()]
    kinds = ("label/", "confidence/", "image/")
    return sorted(name for name in set.intersection(*shared) if not name.startswith(kinds))[:number]


def read_examples(
    dataset: Dataset, folder: Path | None, split: str, names: Sequence[str], maps: Mapping[str, np.ndarray]
) -> list[Example]:
    """Images with their truth: as stored with the predictions, or else from the data set.

    Args:
        dataset: The data set.
        folder: Its folder; None if it is not available.
        split: The split.
        names: Names of the images.
        maps: Content of one predictions.npz.
    """
    entries = dataset.read_list(folder, split) if folder else []
    paths = dict(zip(dataset.image_names(folder, entries), entries, strict=True)) if entries else {}
    examples = []
    for name in names:
        image, label, *raters = paths.get(name, (None, None))
        pictures, classes = {}, maps.get(f"label/{name}")
        if f"image/{name}" in maps:
            pictures["image"] = maps[f"image/{name}"]
        elif image and dataset.redistributable:  # for other data sets only class maps may be redistributed
            pictures["image"] = dataset.read_image(folder / image)
        if classes is None and label:
            classes = dataset.read_label(folder / label)
        if classes is not None:
            pictures["label"] = colour(classes, dataset)
        if drawn := [colour(dataset.read_label(folder / rater), dataset) for rater in raters if rater]:
            pictures["raters' mean"] = np.mean(drawn, 0).astype(np.uint8)  # colours mix where the raters disagree
        examples.append(Example(name, pictures, classes))
    return examples


def loss_pictures(maps: Mapping[str, np.ndarray], example: Example, dataset: Dataset) -> list[tuple[str, np.ndarray]]:
    """Prediction, confidence and errors of one loss on one image, those that are known, each with its name."""
    classes = maps[example.name]
    pictures = [("prediction", colour(classes, dataset))]
    if (confidence := maps.get(f"confidence/{example.name}")) is not None:
        pictures.append(("confidence", np.repeat(confidence[..., None], 3, axis=2)))
    if example.label is not None:
        known = example.label < len(dataset.classes)
        # Wrong pixels black, right ones white, void grey: readable in print.
        errors = np.where(known & (classes != example.label), 0, np.where(known, 255, 200)).astype(np.uint8)
        pictures.append(("errors", np.repeat(errors[..., None], 3, axis=2)))
    return pictures


def draw_predictions(
    path: Path,
    dataset: Dataset,
    examples: Sequence[Example],
    predictions: Mapping[str, Mapping[str, np.ndarray]],
    titles: Mapping[str, str],
) -> None:
    """Draw examples, and what each loss predicts for them.

    Args:
        path: The figure.
        dataset: The data set of the images.
        examples: As returned by `read_examples`; three fit on a page.
        predictions: For each loss its content of predictions.npz.
        titles: Titles of the losses.
    """
    grid = picture_grid(dataset, examples, predictions, titles)
    columns = max(map(len, grid))
    above = [TITLE if any(entry and entry[0] for entry in line) else GAP for line in grid]
    shapes = [next(entry[2].shape for entry in line if entry) for line in grid]  # of one image in each line
    ratios = [height / width for height, width, _ in shapes]
    # In inches; the pictures end at most 9.5 down the page, and letters are .6 of their size wide.
    across = min((PAGE - NAME) / columns - GAP, (9.5 - sum(above)) / sum(ratios))
    size = min(6.5, 72 * across / 0.6 / max(len(entry[0]) for line in grid for entry in line if entry))
    margin = (PAGE - NAME - columns * (across + GAP) + GAP) / 2
    starts = [margin + NAME * (place >= len(examples[0].pictures)) + place * (across + GAP) for place in range(columns)]
    bottom = sum(above) + across * sum(ratios) + GAP
    labels = [*map(one_line, dataset.classes), "void"]
    colours = [np.array(rgb) / 255 for rgb in dataset.palette] + [np.ones(3)]
    legend = 0.2 + 0.16 * -(-len(labels) // LEGEND_COLUMNS)
    with drawing() as pyplot:
        from matplotlib.patches import Patch

        # One Axes for all pictures: separate ones take ten times as long to draw.
        figure = pyplot.figure(figsize=(PAGE, bottom + legend))
        axes = figure.add_axes((0, legend / (bottom + legend), 1, bottom / (bottom + legend)))
        y = 0.0
        for line, space, ratio in zip(grid, above, ratios, strict=True):
            y += space
            down = across * ratio
            for x, entry in zip(starts, line, strict=False):
                if entry is not None:
                    draw_picture(axes, *entry, (x, x + across, y + down, y), size)
            y += down
        axes.set(xlim=(0, PAGE), ylim=(bottom, 0))
        axes.axis("off")
        patches = [
            Patch(facecolor=rgb, edgecolor="0.4", linewidth=0.4, label=label)
            for rgb, label in zip(colours, labels, strict=True)
        ]
        ncols = min(len(patches), LEGEND_COLUMNS)
        figure.legend(handles=patches, loc="lower center", ncols=ncols, handlelength=1, fontsize=6.5)
        write_figure(figure, path)


def picture_grid(
    dataset: Dataset,
    examples: Sequence[Example],
    predictions: Mapping[str, Mapping[str, np.ndarray]],
    titles: Mapping[str, str],
) -> list[list[tuple[str, str, np.ndarray] | None]]:
    """Lines of (title above, name on the left, picture): one for each kind of picture of an example, losses across.

    Many losses are split into lines of at most ``ACROSS``, one below the other.
    """
    grid: list[list[tuple[str, str, np.ndarray] | None]] = []
    names = list(predictions)
    for example in examples:
        truth = [(title, "", picture) for title, picture in example.pictures.items()]
        for start in range(0, len(names), ACROSS):
            losses = names[start : start + ACROSS]
            kinds = [loss_pictures(predictions[loss], example, dataset) for loss in losses]
            for kind in range(len(kinds[0])):
                first = kind == 0
                before = truth if first and start == 0 else [None] * len(truth)
                new_names = first and (example is examples[0] or len(names) > ACROSS)
                line = [
                    (
                        one_line(titles[loss]) if new_names else "",
                        pictures[kind][0] if place == 0 else "",
                        pictures[kind][1],
                    )
                    for place, (loss, pictures) in enumerate(zip(losses, kinds, strict=True))
                ]
                grid.append([*before, *line])
    return grid


def draw_picture(
    axes: Any, title: str, name: str, picture: np.ndarray, extent: tuple[float, float, float, float], size: float
) -> None:
    """Draw a picture at (left, right, bottom, top) in a thin frame, with a title above it and a name on its left."""
    left, right, bottom, top = extent
    axes.imshow(picture, interpolation="nearest", extent=extent, aspect="auto")
    axes.plot([left, right, right, left, left], [top, top, bottom, bottom, top], color="black", linewidth=0.3)
    if title:
        axes.text((left + right) / 2, top - GAP, title, fontsize=size, ha="center", va="bottom")
    if name:
        axes.text(left - GAP, (top + bottom) / 2, name, fontsize=size, ha="right", va="center", rotation=90)
