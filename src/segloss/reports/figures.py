"""Pictures of predictions: what each loss makes of the same images."""

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import numpy as np

from segloss.datasets import Dataset, image_names
from segloss.files import write_atomic

ACROSS = 10  # more pictures than this do not fit side by side


def colour(classes: np.ndarray, dataset: Dataset) -> np.ndarray:
    """A class map in the data set's colours; anything that is no class is white."""
    palette = np.full((256, 3), 255, np.uint8)
    palette[: len(dataset.palette)] = dataset.palette
    return palette[classes]


def predictions(
    path: Path,
    dataset: Dataset,
    folder: Path,
    split: str,
    predicted: Mapping[str, Mapping[str, np.ndarray]],
    images: int = 3,
) -> None:
    """Draw images, labels, the mean of the raters and predictions: side by side, or down the page where they are many.

    Args:
        path: The PNG.
        dataset: What the images belong to.
        folder: Where it lies.
        split: Their split.
        predicted: For each title the class maps (H, W) of some images by name.
        images: At most so many images.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.patches import Patch

    shared = set.intersection(*(set(maps) for maps in predicted.values()))
    entries = dataset.read_list(folder, split)
    rows = [
        (name, image, label, [rater for rater in raters if rater])
        for name, (image, label, *raters) in zip(image_names(entries), entries, strict=True)
        if name in shared
    ][:images]
    height, width = predicted[next(iter(predicted))][rows[0][0]].shape
    pictures = 2 + (dataset.raters > 0) + len(predicted)
    down = pictures > ACROSS
    shape = (pictures, len(rows)) if down else (len(rows), pictures)
    size = (1.7 * shape[1] + 1.2 * down, 1.7 * height / width * shape[0] + 0.9)
    figure, axes = pyplot.subplots(*shape, squeeze=False, figsize=size, layout="constrained")
    axes = axes.T if down else axes
    for number, (name, image, label, raters) in enumerate(rows):
        shown = {
            "image": dataset.read_image(folder / image),
            "label": colour(dataset.read_label(folder / label), dataset),
        }
        if dataset.raters:
            drawn = [colour(dataset.read_label(folder / rater), dataset) for rater in raters]
            shown["raters"] = np.mean(drawn, 0).astype(np.uint8)  # colours mixed as the raters disagree
        shown |= {title: colour(maps[name], dataset) for title, maps in predicted.items()}
        for axis, (title, picture) in zip(axes[number], shown.items(), strict=True):
            axis.imshow(picture, interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
            if number == 0 and down:
                axis.set_ylabel(title, fontsize=9, rotation=0, ha="right", va="center")
            elif number == 0:
                axis.set_title(title, fontsize=9)
    patches = [
        Patch(color=np.array(rgb) / 255, label=name) for name, rgb in zip(dataset.classes, dataset.palette, strict=True)
    ]
    patches.append(Patch(facecolor="white", edgecolor="black", label="void"))
    columns = min(len(patches), 3 if down else 6)
    figure.legend(handles=patches, loc="outside lower center", ncols=columns, fontsize=8, frameon=False)
    buffer = BytesIO()
    # No software version or date in the file: the same predictions give the same bytes.
    figure.savefig(buffer, format="png", dpi=130, metadata={"Software": None})
    pyplot.close(figure)
    write_atomic(path, lambda file: file.write(buffer.getvalue()))
