"""The one formula of the region losses, 1 - (tp + s) / (tp + α·fp + β·fn + s), and the levels it is averaged at."""

from collections.abc import Sequence

import torch
from torch import Tensor

from segloss.losses._batch import Batch
from segloss.losses._exchange import sum_over_processes
from segloss.losses._weights import ClassWeights, class_vector

CLASSES = ("present", "all", "agnostic")


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
    class_weights: ClassWeights,
) -> Tensor:
    """Average the loss of true positives `overlap`, of `predicted` and of `true`, (B, C) each, at the wanted levels."""
    _check_options(level_weights, classes, power, smooth, alpha, beta)
    weights = torch.ones_like(true[0])
    if class_weights is not None:
        weights = class_vector(class_weights, true, batch.classes, "class_weights")
    # Rounding may leave a difference of equal sums slightly below 0, where a power is not defined.
    counts = torch.stack([overlap, (predicted - overlap).clamp_min(0), (true - overlap).clamp_min(0)])
    if classes == "agnostic":
        counts, weights = (counts * weights).sum(-1, keepdim=True), weights.new_ones(1)
    if classes == "present":
        active = batch.present(threshold).to(true.dtype)
    else:
        active = (batch.pixels > 0).to(true.dtype)[:, None].expand(counts.shape[1:])

    def losses(counts: Tensor) -> Tensor:
        return _complement(counts, alpha, beta, smooth, power, log)

    data_set, image, per_class = level_weights
    sums = [counts.sum(1), active.sum(0)]
    if image or per_class:
        each = losses(counts) * active
        image_weights = active @ weights
        images = image_weights > 0
        image_means = each @ weights / torch.where(images, image_weights, 1)
        sums += [image_means.sum(), images.sum().to(true.dtype), each.sum(0)]
    sums = sum_over_processes(*sums)
    total_counts, images_with_class = sums[:2]
    occurring = weights * (images_with_class > 0)
    total = overlap.new_zeros(())
    if data_set:
        total = total + data_set * _weighted_mean(losses(total_counts), occurring)
    if image:
        total = total + image * sums[2] / sums[3].clamp_min(1)
    if per_class:
        total = total + per_class * _weighted_mean(sums[4] / images_with_class.clamp_min(1), occurring)
    return total


def _complement(counts: Tensor, alpha: float, beta: float, smooth: float, power: float, log: bool) -> Tensor:
    """1 - (tp + s) / (tp + α·fp + β·fn + s), as (α·fp + β·fn) / (...): no cancellation near a perfect prediction."""
    true_positive, false_positive, false_negative = counts
    error = alpha * false_positive + beta * false_negative
    size = true_positive + error + smooth
    nothing = size <= torch.finfo(size.dtype).tiny  # neither predicted nor true, and not smoothed: no error
    loss = torch.where(nothing, 0, error) / torch.where(nothing, 1, size)
    if log:
        loss = -torch.log1p(-loss.clamp_max(1 - torch.finfo(loss.dtype).eps))  # stays finite without any overlap
    return loss if power == 1 else loss.pow(power)


def _weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    total = weights.sum()
    return (values * weights).sum() / torch.where(total > 0, total, 1)


def _check_options(
    level_weights: Sequence[float], classes: str, power: float, smooth: float, alpha: float, beta: float
) -> None:
    if classes not in CLASSES:
        raise ValueError(f"Expected classes to be one of {', '.join(CLASSES)}, got {classes!r}.")
    if len(level_weights) != 3 or min(level_weights) < 0 or not any(level_weights):
        raise ValueError(
            "Expected level_weights to hold three numbers of at least 0 (data set, image, class), not all 0, "
            f"got {level_weights!r}."
        )
    if classes == "agnostic" and level_weights[2]:
        raise ValueError(f"Expected no weight on the class level with classes='agnostic', got {level_weights!r}.")
    if power < 1:
        raise ValueError(f"Expected power of at least 1, got {power}.")
    for name, value in (("smooth", smooth), ("alpha", alpha), ("beta", beta)):
        if value < 0:
            raise ValueError(f"Expected {name} of at least 0, got {value}.")
