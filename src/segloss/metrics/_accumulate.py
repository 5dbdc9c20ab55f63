"""Per-image sums over pixels that do not depend on the batch, and calibration bins."""

from collections.abc import Callable

import torch
from torch import Tensor

ImageSums = dict[str, Tensor]
FINE_BINS = 24 * 32 + 1


def accumulate(count: Callable[..., ImageSums], probabilities: Tensor, *maps: Tensor) -> ImageSums:
    """Sum `count` over slices of images and pixels; `count` takes (B, C, n) and (B, n) or (B, R, n).

    Slices are sized to fit the cache of a CPU or to bound the memory on a GPU. How an image is sliced does not depend
    on its batch, so its sums are rounded the same way in every batch.
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
    """Adds up pixels per image and slot. Pixels that are not valid go to an extra slot, which is discarded.

    On a CPU, bincount visits the pixels sequentially: the sum of an image depends neither on the other images of the
    batch nor on the number of threads.
    """

    def __init__(self, valid: Tensor):
        self.valid = valid  # (B, n)
        self.all_valid = bool(valid.all())  # true of most slices, which then need no masking

    def count(self, slots: int, index: Tensor) -> Tensor:
        """(B, slots) int64: how many valid pixels of each image have `index` (B, n)."""
        return self._add(slots, index, [None])[0]

    def sum(self, slots: int, index: Tensor, weights: Tensor) -> Tensor:
        """(B, slots): sums of the float64 `weights` (B, n) of the valid pixels by `index`."""
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
    """Pairwise sum over an axis, rounded the same way for every device, batch and number of threads.

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
    """Bins that get narrower towards confidence 1, where most pixels of a trained network are.

    Each octave of 1 - p from 1 down to 2**-24 has 32 bins of equal width, and one more bin holds everything nearer to
    1; bins are in order of the confidence p, a float64 tensor. They come from the leading bits of 1 - p as float32.
    """
    bits = (1 - confidence).clamp_(min=0).float().view(torch.int32) >> 18  # exponent and 5 bits of the fraction
    return (126 * 32 + 31 - bits).clamp_(0, FINE_BINS - 1)


def bin_index(wide: Tensor, bins: int, source: torch.dtype) -> Tensor:
    """Left-closed bins of equal width on [0, 1]: k where k/bins <= p < (k+1)/bins; the last one also holds p = 1.

    `wide` is the probability in float64, `source` the dtype it was computed in. A number of at most 24 bits times
    `bins` is exact in float64, so the product gives the right bin; a float64 number is compared with the edges
    themselves, because 0.29 * 100 rounds to 28.999999999999996.
    """
    if source == torch.float64:
        edges = torch.arange(1, bins, dtype=torch.float64, device=wide.device) / bins
        return torch.bucketize(wide.contiguous(), edges, right=True, out_int32=True)
    # max: an average of probabilities can exceed 1 by a rounding error
    return (wide * bins).int().clamp_(max=bins - 1)
