"""Fixed sums of losses from the literature: BCE + Dice, Dice + focal, exponential logarithmic."""

from typing import Literal

import torch
from torch import Tensor

from segloss.losses._all_reduce import mean_over_processes
from segloss.losses._batch import Batch
from segloss.losses._catalogue import register
from segloss.losses._overlap import dice
from segloss.losses._pixel import focal
from segloss.losses._pixel_autograd import HardPixelLosses, SoftPixelLosses
from segloss.losses._region import NEARLY_PERFECT, region_loss
from segloss.losses._sigmoid import SigmoidSums
from segloss.losses._weights import class_vector, occurring_counts
from segloss.options import NonNegative, PerClass, Positive, Share


@register("BceDiceLoss")
def bce_dice(
    logits: Tensor | Batch,
    target: Tensor | None,
    *,
    valid: Tensor | None = None,
    foreground_channel: bool = False,
    bce_weight: NonNegative = 1.0,
    dice_weight: NonNegative = 1.0,
    classes: Literal["present", "all"] = "present",
    threshold: Share = 0.01,
    smooth: NonNegative = 1.0,
    class_weights: PerClass | None = None,
) -> Tensor:
    """Binary cross-entropy + Dice, each class against the rest: BCE(σ(z), y) + 1 - (2 Σσy + s) / (Σσ + Σy + s).

    The channels are independent sigmoids σ(z_c), so probabilities need not sum to 1. BCE is averaged over valid pixels
    and channels, Dice is computed over the batch. Lower is better.

    Args:
        logits, target, valid: As in every loss, see `segloss.losses`; (B, 1, *spatial) with `foreground_channel`.
        foreground_channel: Whether the logits have one channel, the foreground: class 1 of a class map of 0s and 1s.
            Default: False: one channel per class, two in the binary case.
        bce_weight: Weight of BCE. Default 1.
        dice_weight: Weight of Dice. Default 1.
        classes: The channels over which Dice is averaged: ``"present"`` or ``"all"``. Default: present.
        threshold: As in `tversky`. Default .01.
        smooth: s, in pixels. Default 1, the usual value for this sum.
        class_weights: Weights of both means over channels. Default: 1 each.

    Returns:
        A scalar in [0, ∞).

    Raises:
        ValueError: invalid shapes, types or options.

    Reference: Isensee et al., "nnU-Net", 2018, https://arxiv.org/abs/1809.10486 (region-based training)
    """
    batch = Batch.read(logits, target, valid, (), foreground_channel=foreground_channel, exclusive=False)
    weights = None
    if class_weights is not None:
        weights = class_vector(class_weights, batch, "class_weights")
    bce, product, predicted = SigmoidSums.apply(batch.logits, batch.target, batch.valid, weights)
    overlap_loss = region_loss(
        batch,
        product,
        predicted,
        batch.true,
        alpha=0.5,
        beta=0.5,
        smooth=smooth / 2,
        level_weights=(1.0, 0.0, 0.0),
        classes=classes,
        threshold=threshold,
        power=1.0,
        log=False,
        class_weights=class_weights,
    )
    channels = batch.classes if weights is None else weights.sum()
    return bce_weight * mean_over_processes(bce.sum(), batch.pixels.sum() * channels) + dice_weight * overlap_loss


@register("DiceFocalLoss", sums=["likelihood", "product", "predicted"])
def dice_focal(
    logits: Tensor | Batch,
    target: Tensor | None,
    *,
    valid: Tensor | None = None,
    focal_weight: NonNegative = 0.5,
    gamma: NonNegative = 2.0,
    alpha: PerClass | None = None,
    classes: Literal["present", "all"] = "present",
    threshold: Share = 0.01,
    smooth: NonNegative = 1e-3,
) -> Tensor:
    """Dice + λ · focal: `dice` over the batch and `focal` over its pixels; lower is better.

    Args:
        logits, target, valid: As in every loss, see `segloss.losses`.
        focal_weight: λ. Default .5, the article's.
        gamma, alpha: As in `focal`.
        classes, threshold, smooth: As in `dice`.

    Returns:
        A scalar in [0, ∞).

    Raises:
        ValueError: invalid shapes, types or options.

    Reference: Zhu et al., "AnatomyNet", 2018, https://arxiv.org/abs/1808.05238
    """
    batch = Batch.read(logits, target, valid, dice_focal.sums)
    overlap_loss = dice(batch, None, classes=classes, threshold=threshold, smooth=smooth)
    return overlap_loss + focal_weight * focal(batch, None, gamma=gamma, alpha=alpha)


