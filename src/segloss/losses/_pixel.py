"""Losses that are a mean over pixels of a function of log p: cross-entropy and focal."""

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from segloss.losses._all_reduce import mean_over_processes
from segloss.losses._batch import Batch
from segloss.losses._catalogue import register
from segloss.losses._pixel_autograd import HardPixelLosses, SoftPixelLosses
from segloss.losses._weights import class_vector
from segloss.losses._weights import class_weights as measured_weights
from segloss.options import NonNegative, PerClass


def mean_over_pixels(batch: Batch, losses: Tensor, class_weights: Tensor | None = None) -> Tensor:
    """Average per-pixel losses as the batch's `pixel_weights` and `reduction` require.

    Args:
        batch: The batch.
        losses: (B, N), 0 where void; already multiplied by the weight of the pixel's class, if there are such weights.
        class_weights: (C,), if the sum is divided by the pixels' weights w_y (or Σ_c w_c y_c) instead of their number.

    Returns:
        Σ m·loss / Σ m·w over the valid pixels of all processes, m being the pixel weights and w those of the classes,
        1 each by default; without reduction, m·loss as a map (B, *spatial).
    """
    if batch.pixel_weights is not None:
        losses = losses * batch.pixel_weights
    if batch.reduction == "none":
        return losses.reshape(len(losses), *batch.spatial)
    if batch.pixel_weights is not None:
        weights = batch.pixel_weights
        if class_weights is not None:
            weights = weights * _weights_of_pixels(batch, class_weights)
        return mean_over_processes(losses.sum(), weights.sum())
    if class_weights is None:
        return mean_over_processes(losses.sum(), batch.pixels.sum())
    true = (batch.valid_target * class_weights[:, None]).sum(-1) if batch.soft else batch.true * class_weights
    return mean_over_processes(losses.sum(), true.sum())


def _weights_of_pixels(batch: Batch, class_weights: Tensor) -> Tensor:
    """w_y, or Σ_c w_c y_c: (B, N)."""
    return (batch.valid_target * class_weights[:, None]).sum(1) if batch.soft else class_weights[batch.index]


@register("SoftmaxCrossEntropyLoss", sums=["likelihood"])
def cross_entropy(
    logits: Tensor | Batch,
    target: Tensor | None,
    *,
    valid: Tensor | None = None,
    class_weights: PerClass | None = None,
    weighting: Literal["inverse", "median"] | None = None,
    class_counts: PerClass | None = None,
    pixel_weights: Tensor | None = None,
    reduction: Literal["mean", "none"] = "mean",
) -> Tensor:
    """Cross-entropy -Σ_c w_c y_c log p_c, normalised by the total weight of the valid pixels; lower is better.

    Args:
        logits, target, valid: As in every loss, see `segloss.losses`.
        class_weights: One weight per class; a pixel then has weight Σ_c w_c y_c. Default: 1 each.
        weighting: Take the weights from `class_counts` instead: ``"inverse"`` or ``"median"`` frequency. Default: None.
        class_counts: Number of pixels of each class in the training set, for `weighting`.
        pixel_weights: (B, *spatial), at least 0: m in Σ m·loss / Σ m·w. Default: 1 each.
        reduction: ``"mean"``, or ``"none"`` for a map (B, *spatial) of m·loss, 0 where void. Default: mean.

    Returns:
        A scalar (or a map) in [0, ∞), in nats.

    Raises:
        ValueError: invalid shapes or types, both `class_weights` and `weighting`, a weighting without counts.

    Reference: Bridle, "Probabilistic Interpretation of Feedforward Classification Network Outputs", 1990,
        https://doi.org/10.1007/978-3-642-76153-9_28; median frequency: Eigen and Fergus, 2015,
        https://arxiv.org/abs/1411.4734
    """
    batch = Batch.read(logits, target, valid, cross_entropy.sums, pixel_weights=pixel_weights, reduction=reduction)
    if weighting is not None:
        if class_weights is not None or class_counts is None:
            raise ValueError(f"Expected class_counts and no class_weights with weighting={weighting!r}.")
        class_weights = measured_weights(class_counts, weighting)
    if batch.soft and class_weights is not None:
        weights = class_vector(class_weights, batch, "class_weights")
        weighted = batch.derived(target=batch.target * weights[:, None])
        return mean_over_pixels(batch, -weighted.log_likelihood, weights)
    return mean_log_loss(batch, batch.log_likelihood, class_weights)


