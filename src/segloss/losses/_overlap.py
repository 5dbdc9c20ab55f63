"""Region losses on the product overlap Σ p·y: Tversky, Dice, Jaccard and generalized Dice.

On hard labels they are exact. On soft labels the forms with Σp + Σy in the denominator do not have their minimum at
p = y (for y = ½ it is at p = 1); they are the baselines that the losses of `_jdt` correct.
"""

from typing import Literal

import torch
from torch import Tensor

from segloss.losses._all_reduce import sum_over_processes
from segloss.losses._batch import Batch
from segloss.losses._catalogue import register
from segloss.losses._region import region_loss
from segloss.losses._weights import class_vector
from segloss.options import Classes, NonNegative, PerClass, Positive, Share, Weights


@register("SoftTverskyLoss", sums=["product", "predicted"])
def tversky(
    logits: Tensor | Batch,
    target: Tensor | None,
    *,
    valid: Tensor | None = None,
    alpha: NonNegative = 0.3,
    beta: NonNegative = 0.7,
    level_weights: Weights = (1.0, 0.0, 0.0),
    classes: Classes = "present",
    threshold: Share = 0.01,
    smooth: NonNegative = 1e-3,
    power: Positive = 1.0,
    log: bool = False,
    class_weights: PerClass | None = None,
) -> Tensor:
    """Tversky loss 1 - (I + s) / (I + α·(Σp - I) + β·(Σy - I) + s) with I = Σp·y; lower is better.

    α = β = ½ is Dice (with twice its smooth), α = β = 1 is Jaccard. Like theirs, its minimum on soft labels is not
    p = y; see `compatible_tversky`.

    Args:
        logits, target, valid: As in every loss, see `segloss.losses`.
        alpha: Weight of false positives, at least 0. Default .3, the article's best.
        beta: Weight of false negatives, at least 0. Default .7, the article's best.
        level_weights: Weights of three averages: data set (sums over the batch, then the mean over classes), image
            (mean over the classes of an image, then over images) and class (mean over the images of a class, then over
            classes). Default (1, 0, 0): data set only.
        classes: The classes averaged over: ``"present"``, those that occur (in the batch; at the image and class
            levels, in the image); ``"all"``; or ``"agnostic"``: sums over classes before the quotient, for extreme
            imbalance. Default: present.
        threshold: A class is present in a soft target if its largest probability is above this. Default .01.
        smooth: s, in pixels. Default 1e-3.
        power: Exponent of each class's loss, above 0; the focal Tversky loss uses ¾. Default 1.
        log: Whether to take -log of the quotient instead of 1 minus it. Default: False.
        class_weights: Weights of the mean over classes. Default: 1 each.

    Returns:
        A scalar in [0, 1] without `log`.

    Raises:
        ValueError: invalid shapes, types or options.

    Reference: Salehi et al., "Tversky loss function for image segmentation using 3D fully convolutional deep networks",
        2017, https://arxiv.org/abs/1706.05721
    """
    batch = Batch.read(logits, target, valid, tversky.sums)
    return region_loss(
        batch,
        batch.product,
        batch.predicted,
        batch.true,
        alpha=alpha,
        beta=beta,
        level_weights=level_weights,
        classes=classes,
        threshold=threshold,
        smooth=smooth,
        power=power,
        log=log,
        class_weights=class_weights,
    )


@register("SoftDiceLoss", sums=["product", "predicted", "squares"])
def dice(
    logits: Tensor | Batch,
    target: Tensor | None,
    *,
    valid: Tensor | None = None,
    squared: bool = False,
    level_weights: Weights = (1.0, 0.0, 0.0),
    classes: Classes = "present",
    threshold: Share = 0.01,
    smooth: NonNegative = 1e-3,
    power: Positive = 1.0,
    log: bool = False,
    class_weights: PerClass | None = None,
) -> Tensor:
    """Soft Dice loss 1 - (2 Σp·y + s) / (Σp + Σy + s), or with Σp² + Σy² in the denominator; lower is better.

    With soft labels the plain form does not have its minimum at p = y: where y = ½ it is smaller at p = 1. It is the
    baseline that `dice_semimetric` corrects. The squared form has its minimum at p = y.

    Args:
        logits, target, valid: As in every loss, see `segloss.losses`.
        squared: Whether the terms of the denominator are squared, as in V-Net. Default: False, as in most libraries.
        level_weights, classes, threshold, power, log, class_weights: As in `tversky`.
        smooth: s, in pixels. Default 1e-3, MMSegmentation's.

    Returns:
        A scalar in [0, 1] without `log`.

    Raises:
        ValueError: invalid shapes, types or options.

    Reference: Milletari et al., "V-Net", 2016, https://arxiv.org/abs/1606.04797; Sudre et al., 2017,
        https://arxiv.org/abs/1707.03237
    """
    batch = Batch.read(logits, target, valid, dice.sums if squared else dice.sums - {"squares"})
    return region_loss(
        batch,
        batch.product,
        batch.predicted_squares if squared else batch.predicted,
        batch.true_squares if squared else batch.true,
        alpha=0.5,
        beta=0.5,
        level_weights=level_weights,
        classes=classes,
        threshold=threshold,
        smooth=smooth / 2,
        power=power,
        log=log,
        class_weights=class_weights,
    )