def _power_value(log_p: Tensor, gamma: float) -> Tensor:
    """(-log p)^γ, clamped where p is nearly 1."""
    return (-log_p).clamp_min(NEARLY_PERFECT).pow(gamma)


def _power_derivative(log_p: Tensor, gamma: float) -> Tensor:
    """The derivative of `_power_value` with respect to log p."""
    derivative = -gamma * (-log_p).clamp_min(NEARLY_PERFECT).pow(gamma - 1)
    return torch.where(log_p <= -NEARLY_PERFECT, derivative, 0)


@register("ExponentialLogarithmicLoss", sums=["likelihood", "product", "predicted"])
def exponential_logarithmic(
    logits: Tensor | Batch,
    target: Tensor | None,
    *,
    valid: Tensor | None = None,
    gamma_dice: Positive = 0.3,
    gamma_cross: Positive = 0.3,
    dice_weight: NonNegative = 0.8,
    cross_weight: NonNegative = 0.2,
    classes: Literal["present", "all"] = "present",
    threshold: Share = 0.01,
    smooth: NonNegative = 1.0,
    class_counts: PerClass | None = None,
) -> Tensor:
    """Exponential logarithmic loss .8 · E_c[(-ln Dice_c)^γ] + .2 · E[w_y (-ln p_y)^γ]; lower is better.

    w_c = (Σ_k f_k / f_c)^½ from the class frequencies of the training set. Dice_c is computed over the batch. Both
    powers have infinite slope at a perfect prediction, so they are constant within 1e-6 of it.

    Args:
        logits, target, valid: As in every loss, see `segloss.losses`; for probabilities the second term is
            E[Σ_c w_c y_c (-ln p_c)^γ].
        gamma_dice: γ of the Dice term, above 0. Default .3, the article's best.
        gamma_cross: γ of the cross-entropy term, above 0. Default .3, the article's best.
        dice_weight: Default .8, the article's.
        cross_weight: Default .2, the article's.
        classes, threshold: As in `dice`.
        smooth: Added to numerator and denominator of Dice, in pixels. Default 1, the article's.
        class_counts: Number of pixels of each class in the training set. Default: None: w_c = 1.

    Returns:
        A scalar in [0, ∞).

    Raises:
        ValueError: invalid shapes, types or options.

    Reference: Wong et al., "3D Segmentation with Exponential Logarithmic Loss for Highly Unbalanced Object Sizes",
        2018, https://arxiv.org/abs/1809.00076
    """
    batch = Batch.read(logits, target, valid, exponential_logarithmic.sums)
    overlap_loss = dice(batch, None, classes=classes, threshold=threshold, smooth=smooth, power=gamma_dice, log=True)
    weights = None
    if class_counts is not None:
        counts = occurring_counts(class_counts, batch.classes)
        frequencies = [count / sum(counts) for count in counts]
        weights = class_vector([f**-0.5 for f in frequencies], batch, "weights")
    formula = (weights, _power_value, _power_derivative, gamma_cross)
    if batch.soft:
        losses = SoftPixelLosses.apply(batch.logits, batch.valid_target, *formula)
    else:
        losses = HardPixelLosses.apply(batch.log_likelihood, batch.target, batch.valid, *formula)
    return dice_weight * overlap_loss + cross_weight * mean_over_processes(losses.sum(), batch.pixels.sum())
