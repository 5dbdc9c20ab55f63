"""Targets made from several raters' class maps of the same image."""

import torch
from torch import Tensor

from segloss.labels._catalogue import register, without_void


@register(source="raters")
def rater_mean(labels: Tensor, valid: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """The share of raters that chose each class, among those that labelled the pixel.

    Args:
        labels: The raters' class ids, int64 (B, R, *spatial); anything where ``valid`` is False.
        valid: bool (B, R, *spatial), False where that rater has no label; a missing rater is False everywhere.
        num_classes: Number of classes C.

    Returns:
        float32 (B, C, *spatial), arbitrary but finite at void pixels, and bool (B, *spatial): whether any rater
        labelled the pixel.
    """
    # Votes are small integers: their sums are exact in float32, in whatever order a GPU adds them.
    votes = _votes(without_void(labels, valid, num_classes), valid.to(torch.float32), num_classes)
    return votes / votes.sum(1, keepdim=True).clamp_min(1), valid.any(1)


def _votes(labels: Tensor, weights: Tensor, num_classes: int) -> Tensor:
    """Sum of ``weights`` (B, R, *spatial) per chosen class: (B, C, *spatial), without any one-hot map."""
    votes = weights.new_zeros(labels.shape[0], num_classes, *labels.shape[2:])
    return votes.scatter_add_(1, labels, weights)
