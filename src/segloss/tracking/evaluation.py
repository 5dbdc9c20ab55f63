"""The evaluation of a cell as W&B shows it: tables and charts from its counts, images from its saved predictions."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segloss.metrics import Counts, per_class, reliability

# A table of C x C rows: with more classes it would be slow to send and unreadable.
CONFUSION_CLASSES = 50
# Images are for visual inspection only: maps are subsampled to about this many pixels per side.
PICTURE_SIDE = 512


def evaluation_media(folder: Path, classes: Sequence[str]) -> dict[str, Any]:
    """The tables, charts and images of an evaluated cell by their keys in W&B.

    ``evaluation/per_class`` is a table of scores in percent; ``evaluation/confusion`` a chart of pixels by label and
    prediction, up to 50 classes; ``evaluation/reliability`` a chart of accuracy over confidence in 10 bins;
    ``evaluation/predictions`` images with the masks ``prediction`` and ``label``, grey where the data set may not be
    redistributed.

    Args:
        folder: The cell's folder, with counts.npz and predictions.npz.
        classes: The names of the classes.
    """
    counts = Counts.load(folder / "counts.npz")
    media = {"evaluation/per_class": class_table(counts, classes), "evaluation/reliability": reliability_chart(counts)}
    if len(classes) <= CONFUSION_CLASSES:
        media["evaluation/confusion"] = confusion_chart(counts, classes)
    with np.load(folder / "predictions.npz", allow_pickle=False) as maps:
        media["evaluation/predictions"] = prediction_images(maps, classes)
    return media


def class_table(counts: Counts, classes: Sequence[str]) -> Any:
    """The scores of each class in percent; None where a score is not defined."""
    import wandb

    scores = per_class(counts)
    rows = [[name, *(scores[score].get(index) for score in scores)] for index, name in enumerate(classes)]
    return wandb.Table(columns=["class", *scores], data=rows)


def confusion_chart(counts: Counts, classes: Sequence[str]) -> Any:
    """The confusion matrix in pixels, as W&B's built-in chart."""
    import wandb

    pixels = counts.total("confusion").tolist()
    rows = [
        [classes[label], classes[predicted], number]
        for label, numbers in enumerate(pixels)
        for predicted, number in enumerate(numbers)
    ]
    columns = ["Actual", "Predicted", "nPredictions"]
    return wandb.plot_table(
        "wandb/confusion_matrix/v1",
        wandb.Table(columns=columns, data=rows),
        dict(zip(columns, columns, strict=True)),
        {"title": "Confusion matrix (pixels)"},
    )


def reliability_chart(counts: Counts) -> Any:
    """The reliability diagram: accuracy over confidence, with the pixels of each bin in its table."""
    import wandb

    bins = reliability(counts)
    rows = np.stack([bins["confidence"], bins["accuracy"], bins["pixels"]], 1).tolist()
    table = wandb.Table(columns=["confidence", "accuracy", "pixels"], data=rows)
    return wandb.plot.line(table, "confidence", "accuracy", title="Reliability")


def prediction_images(maps: Mapping[str, np.ndarray], classes: Sequence[str]) -> list[Any]:
    """The saved predictions as images with masks; a grey image replaces one that was not saved."""
    import wandb

    labels = {**dict(enumerate(classes)), 255: "void"}
    images = []
    for name in (key for key in maps if not key.startswith(("label/", "confidence/", "image/"))):
        step = max(1, max(maps[name].shape) // PICTURE_SIDE)
        prediction, truth = (maps[key][::step, ::step] for key in (name, f"label/{name}"))
        image = np.full((*prediction.shape, 3), 128, np.uint8)
        if f"image/{name}" in maps:
            image = maps[f"image/{name}"][::step, ::step]
        masks = {
            key: {"mask_data": mask, "class_labels": labels}
            for key, mask in (("prediction", prediction), ("label", truth))
            if mask.shape == image.shape[:2]
        }
        images.append(wandb.Image(image, caption=name, masks=masks))
    return images
