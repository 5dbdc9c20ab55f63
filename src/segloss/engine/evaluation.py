"""Evaluate a model on a split; only the counts are kept."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from segloss.engine import processes
from segloss.engine.controls import Control
from segloss.engine.inference import predict
from segloss.engine.losses import VOID
from segloss.files import write_atomic
from segloss.grid.protocol import Protocol
from segloss.labels import majority, rater_mean
from segloss.metrics import Boundaries, Counts, IsotonicFit, TemperatureFit, VectorScalingFit, summarize


def truths(
    sample: Mapping[str, Any], num_classes: int, reference: str, device: torch.device
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """The hard and soft truths of an image.

    Args:
        sample: The image's data sample as a dict.
        num_classes: Number of classes C.
        reference: "label" or "majority".
        device: The device of the prediction.

    Returns:
        The hard labels int64 (1, H, W), bool (1, H, W) where they are valid, and the other arguments of
        ``Counts.update``: ``truth``, ``raters`` and ``present``, if any.
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
    """How a cell's predictions are made, compared and calibrated.

    Attributes:
        num_classes: Number of classes.
        reference: The hard truth: "label", the data set's label file, or "majority", the majority vote of its raters,
            with ties broken in favour of the lowest class.
        protocol: The inference protocol.
        boundaries: The boundary counts to take in addition to the pixel counts. Default: none.
        calibrators: Post-hoc calibrators that are fitted on the validation images, names of ``CALIBRATORS``.
    """

    num_classes: int
    reference: str
    protocol: Protocol
    boundaries: Boundaries = field(default_factory=Boundaries)
    calibrators: tuple[str, ...] = ("scaled", "vector", "isotonic")

    def skipped(self) -> dict[str, str]:
        """The calibrators that are not fitted, with the reason."""
        absent = dict.fromkeys(CALIBRATORS, "not among the calibrators of the data set's test_cfg")
        if self.num_classes > ISOTONIC_CLASSES:
            absent["isotonic"] = f"{self.num_classes} classes, more than {ISOTONIC_CLASSES}: it would take too long"
        fitted = set(self.calibrators) - ({"isotonic"} if self.num_classes > ISOTONIC_CLASSES else set())
        return {name: reason for name, reason in absent.items() if name not in fitted}


# Post-hoc calibrators by the suffix of their metrics' names.
CALIBRATORS = {"scaled": TemperatureFit, "vector": VectorScalingFit, "isotonic": IsotonicFit}
# The metrics on hard labels that every calibrator changes. "vector" and "isotonic" also change predicted classes.
SCALED_METRICS = ("ECE", "ECE_I", "MCE", "NLL", "Brier")
CALIBRATED_METRICS = {name: SCALED_METRICS if name == "scaled" else ("mIoU", *SCALED_METRICS) for name in CALIBRATORS}
# Isotonic maps are applied to each class on the CPU: 1.5 s an image of 512 x 683 pixels and 150 classes, .02 s with 11.
ISOTONIC_CLASSES = 50
# This many pixels of each image are enough for calibrators with few parameters.
FIT_PIXELS = 2**12
# Vector scaling keeps the pixels it is fitted on, 4 C + 8 bytes each: about this many from all images together.
VECTOR_PIXELS = 2**18

Calibrator = Callable[[Tensor], Tensor]


@torch.no_grad()
def predictions(
    model: nn.Module, loader: DataLoader, evaluation: Evaluation
) -> Iterator[tuple[str, Tensor, Tensor, Tensor, dict[str, Tensor]]]:
    """Name, probabilities (1, C, H, W) and ``truths`` of every image of a loader, one at a time.

    The model is left in the mode it was in. The probabilities of a control are taken as they are, without the inference
    protocol.
    """
    segmentor = processes.unwrap(model)
    training = model.training
    model.eval()
    for batch in loader:
        data = segmentor.data_preprocessor(batch, False)
        for image, sample in zip(data["inputs"], data["data_samples"], strict=True):
            if isinstance(segmentor, Control):
                probabilities = segmentor.probabilities(sample).unsqueeze(0)
            else:
                probabilities = predict(segmentor, image.unsqueeze(0), sample.ori_shape[:2], evaluation.protocol)
            yield (
                sample.name,
                probabilities,
                *truths(sample.to_dict(), evaluation.num_classes, evaluation.reference, image.device),
            )
    model.train(training)


