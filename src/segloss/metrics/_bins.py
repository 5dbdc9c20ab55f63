"""Calibration bins, and sums that come out the same whatever else is in the batch."""

import torch
from torch import Tensor


def bin_index(wide: Tensor, bins: int, source: torch.dtype) -> Tensor:
    """Left-closed bins of equal width on [0, 1]: k where k/bins <= p < (k+1)/bins; the last one also holds p = 1.

    `wide` is the probability in float64, `source` the type it was computed in. A number of at most 24 bits times `bins`
    is exact in float64, so that the product decides rightly; a float64 number is compared with the edges themselves,
    because 0.29 * 100 rounds to 28.999999999999996.
    """
    if source == torch.float64:
        edges = torch.arange(1, bins, dtype=torch.float64, device=wide.device) / bins
        return torch.bucketize(wide, edges, right=True)
    # max: an average of probabilities can exceed 1 by a rounding error
    return (wide * bins).long().clamp_(max=bins - 1)


class Slots:
    """Adds pixels up per image and slot. A pixel that is not valid goes to one slot more, which is thrown away.

    bincount visits the pixels one after the other on a CPU: the sum of an image does not depend on its neighbours in
    the batch nor on the number of threads. Not so `Tensor.sum`.
    """

    def __init__(self, valid: Tensor):
        self.valid = valid  # (B, n)
        self.image = torch.arange(len(valid), device=valid.device)[:, None]

    def add(self, slots: int, index: Tensor | int = 0, weights: Tensor | None = None) -> Tensor:
        """(B, slots): valid pixels of each image that have `index` (B, n), or the sum of their float64 `weights`."""
        size = len(self.valid) * slots
        where = torch.where(self.valid, self.image * slots + index, size)
        weights = None if weights is None else weights.flatten()
        return torch.bincount(where.flatten(), weights, minlength=size + 1)[:size].view(-1, slots)

    def add_classwise(self, slots: int, index: Tensor, weights: Tensor | None = None) -> Tensor:
        """(B, C, slots): as `add` for every class; `index` and `weights` are (B, C, n)."""
        images, classes, _ = index.shape
        size = images * classes * slots
        first = torch.arange(images * classes, device=index.device).view(images, classes, 1) * slots
        where = torch.where(self.valid[:, None], first + index, size)
        weights = None if weights is None else weights.flatten()
        return torch.bincount(where.flatten(), weights, minlength=size + 1)[:size].view(images, classes, slots)


def sum_over_classes(values: Tensor) -> Tensor:
    """Sum of (B, C, n) over C by halving: its rounding is the same for every device, batch and thread count."""
    while values.shape[1] > 1:
        half = values.shape[1] // 2
        folded = values[:, :half] + values[:, half : 2 * half]
        values = torch.cat((folded, values[:, 2 * half :]), 1) if values.shape[1] % 2 else folded
    return values[:, 0]
