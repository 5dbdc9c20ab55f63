"""Post-hoc class-wise isotonic regression: a non-decreasing map of the probability of each class, then renormalised."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from segloss.metrics._accumulate import FINE_BINS, fine_bin
from segloss.metrics.temperature import valid_pixels

_BINS = 2 * FINE_BINS  # fine bins near 0, then near 1
# Share of the uniform distribution mixed in, so that a probability mapped to 0 leaves the likelihood finite.
UNIFORM = 1e-6


@dataclass(frozen=True)
class IsotonicMaps:
    """Maps each class's probability, linearly between its points and constant beyond, and divides by the sum.

    Where all classes are mapped to 0 the result is uniform.

    Attributes:
        points: For each class the probabilities at the corners of its map, increasing.
        values: The frequencies of the class at these points, non-decreasing.
    """

    points: tuple[tuple[float, ...], ...]
    values: tuple[tuple[float, ...], ...]

    def __call__(self, probabilities: Tensor) -> Tensor:
        """Calibrated probabilities (B, C, ...) of the same type.

        Flat parts of the maps make ties, which go to the lowest class: the predicted class can change.
        """
        mapped = np.stack(
            [
                np.interp(channel, points, values)
                for channel, points, values in zip(
                    probabilities.detach().double().cpu().numpy().swapaxes(0, 1), self.points, self.values, strict=True
                )
            ],
            axis=1,
        )
        mapped += UNIFORM / len(self.points)
        mapped /= mapped.sum(1, keepdims=True)
        return torch.from_numpy(mapped).to(probabilities.device, probabilities.dtype)


class IsotonicFit:
    """Fits the maps with the pool-adjacent-violators algorithm on histograms of 1538 bins per class, in one pass.

    The bins are narrow near 0 and near 1 (32 for each halving of the distance): probabilities within one bin count as
    equal, at their mean. Each class is fitted against the rest.

    Reference: Zadrozny and Elkan, 2002, https://doi.org/10.1145/775047.775151
    """

    def __init__(self, num_classes: int):
        self.num_classes = num_classes
        self.pixels = np.zeros((2, num_classes, _BINS), np.int64)  # of other classes, of the class
        self.probability = np.zeros((num_classes, _BINS))

    def update(self, probabilities: Tensor, labels: Tensor, valid: Tensor | None = None) -> None:
        """Add a batch of validation images; as `Counts.update`."""
        chosen, label = valid_pixels(probabilities, labels, valid, self.num_classes)
        for index, p in enumerate(chosen.double().unbind(1)):
            low = fine_bin(1 - p)
            bins = torch.where(p < 0.5, FINE_BINS - 1 - low, FINE_BINS + fine_bin(p)).long()
            counted = torch.bincount(bins + _BINS * (label == index), minlength=2 * _BINS).view(2, _BINS)
            self.pixels[:, index] += counted.cpu().numpy()
            self.probability[index] += torch.bincount(bins, p, minlength=_BINS).cpu().numpy()

    def merge(self, other: "IsotonicFit") -> None:
        """Add the counts of other images."""
        if self.num_classes != other.num_classes:
            raise ValueError(f"cannot merge fits with num_classes {self.num_classes} and {other.num_classes}")
        self.pixels += other.pixels
        self.probability += other.probability

    def calibrator(self) -> IsotonicMaps:
        """The fitted maps.

        Raises:
            ValueError: no valid pixel was added.
        """
        if not self.pixels.any():
            raise ValueError("no valid pixel was added: there is nothing to fit")
        points, values = [], []
        for index in range(self.num_classes):
            pixels = self.pixels[:, index].sum(0)
            some = pixels > 0
            x = self.probability[index, some] / pixels[some]
            y = pool_adjacent_violators(self.pixels[1, index, some] / pixels[some], pixels[some])
            corner = np.ones(len(x), bool)  # points inside a flat part add nothing to the map
            corner[1:-1] = (y[1:-1] != y[:-2]) | (y[1:-1] != y[2:])
            points.append(tuple(x[corner].tolist()))
            values.append(tuple(y[corner].tolist()))
        return IsotonicMaps(tuple(points), tuple(values))


def pool_adjacent_violators(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The non-decreasing values with the least weighted squared distance from `values`.

    Reference: Ayer et al., 1955, https://doi.org/10.1214/aoms/1177728423
    """
    means: list[float] = []
    masses: list[float] = []
    lengths: list[int] = []
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        mean, mass, length = value, float(weight), 1
        while means and means[-1] >= mean:
            total = masses[-1] + mass
            mean = (means.pop() * masses[-1] + mean * mass) / total
            mass, length = total, length + lengths.pop()
            masses.pop()
        means.append(mean)
        masses.append(mass)
        lengths.append(length)
    return np.repeat(means, lengths)