def validation_miou(model: nn.Module, loader: DataLoader, evaluation: Evaluation) -> float:
    """mIoU in percent, by which weights are selected."""
    counts = Counts(evaluation.num_classes, classwise=False)
    for name, probabilities, labels, valid, _ in predictions(model, loader, evaluation):
        counts.update(probabilities, labels, valid, [name])
    return summarize(processes.all_merge(counts))["mIoU"]


def grid_of_pixels(shape: torch.Size, pixels: int) -> tuple[Any, ...]:
    """An index of evenly spaced rows and columns of maps (..., H, W) that keeps about ``pixels`` pixels, or more."""
    return (..., *[slice(None, None, math.isqrt(max(1, shape.numel() // max(1, pixels))))] * 2)


def validate(
    model: nn.Module, loader: DataLoader, evaluation: Evaluation
) -> tuple[dict[str, float], dict[str, Calibrator]]:
    """All metrics on the validation images, and the calibrators fitted to them, by the names of ``CALIBRATORS``."""
    counts = Counts(evaluation.num_classes, boundaries=evaluation.boundaries)
    skipped = evaluation.skipped()
    fits = {name: fit(evaluation.num_classes) for name, fit in CALIBRATORS.items() if name not in skipped}
    pixels = dict.fromkeys(fits, FIT_PIXELS) | {"vector": min(FIT_PIXELS, VECTOR_PIXELS // len(loader.dataset))}
    for name, probabilities, labels, valid, soft in predictions(model, loader, evaluation):
        counts.update(probabilities, labels, valid, [name], **soft)
        for calibrator, fit in fits.items():
            some = grid_of_pixels(labels.shape, pixels[calibrator])
            fit.update(probabilities[some], labels[some], valid[some])
    counts = processes.all_merge(counts)
    return summarize(counts), {name: processes.all_merge(fit).calibrator() for name, fit in fits.items()}


def picture_maps(name: str, probabilities: Tensor, labels: Tensor, valid: Tensor) -> dict[str, np.ndarray]:
    """The maps of one prediction that pictures show, uint8 (H, W), by the keys of predictions.npz.

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
    evaluation: Evaluation,
    calibrators: Mapping[str, Calibrator],
    folder: Path,
    samples: int = 4,
    *,
    read_image: Callable[[int], np.ndarray] | None = None,
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Count the predictions of the test images into counts.npz, and keep some in predictions.npz for a picture.

    On data sets with raters, their maps are counted too; the soft truth is the mean over the raters who drew the image,
    or the known truth if there is one.

    Args:
        model: A segmentor.
        loader: Of the test images.
        evaluation: The protocol.
        calibrators: Those that ``validate`` fitted. As in fitting, they are applied to the probabilities averaged over
            windows and views.
        folder: Where the files go.
        samples: The number of images whose ``picture_maps`` are kept, evenly spaced over the list.
        read_image: Reads an image by its position in the list, uint8 (H, W, 3); the image is kept too, as
            ``image/<name>``. Default: None: no image is kept, since most data sets may not be redistributed.

    Returns:
        All metrics, and the ``CALIBRATED_METRICS`` of each calibrator.
    """
    classes = evaluation.num_classes
    counts, kept = Counts(classes, boundaries=evaluation.boundaries), {}
    calibrated = {name: Counts(classes, classwise=False) for name in calibrators}
    images = len(loader.dataset)
    chosen = {place * images // samples for place in range(samples)}
    for number, (name, probabilities, labels, valid, soft) in enumerate(predictions(model, loader, evaluation)):
        counts.update(probabilities, labels, valid, [name], **soft)
        for calibrator, calibrate in calibrators.items():
            calibrated[calibrator].update(calibrate(probabilities), labels, valid, [name])
        # Process r evaluates the images r, r + W, r + 2 W, ...
        place = number * processes.world_size() + processes.rank()
        if place in chosen:
            kept[place] = picture_maps(name, probabilities, labels, valid)
            if read_image is not None:
                kept[place][f"image/{name}"] = read_image(place)
    counts = processes.all_merge(counts)
    calibrated = {name: summarize(processes.all_merge(counted)) for name, counted in calibrated.items()}
    kept = dict(chain.from_iterable(gathered.items() for gathered in processes.all_gather(kept)))
    if processes.rank() == 0:
        counts.save(folder / "counts.npz")
        maps = {key: values for place in sorted(kept) for key, values in kept[place].items()}
        write_atomic(folder / "predictions.npz", lambda file: np.savez_compressed(file, **maps))
    chosen_metrics = {
        name: {metric: metrics[metric] for metric in CALIBRATED_METRICS[name]} for name, metrics in calibrated.items()
    }
    return summarize(counts), chosen_metrics
