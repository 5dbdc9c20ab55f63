"""Focal losses with a separate term for class 0, the background: asymmetric focal (Tversky) and their sum."""

from typing import Annotated, Literal

import torch
from torch import Tensor

from segloss.losses._all_reduce import mean_over_processes
from segloss.losses._batch import Batch
from segloss.losses._catalogue import register
from segloss.losses._overlap import tversky
from segloss.losses._pixel import focal_derivative, focal_value, losses_of_log_p, mean_over_pixels
from segloss.losses._region import _losses as quotient_losses
from segloss.options import AtLeast, Below, Classes, NonNegative, Positive, Share


@register("FocalTverskyLoss", sums=["product", "predicted"])
def focal_tversky(
    logits: Tensor | Batch,
    target: Tensor | None,
    *,
    valid: Tensor | None = None,
    alpha: NonNegative = 0.3,
    beta: NonNegative = 0.7,
    power: Positive = 0.75,
    classes: Classes = "present",
    threshold: Share = 0.01,
    smooth: NonNegative = 1e-3,
) -> Tensor:
    """Focal Tversky loss: the mean over classes of (1 - TI_c)^e, `tversky` with a power; lower is better.

    The article writes the exponent as 1/γ with γ = 4/3. With e below 1 the slope is infinite at a perfect prediction:
    within 1e-6 of it the loss is constant. On soft labels its minimum is not p = y; that of `compatible_tversky` with a
    power is.

    Args:
        logits, target, valid: As in every loss, see `segloss.losses`.
        alpha: Weight of false positives. Default .3, as in the author's code, where it is called beta.
        beta: Weight of false negatives. Default .7, as in the author's code, where it is called alpha.
        power: e, above 0. Default ¾, the article's.
        classes: See `tversky`. Default: present.
        threshold: A class is present in a soft target if its largest probability is above this. Default .01.
        smooth: Added to numerator and denominator, in pixels. Default 1e-3; the author's code has 1.

    Returns:
        A scalar in [0, 1].

    Raises:
        ValueError: invalid shapes, types or options.

    Reference: Abraham and Khan, "A Novel Focal Tversky loss function with improved Attention U-Net for lesion
        segmentation", 2018, https://arxiv.org/abs/1810.07842
    """
    batch = Batch.read(logits, target, valid, focal_tversky.sums)
    return tversky(
        batch, None, alpha=alpha, beta=beta, power=power, classes=classes, threshold=threshold, smooth=smooth
    )


@register("AsymmetricFocalLoss", sums=["likelihood"])
def asymmetric_focal(
    logits: Tensor | Batch,
    target: Tensor | None,
    *,
    valid: Tensor | None = None,
    delta: Share = 0.7,
    gamma: NonNegative = 2.0,
    pixel_weights: Tensor | None = None,
    reduction: Literal["mean", "none"] = "mean",
) -> Tensor:
    """Asymmetric focal loss -δ Σ_{c≥1} y_c log p_c - (1 - δ) y_0 (1 - p_0)^γ log p_0, over pixels; lower is better.

    Only class 0, the background, has a focal factor, so that rare foreground is not suppressed. MONAI also averages
    over its two channels, which gives half this value. On soft labels the minimum is not p = y.

    Args:
        logits, target, valid: As in every loss, see `segloss.losses`.
        delta: δ, weight of the foreground, from 0 to 1. Default .7, as in the authors' code.
        gamma: Focusing exponent of the background, at least 0. Default 2, as in the authors' code.
        pixel_weights, reduction: As in `cross_entropy`.

    Returns:
        A scalar (or a map) in [0, ∞).

    Raises:
        ValueError: invalid shapes, types or options.

    Reference: Yeung et al., "Unified Focal loss", 2021, https://arxiv.org/abs/2102.04525
    """
    sums = asymmetric_focal.sums
    batch = Batch.read(logits, target, valid, sums, pixel_weights=pixel_weights, reduction=reduction)
    background, foreground = batch.logits.new_zeros(batch.classes), batch.logits.new_full((batch.classes,), delta)
    background[0], foreground[0] = 1 - delta, 0
    parts = ((background, gamma), (foreground, 0.0))
    focal = [losses_of_log_p(batch, focal_value, focal_derivative, exponent, weights) for weights, exponent in parts]
    return mean_over_pixels(batch, focal[0] + focal[1])


