"""Losses with a class-dependent margin: LDAM, and its sum with the focal loss."""

import math
from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from torch import Tensor

from segloss.losses._batch import Batch
from segloss.losses._catalogue import register
from segloss.losses._pixel import cross_entropy, focal, mean_log_loss
from segloss.losses._pixel_autograd import HardPixelLosses
from segloss.losses._sums import LEAST, without_void
from segloss.losses._weights import class_vector, occurring_counts
from segloss.options import AtLeast, Below, NonNegative, PerClass, Positive


@register("LDAMLoss", sums=["likelihood"])
def ldam(
    logits: Tensor | Batch,
    target: Tensor | None,
    *,
    valid: Tensor | None = None,
    class_counts: PerClass,
    max_margin: NonNegative = 0.5,
    scale: Positive = 1.0,
    reweighting: Annotated[float, AtLeast(0), Below(1)] | None = None,
    pixel_weights: Tensor | None = None,
    reduction: Literal["mean", "none"] = "mean",
) -> Tensor:
    """Label-distribution-aware margin loss: cross-entropy of s·(z - Δ·y), Δ_c = m · n_c^-¼ / max_k n_k^-¼.

    The rarest class gets the margin m, the others a smaller one. Lower is better. The prediction remains softmax(z),
    without margins; calibration is measured on it.

    Args:
        logits, target, valid: As in every loss, see `segloss.losses`.
        class_counts: n_c, number of pixels of each class in the training set; one with none is treated as the rarest.
        max_margin: m, in logits, at least 0. Default .5, the article's.
        scale: s, above 0. Default 1, for raw logits; the article has 30 with a cosine classifier, whose logits are
            between -1 and 1.
        reweighting: β of the class weights (1 - β) / (1 - β^n_c), averaged as in `cross_entropy`. The article defers
            it to the last fifth of training, with β = .9999 and n counting images; with n counting pixels, the weights
            differ only where n is not far above 1 / (1 - β). Default: None: every class has weight 1.
        pixel_weights, reduction: As in `cross_entropy`.

    Returns:
        A scalar (or a map) in [0, ∞), in nats.

    Raises:
        ValueError: invalid shapes, types or options.

    Reference: Cao et al., "Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss", 2019,
        https://arxiv.org/abs/1906.07413; Cui et al., 2019, https://arxiv.org/abs/1901.05555 (the class weights)
    """
    batch = Batch.read(logits, target, valid, ldam.sums, pixel_weights=pixel_weights, reduction=reduction)
    counts = occurring_counts(class_counts, batch.classes)
    rarest = min(counts)
    margins = class_vector([max_margin * (rarest / count) ** 0.25 for count in counts], batch, "margins")
    weights = None if reweighting is None else effective_number_weights(counts, reweighting)
    if batch.soft:
        shifted = _scaled(torch.addcmul(batch.logits, margins[:, None], batch.valid_target, value=-1), scale)
        return cross_entropy(batch.derived(logits=shifted), None, class_weights=weights)
    if scale == 1:
        where = (batch.target, batch.valid)
        log_likelihood = HardPixelLosses.apply(
            batch.log_likelihood, *where, None, _margin_value, _margin_derivative, (margins, *where)
        )
    else:
        index = batch.index[:, None]
        shifted = _scaled(batch.logits.scatter_add(1, index, -margins[index]), scale)
        log_likelihood = batch.derived(logits=shifted).log_likelihood
    return mean_log_loss(batch, log_likelihood, weights)


def _scaled(logits: Tensor, scale: float) -> Tensor:
    """scale * logits, clamped against overflow; the logits themselves if the scale is 1."""
    return logits if scale == 1 else (scale * logits).clamp(LEAST, -LEAST)


Margins = tuple[Tensor, Tensor, Tensor | None]  # Δ of each class, and the class map and the mask to look it up with


def _margin_value(log_p: Tensor, where: Margins) -> Tensor:
    """log p_y after z_y has been lowered by its margin, without another softmax.

    The numerator of p_y shrinks by e^-Δ, and its denominator from 1 to 1 - p_y (1 - e^-Δ).
    """
    margins, target, valid = where
    margin = margins[without_void(target, valid)]
    return log_p - margin - torch.log1p(log_p.exp() * torch.expm1(-margin))


def _margin_derivative(log_p: Tensor, where: Margins) -> Tensor:
    """The derivative of `_margin_value` with respect to log p_y."""
    margins, target, valid = where
    return 1 / (1 + log_p.exp() * torch.expm1(-margins)[without_void(target, valid)])


def effective_number_weights(counts: Sequence[float], beta: float) -> list[float]:
    """(1 - β) / (1 - β^n_c)."""
    return [1.0 if beta == 0 else (1 - beta) / -math.expm1(count * math.log(beta)) for count in counts]


@register("LMFLoss", sums=["likelihood"])
def lmf(
    logits: Tensor | Batch,
    target: Tensor | None,
    *,
    valid: Tensor | None = None,
    class_counts: PerClass,
    ldam_weight: NonNegative = 1.0,
    focal_weight: NonNegative = 1.0,
    max_margin: NonNegative = 0.5,
    scale: Positive = 1.0,
    reweighting: Annotated[float, AtLeast(0), Below(1)] | None = None,
    gamma: NonNegative = 2.0,
    alpha: PerClass | None = None,
    pixel_weights: Tensor | None = None,
    reduction: Literal["mean", "none"] = "mean",
) -> Tensor:
    """Large margin aware focal loss: a weighted sum of `ldam` and `focal`; lower is better.

    Args:
        logits, target, valid: As in every loss, see `segloss.losses`.
        class_counts: Number of pixels of each class in the training set.
        ldam_weight: Weight of `ldam`. Default 1: the article finds equal weights to work well; its code has 1.5.
        focal_weight: Weight of `focal`. Default 1.
        max_margin, scale, reweighting: As in `ldam`.
        gamma: Exponent of `focal`. Default 2; the authors' code has 1.5.
        alpha: Class weights of `focal`. Default: 1 each.
        pixel_weights, reduction: As in `cross_entropy`.

    Returns:
        A scalar (or a map) in [0, ∞).

    Raises:
        ValueError: invalid shapes, types or options.

    Reference: Sadi et al., "LMFLOSS: A Hybrid Loss For Imbalanced Medical Image Classification", 2022,
        https://arxiv.org/abs/2212.12741
    """
    batch = Batch.read(logits, target, valid, lmf.sums, pixel_weights=pixel_weights, reduction=reduction)
    margin_loss = ldam(
        batch, None, class_counts=class_counts, max_margin=max_margin, scale=scale, reweighting=reweighting
    )
    return ldam_weight * margin_loss + focal_weight * focal(batch, None, gamma=gamma, alpha=alpha)
