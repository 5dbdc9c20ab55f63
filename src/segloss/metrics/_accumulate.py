"""Sums over the pixels of each image that come out the same in every batch, and calibration bins."""

from collections.abc import Callable

import torch
from torch import Tensor

Part = dict[str, Tensor]


def accumulate(count: Callable[..., Part], probabilities: Tensor, *maps: Tensor) -> Part:
    """Sum of what `count` says of slices along the pixels, which it gets as (B, C, n) and (B, n) or (B, R, n).

    A slice fits the cache of a CPU, or bounds the memory on a GPU.
    """
    step = 1 << 15 if probabilities.device.type == "cpu" else 1 << 22
    flat = [one.flatten(-2) for one in (probabilities, *maps)]
    total: Part = {}
    for start in range(0, flat[0].shape[2], step):
        part = count(*(one[..., start : start + step] for one in flat))
        total = {name: total[name] + part[name] for name in part} if total else part
    return total


class Slots:
    """Adds pixels up per image and slot. A pixel that is not valid goes to one slot more, which is thrown away.

    bincount visits the pixels one after the other on a CPU: the sum of an image does not depend on its neighbours in
    the batch nor on the number of threads. Not so `Tensor.sum`.
    """

    def __init__(self, valid: Tensor):
        self.valid = valid  # (B, n)

    def add(self, slots: int, index: Tensor | int = 0, weights: Tensor | None = None) -> Tensor:
        """(B, slots): valid pixels of each image that have `index` (B, n), or the sum of their float64 `weights`."""
        images = len(self.valid)
        first = torch.arange(images, device=self.valid.device)[:, None] * slots
        return _bincount(self.valid, first + index, images * slots, weights).view(-1, slots)

    def add_classwise(self, slots: int, index: Tensor | int, weights: Tensor | None = None) -> Tensor:
        """(B, C, slots): as `add` for every class; `index` and `weights` are (B, C, n)."""
        images, classes, _ = (index if weights is None else weights).shape
        first = torch.arange(images * classes, device=self.valid.device).view(images, classes, 1) * slots
        size = images * classes * slots
        return _bincount(self.valid[:, None], first + index, size, weights).view(-1, classes, slots)


def _bincount(valid: Tensor, index: Tensor, size: int, weights: Tensor | None) -> Tensor:
    index = torch.where(valid, index, size).flatten()
    return torch.bincount(index, None if weights is None else weights.flatten(), minlength=size + 1)[:size]


def sum_over_classes(values: Tensor) -> Tensor:
    """Sum of (B, C, n) over C by halving: its rounding is the same for every device, batch and thread count."""
    while values.shape[1] > 1:
        half = values.shape[1] // 2
        folded = values[:, :half] + values[:, half : 2 * half]
        values = torch.cat((folded, values[:, 2 * half :]), 1) if values.shape[1] % 2 else folded
    return values[:, 0]


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
