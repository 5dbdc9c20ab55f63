"""Predictions of a model on a split, of which counts are left and nothing else."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from segloss.engine import processes
from segloss.engine.inference import Protocol, predict
from segloss.engine.losses import VOID
from segloss.files import write_atomic
from segloss.labels import majority, rater_mean
from segloss.metrics import Counts, TemperatureFit, rescale, summarize


def truths(
    sample: Mapping[str, Any], num_classes: int, reference: str, device: torch.device
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """What an image's prediction is compared with.

    Args:
        sample: The image's data sample as a dict.
        num_classes: Number of classes C.
        reference: "label" or "majority".
        device: Where the prediction lies.

    Returns:
        The hard labels int64 (1, H, W), bool (1, H, W) where they are valid, and what else ``Counts.update`` takes:
        ``truth``, ``raters`` and ``present`` as far as there are any.
    """
    labels = sample["gt_sem_seg"]["data"].long().to(device)
    valid, soft = labels != VOID, {}
    if "gt_raters" in sample:
        raters = sample["gt_raters"]["data"].long().to(device).unsqueeze(0)
        drawn = raters != VOID
        soft = {"raters": raters, "present": drawn.flatten(2).any(2)}
        soft["truth"], _ = rater_mean(raters, drawn, num_classes)
        if reference == "majority":
            labels, valid = majority(raters, drawn, num_classes)
    if "gt_truth" in sample:
        soft["truth"] = sample["gt_truth"]["data"].to(device).unsqueeze(0)
    return labels, valid, soft


@dataclass(frozen=True)
class Evaluation:
    """How the predictions of a cell are made and what they are compared with.

    Attributes:
        num_classes: Number of classes.
        reference: The hard truth: "label", the file the data set calls its label, or "majority" of its raters, the
            lowest class where votes are equal.
        protocol: How predictions are made.
    """

    num_classes: int
    reference: str
    protocol: Protocol


# Of the metrics on hard labels those that a temperature changes.
SCALED_METRICS = ("ECE", "ECE_I", "MCE", "NLL", "Brier")
# The temperature is one number: of each image about so many pixels are enough to find it.
FIT_PIXELS = 2**12


@torch.no_grad()
def predictions(
    model: nn.Module, loader: DataLoader, how: Evaluation
) -> Iterator[tuple[str, Tensor, Tensor, Tensor, dict[str, Tensor]]]:
    """Name, probabilities (1, C, H, W) and ``truths`` of every image that a loader gives, one at a time.

    The model is left in the mode it was in.
    """
    segmentor = processes.unwrap(model)
    training = model.training
    model.eval()
    for batch in loader:
        data = segmentor.data_preprocessor(batch, False)
        for image, sample in zip(data["inputs"], data["data_samples"], strict=True):
            probabilities = predict(segmentor, image.unsqueeze(0), sample.ori_shape[:2], how.protocol)
            yield sample.name, probabilities, *truths(sample.to_dict(), how.num_classes, how.reference, image.device)
    model.train(training)


def validation_miou(model: nn.Module, loader: DataLoader, how: Evaluation) -> float:
    """mIoU in percent and nothing else: what weights are chosen by."""
    counts = Counts(how.num_classes, classwise=False)
    for name, probabilities, labels, valid, _ in predictions(model, loader, how):
        counts.update(probabilities, labels, valid, [name])
    return summarize(processes.all_merge(counts))["mIoU"]


def validate(model: nn.Module, loader: DataLoader, how: Evaluation) -> tuple[dict[str, float], float]:
    """All metrics on the validation images, and the temperature that fits them best."""
    counts, fit = Counts(how.num_classes), TemperatureFit(how.num_classes)
    for name, probabilities, labels, valid, soft in predictions(model, loader, how):
        counts.update(probabilities, labels, valid, [name], **soft)
        some = (..., *[slice(None, None, math.isqrt(max(1, labels.numel() // FIT_PIXELS)))] * 2)
        fit.update(probabilities[some], labels[some], valid[some])
    counts, fit = processes.all_merge(counts), processes.all_merge(fit)
    # A model that says the same of all classes fits every temperature alike.
    return summarize(counts), fit.temperature() if fit.derivatives.any() else 1.0


def picture_maps(name: str, probabilities: Tensor, labels: Tensor, valid: Tensor) -> dict[str, np.ndarray]:
    """What a picture of one prediction shows, uint8 (H, W), by the keys of predictions.npz.

    ``<name>`` is the predicted class, ``label/<name>`` the hard truth, 255 where it is void, and ``confidence/<name>``
    the largest probability, 255 for 1.
    """
    maps = {
        name: probabilities[0].argmax(0),
        f"label/{name}": labels[0].masked_fill(~valid[0], VOID),
        f"confidence/{name}": (255 * probabilities[0].amax(0)).round(),
    }
    return {key: values.to("cpu").numpy().astype(np.uint8) for key, values in maps.items()}


def evaluate(
    model: nn.Module,
    loader: DataLoader,
    how: Evaluation,
    temperature: float | None,
    folder: Path,
    samples: int = 4,
    *,
    read_image: Callable[[int], np.ndarray] | None = None,
) -> tuple[dict[str, float], dict[str, float] | None]:
    """Count the predictions of the test images into counts.npz, and keep some in predictions.npz for a picture.

    On data sets with raters their maps are counted too, and as soft truth the mean of those who drew the image, or the
    known truth where there is one.

    Args:
        model: A segmentor.
        loader: Of the test images.
        how: How.
        temperature: The temperature of a second measurement; None for none.
        folder: Where the files go.
        samples: The ``picture_maps`` of so many images are kept, evenly spaced over the list.
        read_image: Reads an image by its place in the list, uint8 (H, W, 3): it is kept too, as ``image/<name>``.
            Default: None: no image is kept, since most data sets may not be redistributed.

    Returns:
        All metrics, and with a temperature ``SCALED_METRICS`` of the probabilities it scales, softmax(log p / T) of
        the averaged p: they are measured after windows and views are averaged, as the temperature was fitted.
    """
    counts, scaled, kept = Counts(how.num_classes), Counts(how.num_classes, classwise=False), {}
    images = len(loader.dataset)
    chosen = {place * images // samples for place in range(samples)}
    for number, (name, probabilities, labels, valid, soft) in enumerate(predictions(model, loader, how)):
        counts.update(probabilities, labels, valid, [name], **soft)
        if temperature is not None:
            scaled.update(rescale(probabilities, temperature), labels, valid, [name])
        place = (
            number * processes.world_size() + processes.rank()
        )  # process r looks at the images r, r + W, r + 2 W, ...
        if place in chosen:
            kept[place] = picture_maps(name, probabilities, labels, valid)
            if read_image is not None:
                kept[place][f"image/{name}"] = read_image(place)
    counts, scaled = processes.all_merge(counts), processes.all_merge(scaled)
    kept = dict(chain.from_iterable(gathered.items() for gathered in processes.all_gather(kept)))
    if processes.rank() == 0:
        counts.save(folder / "counts.npz")
        maps = {key: values for place in sorted(kept) for key, values in kept[place].items()}
        write_atomic(folder / "predictions.npz", lambda file: np.savez_compressed(file, **maps))
    if temperature is None:
        return summarize(counts), None
    measured = summarize(scaled)
    return summarize(counts), {name: measured[name] for name in SCALED_METRICS}
