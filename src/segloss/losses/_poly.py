"""Poly-1 forms of cross-entropy and focal: one polynomial term ε·(1 - p)^(γ+1) added to the loss."""

from typing import Annotated, Literal

from torch import Tensor

from segloss.losses._batch import Batch
from segloss.losses._catalogue import register
from segloss.losses._pixel import focal_derivative, focal_value, mean_of_log_p
from segloss.options import AtLeast, NonNegative, PerClass

Parameters = tuple[float, float]  # γ and ε


def _value(log_p: Tensor, parameters: Parameters) -> Tensor:
    """-(1 - p)^γ log p + ε (1 - p)^(γ+1)."""
    gamma, epsilon = parameters
    miss = -log_p.expm1()
    if gamma == 0:
        return (miss * epsilon).sub_(log_p)
    return focal_value(log_p, gamma) + epsilon * miss.pow(gamma + 1)


def _derivative(log_p: Tensor, parameters: Parameters) -> Tensor:
    """The derivative of `_value` with respect to log p."""
    gamma, epsilon = parameters
    if gamma == 0:
        return log_p.exp().mul_(-epsilon).sub_(1)
    return focal_derivative(log_p, gamma) - epsilon * (gamma + 1) * (-log_p.expm1()).pow(gamma) * log_p.exp()


@register("PolyCrossEntropyLoss", sums=["likelihood"])
def poly_cross_entropy(
    logits: Tensor | Batch,
    target: Tensor | None,
    *,
    valid: Tensor | None = None,
    epsilon: Annotated[float, AtLeast(-1)] = 1.0,
    alpha: PerClass | None = None,
    pixel_weights: Tensor | None = None,
    reduction: Literal["mean", "none"] = "mean",
) -> Tensor:
    """Poly-1 cross-entropy Σ_c α_c y_c (-log p_c + ε (1 - p_c)), averaged over valid pixels; lower is better.

    It is the Taylor series of -log p around p = 1 with its first coefficient raised by ε. On soft labels its minimum is
    not p = y: with ε = 1 and y = .8 it is p = .87.

    Args:
        logits, target, valid: As in every loss, see `segloss.losses`.
        epsilon: ε, at least -1, so that the loss still decreases with p. Default 1, as in common implementations.
        alpha: One weight per class. Default: 1 each.
        pixel_weights, reduction: As in `cross_entropy`.

    Returns:
        A scalar (or a map) in [0, ∞) for ε ≥ 0.

    Raises:
        ValueError: invalid shapes or types, epsilon below -1.

    Reference: Leng et al., "PolyLoss: A Polynomial Expansion Perspective of Classification Loss Functions", 2022,
        https://arxiv.org/abs/2204.12511
    """
    sums = poly_cross_entropy.sums
    batch = Batch.read(logits, target, valid, sums, pixel_weights=pixel_weights, reduction=reduction)
    return mean_of_log_p(batch, _value, _derivative, (0.0, epsilon), alpha)


@register("PolyFocalLoss", sums=["likelihood"])
def poly_focal(
    logits: Tensor | Batch,
    target: Tensor | None,
    *,
    valid: Tensor | None = None,
    gamma: NonNegative = 2.0,
    epsilon: Annotated[float, AtLeast(-1)] = 1.0,
    alpha: PerClass | None = None,
    pixel_weights: Tensor | None = None,
    reduction: Literal["mean", "none"] = "mean",
) -> Tensor:
    """Poly-1 focal Σ_c α_c y_c (-(1 - p_c)^γ log p_c + ε (1 - p_c)^(γ+1)) over valid pixels; lower is better.

    The softmax form, like `focal`. Implementations with one sigmoid per class compute a different loss.

    Args:
        logits, target, valid: As in every loss, see `segloss.losses`.
        gamma: Focusing exponent, at least 0; 0 is `poly_cross_entropy`. Default 2, as in `focal`.
        epsilon: ε, at least -1. Default 1, as in common implementations.
        alpha: One weight per class, applied to both terms. Default: 1 each.
        pixel_weights, reduction: As in `cross_entropy`.

    Returns:
        A scalar (or a map) in [0, ∞) for ε ≥ 0.

    Raises:
        ValueError: invalid shapes or types, a negative gamma, epsilon below -1.

    Reference: Leng et al., "PolyLoss: A Polynomial Expansion Perspective of Classification Loss Functions", 2022,
        https://arxiv.org/abs/2204.12511
    """
    batch = Batch.read(logits, target, valid, poly_focal.sums, pixel_weights=pixel_weights, reduction=reduction)
    return mean_of_log_p(batch, _value, _derivative, (gamma, epsilon), alpha)