@register("AsymmetricFocalTverskyLoss", sums=["product", "predicted"])
def asymmetric_focal_tversky(
    logits: Tensor | Batch,
    target: Tensor | None,
    *,
    valid: Tensor | None = None,
    delta: Share = 0.7,
    gamma: Annotated[float, AtLeast(0), Below(1)] = 0.75,
    classes: Literal["present", "all"] = "present",
    threshold: Share = 0.01,
    smooth: NonNegative = 1e-7,
) -> Tensor:
    """Asymmetric focal Tversky loss: 1 - TI_0 for the background, (1 - TI_c)^(1-γ) for other classes; lower is better.

    TI = (tp + s) / (tp + δ·fn + (1 - δ)·fp + s) per image; the loss is averaged over its classes, then over images.
    As in all losses with a power below 1, the foreground's loss is constant within 1e-6 of a perfect prediction. On
    soft labels the minimum is not p = y.

    Args:
        logits, target, valid: As in every loss, see `segloss.losses`.
        delta: δ, weight of false negatives, from 0 to 1. Default .7, as in the authors' code.
        gamma: The foreground's exponent is 1 - γ; at least 0 and below 1. Default .75, as in the authors' code.
        classes: ``"present"``: those that occur in the image; ``"all"``: as in the authors' code, where an absent class
            costs nearly 1 however little of it is predicted. Default: present.
        threshold: A class is present in a soft target if its largest probability is above this. Default .01.
        smooth: s, in pixels. Default 1e-7, the authors'.

    Returns:
        A scalar in [0, 1].

    Raises:
        ValueError: invalid shapes, types or options.

    Reference: Yeung et al., "Unified Focal loss", 2021, https://arxiv.org/abs/2102.04525
    """
    batch = Batch.read(logits, target, valid, asymmetric_focal_tversky.sums)
    counts = torch.stack([batch.product, batch.predicted - batch.product, batch.true - batch.product])
    form = (1 - delta, delta, smooth)
    background = quotient_losses(counts[..., :1], *form, 1.0, False)
    losses = torch.cat([background, quotient_losses(counts[..., 1:], *form, 1 - gamma, False)], -1)
    counted = batch.present(threshold) if classes == "present" else (batch.pixels > 0)[:, None].expand_as(losses)
    number = counted.sum(1)
    means = (losses * counted).sum(1) / number.clamp_min(1)
    return mean_over_processes(means.sum(), (number > 0).sum().to(means.dtype))


@register("UnifiedFocalLoss", sums=["likelihood", "product", "predicted"])
def unified_focal(
    logits: Tensor | Batch,
    target: Tensor | None,
    *,
    valid: Tensor | None = None,
    region_weight: Share = 0.5,
    delta: Share = 0.6,
    gamma: Annotated[float, AtLeast(0), Below(1)] = 0.5,
    classes: Literal["present", "all"] = "present",
    threshold: Share = 0.01,
) -> Tensor:
    """Unified focal loss λ · `asymmetric_focal_tversky` + (1 - λ) · `asymmetric_focal`, one δ and γ; lower is better.

    In MONAI λ weights the other term, δ is .7 and the `asymmetric_focal` term is half as large.

    Args:
        logits, target, valid: As in every loss, see `segloss.losses`.
        region_weight: λ, from 0 to 1. Default .5, the authors'.
        delta: δ of both. Default .6, the authors'.
        gamma: γ of both, at least 0 and below 1. Default .5, the authors'.
        classes: See `asymmetric_focal_tversky`. Default: present.
        threshold: A class is present in a soft target if its largest probability is above this. Default .01.

    Returns:
        A scalar in [0, ∞).

    Raises:
        ValueError: invalid shapes, types or options.

    Reference: Yeung et al., "Unified Focal loss", 2021, https://arxiv.org/abs/2102.04525
    """
    batch = Batch.read(logits, target, valid, unified_focal.sums)
    region = asymmetric_focal_tversky(batch, None, delta=delta, gamma=gamma, classes=classes, threshold=threshold)
    return region_weight * region + (1 - region_weight) * asymmetric_focal(batch, None, delta=delta, gamma=gamma)
