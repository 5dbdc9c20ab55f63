"""Post-hoc vector scaling: a weight and a bias for the logit of each class, fitted on validation pixels.

The logits are the logarithms of the probabilities, which may be averages over windows and views: they differ from a
network's own logits by a constant per pixel, which matters because each class has its own weight. Unlike temperature
scaling, vector scaling can change the predicted class, so accuracy is reported with it.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from segloss.metrics._hard import SMALLEST_PROBABILITY
from segloss.metrics.temperature import log_probabilities, valid_pixels

# Weight of ½ (|w - 1|² + |b|²), added to the mean negative log-likelihood. It makes the minimum unique (all biases
# could shift together) and keeps the bias of a class without a validation pixel finite.
RIDGE = 1e-4
_CHUNK = 1 << 15  # pixels whose Hessian terms are held in memory at once


@dataclass(frozen=True)
class VectorScaling:
    """softmax(w log p + b), by class.

    Attributes:
        weight: w of each class.
        bias: b of each class.
    """

    weight: tuple[float, ...]
    bias: tuple[float, ...]

    def __call__(self, probabilities: Tensor) -> Tensor:
        """Calibrated probabilities (B, C, ...) of the same type."""
        shape = (1, -1, *[1] * (probabilities.ndim - 2))
        weight, bias = (
            torch.tensor(values, dtype=torch.float64, device=probabilities.device).view(shape)
            for values in (self.weight, self.bias)
        )
        logits = log_probabilities(probabilities)
        return (weight.to(logits.dtype) * logits + bias.to(logits.dtype)).softmax(1).to(probabilities.dtype)


class VectorScalingFit:
    """Finds weights and biases with the lowest negative log-likelihood by Newton's method, starting from 1 and 0.

    Every pixel passed is kept until the fit (4 C + 8 bytes each): pass only some rows and columns of each image.

    Reference: Guo et al., 2017, https://arxiv.org/abs/1706.04599
    """

    def __init__(self, num_classes: int):
        self.num_classes = num_classes
        self.logits: list[np.ndarray] = []  # (pixels, C) float32
        self.labels: list[np.ndarray] = []

    def update(self, probabilities: Tensor, labels: Tensor, valid: Tensor | None = None) -> None:
        """Add a batch of validation images; as `Counts.update`."""
        chosen, label = valid_pixels(probabilities, labels, valid, self.num_classes)
        self.logits.append(chosen.float().clamp(min=SMALLEST_PROBABILITY).log().cpu().numpy())
        self.labels.append(label.cpu().numpy())

    def merge(self, other: "VectorScalingFit") -> None:
        """Add the pixels of other images."""
        if self.num_classes != other.num_classes:
            raise ValueError(f"cannot merge fits with num_classes {self.num_classes} and {other.num_classes}")
        self.logits += other.logits
        self.labels += other.labels

    def calibrator(self) -> VectorScaling:
        """The fitted map.

        Raises:
            ValueError: no valid pixel was added.
        """
        if not sum(map(len, self.labels)):
            raise ValueError("no valid pixel was added: there is nothing to fit")
        logits, labels = np.concatenate(self.logits), np.concatenate(self.labels)
        start = np.concatenate([np.ones(self.num_classes), np.zeros(self.num_classes)])
        parameters = start
        value, slope, curvature = _objective(parameters, start, logits, labels)
        for _ in range(100):
            step = -np.linalg.solve(curvature, slope)
            decrease = -slope @ step  # twice the decrease of a quadratic function
            if decrease < 1e-14:
                break
            share = 1.0
            result = _objective(parameters + step, start, logits, labels)
            while result[0] > value - 1e-4 * share * decrease and share >= 1e-6:
                share /= 2
                result = _objective(parameters + share * step, start, logits, labels, derivatives=False)
            if result[0] >= value:  # only rounding error is left
                break
            parameters = parameters + share * step
            value, slope, curvature = result if share == 1 else _objective(parameters, start, logits, labels)
        weight, bias = parameters.reshape(2, -1)
        return VectorScaling(tuple(weight.tolist()), tuple(bias.tolist()))


def _objective(
    parameters: np.ndarray, start: np.ndarray, logits: np.ndarray, labels: np.ndarray, derivatives: bool = True
) -> tuple[float, np.ndarray, np.ndarray]:
    """Mean negative log-likelihood with the ridge, its gradient (2C,) and its Hessian (2C, 2C) in (w, b).

    Without ``derivatives``, which take most of the time, the gradient is 0 and the Hessian that of the ridge.
    """
    classes = logits.shape[1]
    value = 0.0
    slope, curvature = np.zeros(2 * classes), np.zeros((2 * classes, 2 * classes))
    weight, bias = parameters.reshape(2, classes)
    for first in range(0, len(logits), _CHUNK):
        q, label = logits[first : first + _CHUNK].astype(np.float64), labels[first : first + _CHUNK]
        pixels = np.arange(len(q))
        scaled = weight * q + bias
        scaled -= scaled.max(1, keepdims=True)
        p = np.exp(scaled)
        total = p.sum(1, keepdims=True)
        value += float(np.log(total).sum() - scaled[pixels, label].sum())
        if not derivatives:
            continue
        p /= total
        both = np.concatenate([p * q, p], 1)  # derivatives of log Σ exp in w and b
        slope += both.sum(0)
        slope -= np.concatenate([np.bincount(label, q[pixels, label], classes), np.bincount(label, minlength=classes)])
        curvature -= both.T @ both
        by_class = np.arange(classes)
        for row, column, power in ((0, 0, 2), (0, 1, 1), (1, 0, 1), (1, 1, 0)):
            curvature[row * classes + by_class, column * classes + by_class] += (p * q**power).sum(0)
    number, away = len(logits), parameters - start
    return (
        value / number + RIDGE / 2 * float(away @ away),
        slope / number + RIDGE * away,
        curvature / number + RIDGE * np.eye(2 * classes),
    )
