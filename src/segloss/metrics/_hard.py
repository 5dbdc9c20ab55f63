"""Counts of predicted probabilities against one label per pixel."""

from functools import partial

from torch import Tensor

from segloss.metrics._accumulate import Part, Slots, accumulate, bin_index, sum_over_classes
from segloss.metrics._check import require_probabilities

# Below this probability NLL and KL are cut off (at most 87.3 nats a pixel): the smallest normal float32 number.
SMALLEST_PROBABILITY = 2.0**-126


def hard_label_counts(probabilities: Tensor, labels: Tensor, valid: Tensor, bins: int, classwise: bool) -> Part:
    """Counts of each image, first axis B; int64 where nothing is said. `labels` lie in [0, C) everywhere.

    confusion (B, C, C) label by prediction; histogram (B, 2, bins) wrong and right pixels by confidence;
    confidence (B, bins) float64 sums; negative_log_likelihood (B,) in nats and brier (B,), float64 sums;
    if `classwise`: class_pixels (B, C, bins) by the probability of the class, class_probability (B, C, bins) its
    float64 sums, class_labelled the pixels of that label among them, class_right those also predicted so.
    """
    count = partial(_count, bins=bins, classwise=classwise)
    return accumulate(count, probabilities, labels, valid)


def _count(chunk: Tensor, label: Tensor, valid: Tensor, bins: int, classwise: bool) -> Part:
    images, classes, _ = chunk.shape
    confidence, predicted = chunk.max(1)  # ties go to the lowest class
    require_probabilities("probabilities", chunk, confidence, valid)
    right = predicted == label
    wide, top = chunk.double(), confidence.double()
    of_label = wide.gather(1, label[:, None])[:, 0]
    top_bin = bin_index(top, bins, chunk.dtype)
    slots = Slots(valid)
    part = {
        "confusion": slots.add(classes * classes, label * classes + predicted).view(images, classes, classes),
        "histogram": slots.add(2 * bins, right * bins + top_bin).view(images, 2, bins),
        "confidence": slots.add(bins, top_bin, top),
        "negative_log_likelihood": slots.add(1, 0, -of_label.clamp(min=SMALLEST_PROBABILITY).log())[:, 0],
        "brier": slots.add(1, 0, sum_over_classes(wide.square()) - 2 * of_label + 1)[:, 0],
    }
    if classwise:
        class_bin = bin_index(wide, bins, chunk.dtype)
        label_slot = label * bins + class_bin.gather(1, label[:, None])[:, 0]
        shape = (images, classes, bins)
        part["class_pixels"] = slots.add_classwise(bins, class_bin)
        part["class_probability"] = slots.add_classwise(bins, class_bin, wide)
        part["class_labelled"] = slots.add(classes * bins, label_slot).view(shape)
        part["class_right"] = Slots(valid & right).add(classes * bins, label_slot).view(shape)
    return part