@register("SoftJaccardLoss", sums=["product", "predicted", "squares"])
def jaccard(
    logits: Tensor | Batch,
    target: Tensor | None,
    *,
    valid: Tensor | None = None,
    squared: bool = False,
    level_weights: Weights = (1.0, 0.0, 0.0),
    classes: Classes = "present",
    threshold: Share = 0.01,
    smooth: NonNegative = 1e-3,
    power: Positive = 1.0,
    log: bool = False,
    class_weights: PerClass | None = None,
) -> Tensor:
    """Soft Jaccard (IoU) loss 1 - (I + s) / (Σp + Σy - I + s) with I = Σp·y: `tversky` with α = β = 1; lower is better.

    With soft labels the plain form does not have its minimum at p = y; `jaccard_metric` and the squared form do.

    Args:
        logits, target, valid: As in every loss, see `segloss.losses`.
        squared: Whether the denominator is Σp² + Σy² - I, the Tanimoto form. Default: False.
        level_weights, classes, threshold, smooth, power, log, class_weights: As in `tversky`.

    Returns:
        A scalar in [0, 1] without `log`.

    Raises:
        ValueError: invalid shapes, types or options.

    Reference: Rahman and Wang, "Optimizing Intersection-Over-Union in Deep Neural Networks for Image Segmentation",
        2016, https://doi.org/10.1007/978-3-319-50835-1_22
    """
    batch = Batch.read(logits, target, valid, jaccard.sums if squared else jaccard.sums - {"squares"})
    return region_loss(
        batch,
        batch.product,
        batch.predicted_squares if squared else batch.predicted,
        batch.true_squares if squared else batch.true,
        alpha=1.0,
        beta=1.0,
        level_weights=level_weights,
        classes=classes,
        threshold=threshold,
        smooth=smooth,
        power=power,
        log=log,
        class_weights=class_weights,
    )


@register("GeneralizedDiceLoss", sums=["product", "predicted"])
def generalized_dice(
    logits: Tensor | Batch,
    target: Tensor | None,
    *,
    valid: Tensor | None = None,
    weight_type: Literal["square", "simple", "uniform"] = "square",
    smooth: NonNegative = 0.0,
    per_image: bool = False,
    class_weights: PerClass | None = None,
) -> Tensor:
    """Generalized Dice loss 1 - (2 Σ_c w_c Σp·y + s) / (Σ_c w_c (Σp + Σy) + s), w_c = 1 / (Σy)²; lower is better.

    The weights are scaled so that the rarest class has weight 1, which leaves the quotient unchanged. A class without
    true pixels, whose weight would be infinite, gets the weight of the rarest class that has some.

    Args:
        logits, target, valid: As in every loss, see `segloss.losses`.
        weight_type: w_c: ``"square"``, 1 / (Σy)²; ``"simple"``, 1 / Σy; ``"uniform"``, 1. Default: square.
        smooth: s, in pixels of the rarest class: with unscaled weights of 1 / pixels², as in other code, an s of 1e-5
            would outweigh all classes. Default 0.
        per_image: Whether the quotient is taken per image, then averaged over images with valid pixels; otherwise it
            is taken over the batch. Default: False.
        class_weights: Factors by which the w_c are multiplied. Default: 1 each.

    Returns:
        A scalar in [0, 1].

    Raises:
        ValueError: invalid shapes, types or options.

    Reference: Sudre et al., "Generalised Dice overlap as a deep learning loss function for highly unbalanced
        segmentations", 2017, https://arxiv.org/abs/1707.03237
    """
    batch = Batch.read(logits, target, valid, generalized_dice.sums)
    factors = None
    if class_weights is not None:
        factors = class_vector(class_weights, batch, "class_weights")
    sums = torch.stack([batch.product, batch.predicted + batch.true, batch.true])
    if not per_image:
        (sums,) = sum_over_processes(sums.sum(1))
        return _generalized_dice(sums, weight_type, smooth, factors)
    losses, images = sum_over_processes(
        _generalized_dice(sums, weight_type, smooth, factors).sum(), (batch.pixels > 0).sum().to(sums.dtype)
    )
    return losses / images.clamp_min(1)


EXPONENTS = {"square": 2, "simple": 1, "uniform": 0}


def _generalized_dice(sums: Tensor, weight_type: str, smooth: float, factors: Tensor | None) -> Tensor:
    """From Σp·y, Σp + Σy and Σy, (3, ..., C), to one loss each; 0 if no class occurs."""
    overlap, size, true = sums
    # A soft class of fewer than this many pixels in total counts as absent: the quotient's slope would overflow.
    least = torch.finfo(true.dtype).tiny / torch.finfo(true.dtype).eps
    occurs = true > least
    # Only the weights' ratios matter: with the rarest class at 1 the squares can neither overflow nor all underflow.
    rarest = torch.where(occurs, true, torch.inf).amin(-1, keepdim=True)
    ratio = torch.where(occurs, rarest / torch.where(occurs, true, 1), 1)
    weights = ratio.square() if weight_type == "square" else ratio.pow(EXPONENTS[weight_type])
    if factors is not None:
        weights = weights * factors
    difference, total = (weights * (size - 2 * overlap)).sum(-1), (weights * size).sum(-1) + smooth
    nothing = ~occurs.any(-1) | (total <= least)
    return torch.where(nothing, 0, difference) / torch.where(nothing, 1, total)
