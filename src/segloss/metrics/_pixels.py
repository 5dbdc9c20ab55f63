"""From the probabilities and labels of a batch to the additive counts of each of its images."""

from collections.abc import Iterator

import torch
from torch import Tensor

from segloss.metrics._bins import Slots, bin_index, sum_over_classes

# Below this probability NLL is cut off (at most 87.3 nats a pixel): the smallest normal float32 number.
SMALLEST_PROBABILITY = 2.0**-126
_SUM_TOLERANCE = 1e-3  # what averaging half-precision probabilities may add to 1


def hard_label_counts(
    probabilities: Tensor, labels: Tensor, valid: Tensor, bins: int, classwise: bool
) -> dict[str, Tensor]:
    """Counts of each image, first axis B; int64 where nothing is said.

    confusion (B, C, C) label by prediction; histogram (B, 2, bins) wrong and right pixels by confidence;
    confidence (B, bins) float64 sums; negative_log_likelihood (B,) in nats and brier (B,), float64 sums;
    if `classwise`: class_pixels (B, C, bins) by the probability of the class, class_probability (B, C, bins) its
    float64 sums, class_labelled the pixels of that label among them, class_right those also predicted so.
    """
    images, classes = probabilities.shape[:2]
    shapes = {"confusion": (classes, classes), "histogram": (2, bins), "confidence": (bins,)}
    shapes |= {"negative_log_likelihood": (), "brier": ()}
    counts: dict[str, Tensor] = {}
    for chunk, label, seen in chunks(probabilities, labels, valid):
        part = _chunk_counts(chunk, label, seen, bins, classwise)
        counts = {name: counts[name] + part[name] for name in part} if counts else part
    return {name: count.view(images, *shapes[name]) if name in shapes else count for name, count in counts.items()}


def chunks(probabilities: Tensor, *maps: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Slices of (B, C, n), (B, n), ... along the pixels: sized for the cache of a CPU or the memory of a GPU."""
    step = 1 << 15 if probabilities.device.type == "cpu" else 1 << 22
    flat = [probabilities.flatten(2), *(one.flatten(1) if one.ndim == 3 else one.flatten(2) for one in maps)]
    for start in range(0, flat[0].shape[2], step):
        yield tuple(one[..., start : start + step] for one in flat)


def _chunk_counts(chunk: Tensor, label: Tensor, valid: Tensor, bins: int, classwise: bool) -> dict[str, Tensor]:
    classes = chunk.shape[1]
    confidence, predicted = chunk.max(1)  # ties go to the lowest class
    require_probabilities(chunk, confidence, valid)
    label = torch.where(valid, label, 0)
    right = predicted == label
    wide, top = chunk.double(), confidence.double()
    of_label = wide.gather(1, label[:, None])[:, 0]
    slots = Slots(valid)
    top_bin = bin_index(top, bins, chunk.dtype)
    part = {
        "confusion": slots.add(classes * classes, label * classes + predicted),
        "histogram": slots.add(2 * bins, right * bins + top_bin),
        "confidence": slots.add(bins, top_bin, top),
        "negative_log_likelihood": slots.add(1, 0, -of_label.clamp(min=SMALLEST_PROBABILITY).log()),
        "brier": slots.add(1, 0, sum_over_classes(wide.square()) - 2 * of_label + 1),
    }
    if classwise:
        class_bin = bin_index(wide, bins, chunk.dtype)
        label_slot = label * bins + class_bin.gather(1, label[:, None])[:, 0]
        shape = (-1, classes, bins)
        part["class_pixels"] = slots.add_classwise(bins, class_bin)
        part["class_probability"] = slots.add_classwise(bins, class_bin, wide)
        part["class_labelled"] = slots.add(classes * bins, label_slot).view(shape)
        part["class_right"] = Slots(valid & right).add(classes * bins, label_slot).view(shape)
    return part


def require_probabilities(chunk: Tensor, confidence: Tensor, valid: Tensor) -> None:
    """Refuse logits, log-probabilities and NaN: the extremes over the classes of a distribution are known."""
    least = 1 / chunk.shape[1] - _SUM_TOLERANCE
    fine = (chunk.amin(1) >= 0) & (confidence >= least) & (confidence <= 1 + _SUM_TOLERANCE)
    if not bool((fine | ~valid).all()):
        wrong = chunk.movedim(1, -1)[valid & ~fine][0]
        raise ValueError(
            "probabilities must be finite, at least 0 and sum to 1 over the classes (a softmax, not logits); "
            f"got {wrong.tolist()[:8]} at a valid pixel"
        )
