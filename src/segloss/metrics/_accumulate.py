"""Sums over the pixels of each image that come out the same in every batch, and calibration bins."""

from collections.abc import Callable

import torch
from torch import Tensor

ImageSums = dict[str, Tensor]
FINE_BINS = 24 * 32 + 1


def accumulate(count: Callable[..., ImageSums], probabilities: Tensor, *maps: Tensor) -> ImageSums:
    """Sum of `count` over slices of images and pixels; its arguments are (B, C, n) and (B, n) or (B, R, n).

    A slice fits the cache of a CPU, or bounds the memory on a GPU. How an image is sliced does not depend on its batch,
    so that its sums are rounded in the same way in every batch.
    """
    numbers = 1 << 19 if probabilities.device.type == "cpu" else 1 << 26
    images, classes = probabilities.shape[:2]
    flat = [tensor.flatten(-2) for tensor in (probabilities, *maps)]
    pixels = flat[0].shape[2]
    step = max(1, numbers // classes)
    together = max(1, numbers // (classes * max(1, min(step, pixels))))
    parts: list[ImageSums] = []
    for first in range(0, images, together):
        total: ImageSums = {}
        for start in range(0, pixels, step):
            part = count(*(tensor[first : first + together, ..., start : start + step] for tensor in flat))
            total = {name: total[name] + part[name] for name in part} if total else part
        parts.append(total)
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


class Slots:
    """Adds pixels up per image and slot. A pixel that is not valid goes to one slot more, which is thrown away.

    bincount visits the pixels one after the other on a CPU: the sum of an image does not depend on its neighbours in
    the batch nor on the number of threads.
    """

    def __init__(self, valid: Tensor):
        self.valid = valid  # (B, n)
        self.all_valid = bool(valid.all())  # most slices: nothing to look up

    def count(self, slots: int, index: Tensor) -> Tensor:
        """(B, slots) int64: how many valid pixels of each image have `index` (B, n)."""
        return self._add(slots, index, [None])[0]

    def sum(self, slots: int, index: Tensor, weights: Tensor) -> Tensor:
        """(B, slots): sums of the float64 `weights` (B, n) of those pixels."""
        return self._add(slots, index, [weights])[0]

    def count_and_sum_by_class(self, slots: int, index: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, slots) both: as `count` and `sum` for each class; `index` and `weights` are (B, C, n)."""
        counts, sums = self._add(slots, index, [None, weights])
        return counts, sums

    def totals(self, values: Tensor) -> Tensor:
        """(B, K): sums of the `values` (B, K, n) of the valid pixels."""
        return sum_over(values if self.all_valid else torch.where(self.valid[:, None], values, 0), 2)

    def _add(self, slots: int, index: Tensor, weights: list[Tensor | None]) -> list[Tensor]:
        rows = index.shape[:-1]
        size = rows.numel() * slots
        kind = torch.int32 if size < 2**31 else torch.int64
        offsets = torch.arange(0, size, slots, dtype=kind, device=index.device).view(*rows, 1)
        index = index.to(kind) + offsets
        if not self.all_valid:
            index.masked_fill_(~(self.valid if index.ndim == 2 else self.valid[:, None]), size)
        index = index.flatten()
        flat = (None if weight is None else weight.flatten() for weight in weights)
        sums = [torch.bincount(index, weight, minlength=size + 1) for weight in flat]
        return [total[:size].view(*rows, slots) for total in sums]


def sum_over(values: Tensor, axis: int) -> Tensor:
    """Sum over an axis by halving: its rounding is the same for every device, batch and number of threads.

    `Tensor.sum` splits rows of more than 32768 numbers among the threads.
    """
    while (length := values.shape[axis]) > 1:
        half = length // 2
        folded = values.narrow(axis, 0, half) + values.narrow(axis, half, half)
        if length % 2:
            folded.narrow(axis, 0, 1).add_(values.narrow(axis, length - 1, 1))
        values = folded
    return values.squeeze(axis)


def fine_bin(confidence: Tensor) -> Tensor:
    """Bins whose width shrinks with the distance to confidence 1, where most pixels of a trained network are.

    The octaves of 1 - p from 1 down to 2**-24 hold 32 bins of equal width each, and one bin more what is nearer to 1;
    in order of the confidence p, a float64 tensor. These are the leading bits of 1 - p as float32.
    """
    bits = (1 - confidence).clamp_(min=0).float().view(torch.int32) >> 18  # exponent and 5 bits of the fraction
    return (126 * 32 + 31 - bits).clamp_(0, FINE_BINS - 1)


def bin_index(wide: Tensor, bins: int, source: torch.dtype) -> Tensor:
    """Left-closed bins of equal width on [0, 1]: k where k/bins <= p < (k+1)/bins; the last one also holds p = 1.

    `wide` is the probability in float64, `source` the type it was computed in. A number of at most 24 bits times `bins`
    is exact in float64, so that the product decides rightly; a float64 number is compared with the edges themselves,
    because 0.29 * 100 rounds to 28.999999999999996.
    """
    if source == torch.float64:
        edges = torch.arange(1, bins, dtype=torch.float64, device=wide.device) / bins
        return torch.bucketize(wide.contiguous(), edges, right=True, out_int32=True)
    # max: an average of probabilities can exceed 1 by a rounding error
    return (wide * bins).int().clamp_(max=bins - 1)
