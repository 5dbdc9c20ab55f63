"""Post-hoc temperature scaling: one number, fitted on validation images, divides the logits of the test images.

It never changes the predicted class, so calibration before and after can be shown next to the same mIoU.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from segloss.metrics._accumulate import ImageSums, accumulate, sum_over
from segloss.metrics._check import check_labels, check_probabilities, check_valid, require_probabilities
from segloss.metrics._hard import SMALLEST_PROBABILITY

# inverse temperatures, a quarter of an octave apart: from 1/16 to 16
_INVERSE = 2.0 ** (np.arange(-16, 17) / 4)


class TemperatureFit:
    """Finds the temperature with the lowest negative log-likelihood (NLL) in one pass and constant memory.

    The NLL is convex in the inverse temperature; its first two derivatives are summed on a grid of inverse
    temperatures, and cubic interpolation finds where the first is zero. Each pixel costs 33 softmaxes: pass every
    fourth row and column of large images.

    Reference: Guo et al., 2017, https://arxiv.org/abs/1706.04599
    """

    def __init__(self, num_classes: int):
        self.num_classes = num_classes
        self.derivatives = np.zeros((2, len(_INVERSE)))  # first and second, sums over the pixels
        self.pixels = 0

    def update(self, probabilities: Tensor, labels: Tensor, valid: Tensor | None = None) -> None:
        """Add a batch of validation images; as `Counts.update`."""
        check_probabilities("probabilities", probabilities, (None, self.num_classes, None, None))
        valid = check_valid(valid, probabilities)
        labels = check_labels("labels", labels, valid, self.num_classes, tuple(valid.shape))
        sums = accumulate(_derivatives, probabilities.detach(), labels, valid)["derivatives"]
        self.derivatives += sums.cpu().numpy().sum(0)
        self.pixels += int(valid.sum())

    def merge(self, other: "TemperatureFit") -> None:
        """Add the sums of other images."""
        if self.num_classes != other.num_classes:
            raise ValueError(f"cannot merge fits with num_classes {self.num_classes} and {other.num_classes}")
        self.derivatives += other.derivatives
        self.pixels += other.pixels

    def calibrator(self) -> "TemperatureScaling":
        """The fitted map; temperature 1 where all temperatures fit equally well (uniform predictions).

        Raises:
            ValueError: no valid pixel was added.
        """
        if not self.pixels:
            raise ValueError("no valid pixel was added: there is nothing to fit")
        return TemperatureScaling(self.temperature() if self.derivatives.any() else 1.0)

    def temperature(self) -> float:
        """The temperature, between 1/16 and 16: above 1 the model was overconfident.

        Raises:
            ValueError: no valid pixel was added, or all have equal probabilities.
        """
        first, second = self.derivatives
        if not self.derivatives.any():
            raise ValueError("no valid pixel was added, or all have equal probabilities: any temperature fits")
        if first[0] >= 0 or first[-1] <= 0:
            return float(1 / (_INVERSE[0] if first[0] >= 0 else _INVERSE[-1]))
        right = int(np.argmax(first >= 0))
        left, width = right - 1, _INVERSE[right] - _INVERSE[right - 1]

        def interpolated(share: float) -> float:
            rest = 1 - share
            values = first[left] * rest**2 * (1 + 2 * share) + first[right] * share**2 * (1 + 2 * rest)
            return values + width * share * rest * (second[left] * rest - second[right] * share)

        low, high = 0.0, 1.0
        while high - low > 1e-12:
            middle = (low + high) / 2
            low, high = (middle, high) if interpolated(middle) < 0 else (low, middle)
        return float(1 / (_INVERSE[left] + low * width))


@dataclass(frozen=True)
class TemperatureScaling:
    """softmax(log p / T).

    Attributes:
        temperature: T; above 1 the model was overconfident.
    """

    temperature: float

    def __call__(self, probabilities: Tensor) -> Tensor:
        """Calibrated probabilities (B, C, ...) of the same type."""
        return rescale(probabilities, self.temperature)


def rescale(probabilities: Tensor, temperature: float) -> Tensor:
    """Probabilities (B, C, ...) of the logits divided by the temperature: softmax(log p / T), of the same type.

    The logarithm of averaged probabilities replaces the logits, so flips, scales and windows need no special treatment.
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    return (log_probabilities(probabilities) / temperature).softmax(1)


def log_probabilities(probabilities: Tensor) -> Tensor:
    """Finite logarithms of probabilities, of the same type: the logits up to a constant per pixel."""
    smallest = max(SMALLEST_PROBABILITY, torch.finfo(probabilities.dtype).tiny)
    return probabilities.clamp(min=smallest).log()


def valid_pixels(
    probabilities: Tensor, labels: Tensor, valid: Tensor | None, num_classes: int
) -> tuple[Tensor, Tensor]:
    """Probabilities (N, C) and labels (N,) of the valid pixels of a batch, checked as in `Counts.update`."""
    check_probabilities("probabilities", probabilities, (None, num_classes, None, None))
    valid = check_valid(valid, probabilities)
    labels = check_labels("labels", labels, valid, num_classes, tuple(valid.shape))
    probabilities = probabilities.detach()
    require_probabilities("probabilities", probabilities.flatten(2), valid.flatten(1))
    return probabilities.movedim(1, -1)[valid], labels[valid]


def _derivatives(chunk: Tensor, label: Tensor, valid: Tensor) -> ImageSums:
    """(B, 2, 33): first and second derivative of Σ logsumexp(b q) - b q_label in b, with q = log p."""
    require_probabilities("probabilities", chunk, valid)
    logits = torch.where(valid[:, None], chunk, 1).double().clamp(min=SMALLEST_PROBABILITY).log()
    of_label = logits.gather(1, label[:, None])[:, 0]
    sums = []
    for inverse in _INVERSE.tolist():
        weighted = (inverse * logits).softmax(1) * logits
        mean = sum_over(weighted, 1)
        variance = sum_over(weighted * logits, 1) - mean**2
        # a void pixel has equal logits 0, and adds 0 to both
        sums.append(sum_over(torch.stack([mean - of_label, variance], 1), 2))
    return {"derivatives": torch.stack(sums, 2)}
