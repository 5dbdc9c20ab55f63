"""Losses that are a mean over pixels."""

import torch
from torch import Tensor

from segloss.losses._batch import Batch
from segloss.losses._catalogue import register
from segloss.losses._exchange import sum_over_processes
from segloss.losses._weights import ClassWeights, class_vector


def mean_over_processes(total: Tensor, weight: Tensor) -> Tensor:
    """total / weight, both summed over all processes; exactly 0, with zero gradient, where nothing has weight."""
    total, weight = sum_over_processes(total, weight)
    return total / torch.where(weight > 0, weight, 1)


@register("SoftmaxCrossEntropyLoss")
def cross_entropy(
    logits: Tensor | Batch, target: Tensor | None, *, valid: Tensor | None = None, class_weights: ClassWeights = None
) -> Tensor:
    """Cross-entropy -Σ_c w_c y_c log p_c, averaged over the weights of the valid pixels.

    Args:
        logits: (B, C, *spatial), any float type.
        target: int64 class map (B, *spatial) or probabilities (B, C, *spatial).
        valid: bool (B, *spatial), or None: every pixel is valid.
        class_weights: One weight per class; a pixel's weight is Σ_c w_c y_c. Default: all 1.

    Returns:
        A scalar in [0, ∞).
    """
    batch = Batch.read(logits, target, valid)
    if class_weights is None:
        return mean_over_processes(-batch.log_likelihood.sum(), batch.pixels.sum())
    weights = class_vector(class_weights, batch.logits, batch.classes, "class_weights")
    if batch.soft:
        weighted = Batch(batch.logits, batch.target * weights[:, None], batch.valid)
        return mean_over_processes(-weighted.log_likelihood.sum(), weighted.true.sum())
    pixel_weights = weights[batch.target]
    return mean_over_processes(-(pixel_weights * batch.log_likelihood).sum(), batch.true.sum(0) @ weights)


@register("SoftmaxFocalLoss")
def focal(
    logits: Tensor | Batch,
    target: Tensor | None,
    *,
    valid: Tensor | None = None,
    gamma: float = 2.0,
    alpha: ClassWeights = None,
) -> Tensor:
    """Focal loss -Σ_c α_c y_c (1 - p_c)^γ log p_c in its softmax form, averaged over valid pixels.

    Args:
        logits: (B, C, *spatial), any float type.
        target: int64 class map (B, *spatial) or probabilities (B, C, *spatial).
        valid: bool (B, *spatial), or None: every pixel is valid.
        gamma: Focusing exponent, at least 0; 0 is cross-entropy. Default 2, the article's.
        alpha: One weight per class. Default: all 1.

    Returns:
        A scalar in [0, ∞).

    Reference: Lin et al., "Focal Loss for Dense Object Detection", 2017, https://arxiv.org/abs/1708.02002
    """
    batch = Batch.read(logits, target, valid)
    if gamma < 0:
        raise ValueError(f"Expected gamma of at least 0, got {gamma}.")
    log_p = torch.log_softmax(batch.logits, 1) if batch.soft else batch.log_likelihood
    # 1 - p without cancellation; the floor keeps the gradient of a power below 1 finite at p = 1, where log p = 0.
    miss = (-torch.expm1(log_p)).clamp_min(torch.finfo(log_p.dtype).tiny)
    losses = -miss.pow(gamma) * log_p
    weights = None if alpha is None else class_vector(alpha, batch.logits, batch.classes, "alpha")
    if batch.soft:
        y = batch.valid_target
        losses = (losses * (y if weights is None else y * weights[:, None])).sum(1)
    elif weights is not None:
        losses = losses * weights[batch.target]
    return mean_over_processes(losses.sum(), batch.pixels.sum())