def mean_log_loss(batch: Batch, log_likelihood: Tensor, class_weights: PerClass | None) -> Tensor:
    """-Σ w_y log p_y / Σ w_y over the valid pixels of all processes; the log-likelihood (B, N) is 0 where void."""
    if class_weights is None:
        return mean_over_pixels(batch, -log_likelihood)
    weights = class_vector(class_weights, batch, "class_weights")
    return mean_over_pixels(batch, -(weights[batch.index] * log_likelihood), weights)


# (log p, parameter) -> a function of log p, or its derivative.
OfLogP = Callable[[Tensor, Any], Tensor]


def losses_of_log_p(batch: Batch, value: OfLogP, derivative: OfLogP, parameter: Any, weights: Tensor | None) -> Tensor:
    """Σ_c w_c y_c f(log p_c) of each pixel (B, N), 0 where void, from f, its derivative and their parameter."""
    if batch.soft:
        return SoftPixelLosses.apply(batch.logits, batch.valid_target, weights, value, derivative, parameter)
    return HardPixelLosses.apply(batch.log_likelihood, batch.target, batch.valid, weights, value, derivative, parameter)


def mean_of_log_p(batch: Batch, value: OfLogP, derivative: OfLogP, parameter: Any, alpha: PerClass | None) -> Tensor:
    """The mean over pixels of Σ_c α_c y_c f(log p_c), as `losses_of_log_p`; without reduction the map."""
    weights = None if alpha is None else class_vector(alpha, batch, "alpha")
    return mean_over_pixels(batch, losses_of_log_p(batch, value, derivative, parameter, weights))


def focal_value(log_p: Tensor, gamma: float) -> Tensor:
    """-(1 - p)^γ log p."""
    return _miss(log_p).pow(gamma) * -log_p


def focal_derivative(log_p: Tensor, gamma: float) -> Tensor:
    """The derivative of `focal_value` with respect to log p: (1 - p)^(γ-1) (γ p log p - (1 - p))."""
    miss = _miss(log_p)
    return miss.pow(gamma - 1) * (gamma * log_p.exp() * log_p - miss)


def _miss(log_p: Tensor) -> Tensor:
    # 1 - p without cancellation. The floor keeps the slope of a power below 1 finite at p = 1, where log p = 0.
    return (-torch.expm1(log_p)).clamp_min(torch.finfo(log_p.dtype).tiny)


@register("SoftmaxFocalLoss", sums=["likelihood"])
def focal(
    logits: Tensor | Batch,
    target: Tensor | None,
    *,
    valid: Tensor | None = None,
    gamma: NonNegative = 2.0,
    alpha: PerClass | None = None,
    pixel_weights: Tensor | None = None,
    reduction: Literal["mean", "none"] = "mean",
) -> Tensor:
    """Focal loss -Σ_c α_c y_c (1 - p_c)^γ log p_c in its softmax form, averaged over valid pixels; lower is better.

    It penalises nearly correct pixels less than cross-entropy does, so it is not a proper scoring rule: on soft labels
    its minimum is not p = y.

    Args:
        logits, target, valid: As in every loss, see `segloss.losses`.
        gamma: Focusing exponent, at least 0; 0 is cross-entropy. Default 2, the article's.
        alpha: One weight per class. Default: 1 each.
        pixel_weights, reduction: As in `cross_entropy`.

    Returns:
        A scalar (or a map) in [0, ∞).

    Raises:
        ValueError: invalid shapes, types or options.

    Reference: Lin et al., "Focal Loss for Dense Object Detection", 2017, https://arxiv.org/abs/1708.02002
    """
    batch = Batch.read(logits, target, valid, focal.sums, pixel_weights=pixel_weights, reduction=reduction)
    return mean_of_log_p(batch, focal_value, focal_derivative, gamma, alpha)
