"""Counts of predicted probabilities against a soft truth, and against each of several raters."""

import torch
from torch import Tensor

from segloss.metrics._accumulate import ImageSums, Slots, accumulate, sum_over
from segloss.metrics._check import require_probabilities
from segloss.metrics._hard import SMALLEST_PROBABILITY, largest_class

LEVELS = 10  # the thresholds .1 to .9 make ten levels


def soft_truth_counts(probabilities: Tensor, truth: Tensor, valid: Tensor) -> ImageSums:
    """Counts of each image, first axis B; float64 sums unless stated.

    soft_divergence (B,) Σ t log(t/p) in nats; soft_brier (B,) Σ(p-t)²; soft_difference, soft_truth, soft_probability
    (B, C) Σ|p-t|, Σt, Σp; soft_levels (B, C, 10, 10) int64, the pixels by how many of the thresholds .1, ..., .9 their
    truth and their probability reach.
    """
    return accumulate(_count_soft, probabilities, truth, valid)


def _count_soft(chunk: Tensor, truth: Tensor, valid: Tensor) -> ImageSums:
    images, classes, _ = chunk.shape
    require_probabilities("truth", truth, valid)
    wide, true = chunk.double(), truth.double()
    # the same clamped logarithm on both sides, so exactly 0 where p = t
    ratio = true.clamp(min=SMALLEST_PROBABILITY).log() - wide.clamp(min=SMALLEST_PROBABILITY).log()
    difference = wide - true
    slots = Slots(valid)
    of_pixels = slots.totals(torch.stack((sum_over(true * ratio, 1), sum_over(difference.square(), 1)), 1))
    levels = _level(truth) * LEVELS + _level(chunk)
    return {
        "soft_divergence": of_pixels[:, 0],
        "soft_brier": of_pixels[:, 1],
        "soft_difference": slots.totals(difference.abs()),
        "soft_truth": slots.totals(true),
        "soft_probability": slots.totals(wide),
        "soft_levels": slots.count(LEVELS * LEVELS, levels).view(images, classes, LEVELS, LEVELS),
    }


def _level(values: Tensor) -> Tensor:
    # thresholds in the dtype of the values: the mean of ten raters, 7/10 in float32, reaches .7 only in float32
    thresholds = (torch.arange(1, LEVELS, dtype=torch.float64, device=values.device) / LEVELS).to(values.dtype)
    return torch.bucketize(values.contiguous(), thresholds, right=True)


def rater_counts(probabilities: Tensor, raters: Tensor, seen: Tensor) -> ImageSums:
    """Counts (B, R, C) int64 of each image against `raters` (B, R, H, W), in [0, C) everywhere, where `seen` is True.

    rater_true_positives, and rater_labelled, the pixels that each rater assigns to each class.
    """
    return accumulate(_count_raters, probabilities, raters, seen)


def _count_raters(chunk: Tensor, raters: Tensor, seen: Tensor) -> ImageSums:
    images, number, pixels = raters.shape
    classes = chunk.shape[1]
    agreed = (raters == largest_class(chunk)[1][:, None]).reshape(images * number, pixels)
    seen = seen.reshape(images * number, pixels)
    label = raters.reshape(images * number, pixels)
    shape = (images, number, classes)
    return {
        "rater_true_positives": Slots(seen & agreed).count(classes, label).view(shape),
        "rater_labelled": Slots(seen).count(classes, label).view(shape),
    }
