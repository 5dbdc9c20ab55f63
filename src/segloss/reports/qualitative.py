"""Pictures of predictions: image, label, raters' mean, and for each loss its prediction, confidence and errors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segloss.datasets import Dataset, image_names
from segloss.reports.style import PAGE, drawing, one_line, write_figure

ACROSS = 7  # losses side by side; more of them go down the page


@dataclass(frozen=True)
class Example:
    """One image with its truth.

    Attributes:
        name: Its name.
        pictures: RGB pictures by title: image, label, raters' mean, as far as they are known.
        label: Its class map, None if unknown.
    """

    name: str
    pictures: Mapping[str, np.ndarray]
    label: np.ndarray | None


def colour(classes: np.ndarray, dataset: Dataset) -> np.ndarray:
    """A class map in the data set's colours; anything that is no class is white."""
    palette = np.full((256, 3), 255, np.uint8)
    palette[: len(dataset.palette)] = dataset.palette
    return palette[classes]


def example_names(predictions: Mapping[str, Mapping[str, np.ndarray]], number: int) -> list[str]:
    """The first images of which all losses have a prediction; other maps of an image have a prefix with a slash."""
    shared = [set(maps) for maps in predictions.values()]
    kinds = ("label/", "confidence/", "image/")
    return sorted(name for name in set.intersection(*shared) if not name.startswith(kinds))[:number]


def read_examples(
    dataset: Dataset, folder: Path | None, split: str, names: Sequence[str], maps: Mapping[str, np.ndarray]
) -> list[Example]:
    """Images with their truth: as kept with the predictions, else from the data set.

    Args:
        dataset: The data set.
        folder: Its folder; None where it is not at hand.
        split: The split.
        names: Names of the images.
        maps: Content of one predictions.npz.
    """
    entries = dataset.read_list(folder, split) if folder else []
    paths = dict(zip(image_names(entries), entries, strict=True)) if entries else {}
    examples = []
    for name in names:
        image, label, *raters = paths.get(name, (None, None))
        pictures, classes = {}, maps.get(f"label/{name}")
        if f"image/{name}" in maps:
            pictures["image"] = maps[f"image/{name}"]
        elif image and dataset.redistributable:  # of other data sets only class maps may be passed on
            pictures["image"] = dataset.read_image(folder / image)
        if classes is None and label:
            classes = dataset.read_label(folder / label)
        if classes is not None:
            pictures["label"] = colour(classes, dataset)
        if drawn := [colour(dataset.read_label(folder / rater), dataset) for rater in raters if rater]:
            pictures["raters' mean"] = np.mean(drawn, 0).astype(np.uint8)  # colours mixed as the raters disagree
        examples.append(Example(name, pictures, classes))
    return examples


def loss_pictures(maps: Mapping[str, np.ndarray], example: Example, dataset: Dataset) -> list[tuple[str, np.ndarray]]:
    """Prediction, confidence and errors of one loss on one image, as far as they are known, each with its name."""
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
        examples: As from `read_examples`; three fit on a page.
        predictions: For each loss its content of predictions.npz.
        titles: Titles of the losses.
    """
    grid = picture_grid(dataset, examples, predictions, titles)
    height, width = next(iter(predictions.values()))[examples[0].name].shape
    columns = max(map(len, grid))
    size = PAGE / columns
    with drawing() as pyplot:
        from matplotlib.patches import Patch

        rows = len(grid)
        figure, axes = pyplot.subplots(
            rows,
            columns,
            squeeze=False,
            figsize=(PAGE, min(9.5, rows * (size * height / width + 0.02)) + 0.6),
            layout="constrained",
        )
        figure.get_layout_engine().set(w_pad=0.01, h_pad=0.01, wspace=0.01, hspace=0.01)
        for line, pictures in zip(axes, grid, strict=True):
            for axis, entry in zip(line, pictures + [None] * (columns - len(pictures)), strict=True):
                if entry is None:
                    axis.axis("off")
                    continue
                draw_picture(axis, *entry)
        patches = [
            Patch(facecolor=np.array(rgb) / 255, edgecolor="0.4", linewidth=0.4, label=one_line(name))
            for name, rgb in zip(dataset.classes, dataset.palette, strict=True)
        ]
        patches.append(Patch(facecolor="white", edgecolor="0.4", linewidth=0.4, label="void"))
        figure.legend(handles=patches, loc="outside lower center", ncols=min(len(patches), 7), handlelength=1)
        write_figure(figure, path)


def picture_grid(
    dataset: Dataset,
    examples: Sequence[Example],
    predictions: Mapping[str, Mapping[str, np.ndarray]],
    titles: Mapping[str, str],
) -> list[list[tuple[str, str, np.ndarray] | None]]:
    """Lines of (title above, name on the left, picture): one for each kind of picture of an example, losses across.

    Many losses: lines of at most ``ACROSS`` of them below each other.
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


def draw_picture(axis: Any, title: str, name: str, picture: np.ndarray) -> None:
    """One picture with a title above and a name on its left."""
    axis.imshow(picture, interpolation="nearest")
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_linewidth(0.3)
    axis.spines[:].set_visible(True)
    if title:
        axis.set_title(title, fontsize=6.5, pad=2)
    if name:
        axis.set_ylabel(name, fontsize=6, labelpad=1)
