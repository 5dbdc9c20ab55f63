"""The formula of all region losses, 1 - (tp + s) / (tp + α·fp + β·fn + s), and the levels it is averaged at."""

from collections.abc import Sequence

import torch
from torch import Tensor

from segloss.losses._all_reduce import sum_over_processes
from segloss.losses._batch import Batch
from segloss.losses._weights import class_vector
from segloss.options import PerClass

NEARLY_PERFECT = 1e-6  # below it a power with an exponent below 1 is constant: its slope would be infinite at 0


def region_loss(
    batch: Batch,
    overlap: Tensor,
    predicted: Tensor,
    true: Tensor,
    *,
    alpha: float,
    beta: float,
    smooth: float,
    level_weights: Sequence[float],
    classes: str,
    threshold: float,
    power: float,
    log: bool,
    class_weights: PerClass | None,
) -> Tensor:
    """Average the loss 1 - (tp + s) / (tp + α·fp + β·fn + s), or -log of that quotient, over the classes that count.

    Args:
        batch: The batch.
        overlap: tp of each image and class, (B, C).
        predicted: tp + fp, (B, C).
        true: tp + fn, (B, C).
        alpha, beta, smooth, level_weights, classes, threshold, power, log: As in `tversky`.
        class_weights: Weights of the mean over classes; of the sum over classes if agnostic.
    """
    _check_options(level_weights, classes)
    weights = true.new_ones(batch.classes)
    if class_weights is not None:
        weights = class_vector(class_weights, batch, "class_weights")
    counts = torch.stack([overlap, predicted - overlap, true - overlap])
    if classes == "present":
        active = batch.present(threshold).to(true.dtype)
    else:
        active = (batch.pixels > 0).to(true.dtype)[:, None].expand_as(true)
    if classes == "agnostic":
        counts, active, weights = (counts * weights).sum(-1, keepdim=True), active[:, :1], weights.new_ones(1)

    data_set, image, per_class = level_weights
    sums = [counts.sum(1), active.sum(0)]
    if image or per_class:
        losses = _losses(counts, alpha, beta, smooth, power, log) * active
        image_weights = (active * weights).sum(1)
        images = image_weights > 0
        means = (losses * weights).sum(1) / torch.where(images, image_weights, 1)
        sums += [means.sum(), images.sum().to(true.dtype), losses.sum(0)]
    counts, images_with_class, *averages = sum_over_processes(*sums)
    weights = weights * (images_with_class > 0)
    total = overlap.new_zeros(())
    if data_set:
        total = total + data_set * _mean(_losses(counts, alpha, beta, smooth, power, log), weights)
    if image or per_class:
        sum_of_means, images, class_sums = averages
        total = total + image * sum_of_means / images.clamp_min(1)
        total = total + per_class * _mean(class_sums / images_with_class.clamp_min(1), weights)
    return total


def _losses(counts: Tensor, alpha: float, beta: float, smooth: float, power: float, log: bool) -> Tensor:
    """1 - (tp + s) / (tp + α·fp + β·fn + s), as (α·fp + β·fn) / (...): no cancellation near a perfect prediction."""
    true_positive, false_positive, false_negative = counts
    # With squared sums either may be negative, but their sum is not, except by rounding near a perfect prediction.
    error = (alpha * false_positive + beta * false_negative).clamp_min(0)
    size = true_positive + error + smooth
    nothing = size <= torch.finfo(size.dtype).tiny  # neither predicted nor true, and not smoothed: no error
    loss = torch.where(nothing, 0, error) / torch.where(nothing, 1, size)
    if log:
        loss = -torch.log1p(-loss.clamp_max(1 - torch.finfo(loss.dtype).eps))  # finite without any overlap
    if power < 1:
        loss = loss.clamp_min(NEARLY_PERFECT)
    return loss if power == 1 else loss.pow(power)


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    total = weights.sum()
    return (values * weights).sum() / torch.where(total > 0, total, 1)


def _check_options(level_weights: Sequence[float], classes: str) -> None:
    if not any(level_weights):
        raise ValueError(f"Expected level_weights (data set, image, class) that are not all 0, got {level_weights!r}.")
    if classes == "agnostic" and level_weights[2]:
        raise ValueError(f"Expected no weight on the class level with classes='agnostic', got {level_weights!r}.")
