"""Counts of predicted probabilities against one label per pixel."""

from functools import partial

import torch
from torch import Tensor

from segloss.metrics._accumulate import FINE_BINS, ImageSums, Slots, accumulate, bin_index, fine_bin, sum_over
from segloss.metrics._check import require_probabilities

# Probabilities are clamped to this in NLL and KL (at most 87.3 nats per pixel): the smallest normal float32 number.
SMALLEST_PROBABILITY = 2.0**-126


def hard_label_counts(probabilities: Tensor, labels: Tensor, valid: Tensor, bins: int, classwise: bool) -> ImageSums:
    """Counts of each image, first axis B; int64 unless stated. `labels` lie in [0, C) everywhere.

    confusion (B, C, C) label by prediction; histogram (B, 2, bins) wrong and right pixels by confidence;
    confidence (B, bins) float64 sums; fine_histogram and fine_confidence as these two, in the bins of `fine_bin`;
    negative_log_likelihood (B,) in nats and brier (B,), float64 sums;
    if `classwise`: class_pixels (B, C, bins) by the probability of the class, class_probability (B, C, bins) its
    float64 sums, class_labelled those of the pixels with that label, class_right those also predicted as that class.
    """
    count = partial(_count, bins=bins, classwise=classwise)
    return accumulate(count, probabilities, labels, valid)


def _count(chunk: Tensor, label: Tensor, valid: Tensor, bins: int, classwise: bool) -> ImageSums:
    images, classes, _ = chunk.shape
    confidence, predicted = largest_class(chunk)
    require_probabilities("probabilities", chunk, valid)
    right = predicted == label
    wide, top = chunk.double(), confidence.double()
    of_label = wide.gather(1, label[:, None])[:, 0]
    top_bin, fine = bin_index(top, bins, chunk.dtype), fine_bin(top)
    log_likelihood = of_label.clamp(min=SMALLEST_PROBABILITY).log()
    squares = sum_over(wide * wide, 1) - 2 * of_label + 1
    slots = Slots(valid)
    sums = slots.totals(torch.stack((-log_likelihood, squares), 1))
    part = {
        "confusion": slots.count(classes * classes, label * classes + predicted).view(images, classes, classes),
        "histogram": slots.count(2 * bins, right * bins + top_bin).view(images, 2, bins),
        "confidence": slots.sum(bins, top_bin, top),
        "fine_histogram": slots.count(2 * FINE_BINS, right * FINE_BINS + fine).view(images, 2, FINE_BINS),
        "fine_confidence": slots.sum(FINE_BINS, fine, top),
        "negative_log_likelihood": sums[:, 0],
        "brier": sums[:, 1],
    }
    if classwise:
        class_bin = bin_index(wide, bins, chunk.dtype)
        part["class_pixels"], part["class_probability"] = slots.count_and_sum_by_class(bins, class_bin, wide)
        # The pixels of each label by the bin of its class: first the wrongly, then the correctly predicted ones.
        slot = label * bins + bin_index(of_label, bins, chunk.dtype) + right * (classes * bins)
        wrong, hit = slots.count(2 * classes * bins, slot).view(images, 2, classes, bins).unbind(1)
        part["class_labelled"], part["class_right"] = wrong + hit, hit
    return part


def largest_class(chunk: Tensor) -> tuple[Tensor, Tensor]:
    """The largest probability over the classes (B, C, ...) and its class, the lowest of tied ones; both (B, ...).

    In vectorised passes: on a CPU `Tensor.max` and `argmax` go pixel by pixel, four and fourteen times slower.
    """
    classes = chunk.shape[1]
    largest = chunk.amax(1)
    is_largest = chunk == largest[:, None]
    is_largest = is_largest.view(torch.uint8) if classes < 256 else is_largest.int()
    order = torch.arange(classes, 0, -1, dtype=is_largest.dtype, device=chunk.device).view(-1, *[1] * (chunk.ndim - 2))
    first = (is_largest * order).amax(1)  # C minus the lowest class that is largest
    return largest, classes - first.long()
