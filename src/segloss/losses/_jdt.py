"""The Jaccard metric, Dice semimetric and compatible Tversky losses: region losses on Σ min(p, y)."""

from torch import Tensor

from segloss.losses._batch import Batch
from segloss.losses._catalogue import register
from segloss.losses._region import region_loss
from segloss.options import Classes, NonNegative, PerClass, Positive, Share, Weights


@register("CompatibleTverskyLoss", sums=["minimum", "predicted"])
def compatible_tversky(
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
    """Compatible Tversky loss 1 - (tp + s) / (tp + α·fp + β·fn + s) with tp = Σ min(p, y); lower is better.

    fp = Σp - tp and fn = Σy - tp, so that on hard labels it is `tversky`; on soft labels it is 0 just where p = y.

    Args:
        logits: (B, C, *spatial), any float type.
        target: int64 class map (B, *spatial) or probabilities (B, C, *spatial).
        valid: bool (B, *spatial), or None: every pixel is valid.
        alpha: Weight of false positives, at least 0. Default .3, as in `tversky`.
        beta: Weight of false negatives, at least 0. Default .7, as in `tversky`.
        level_weights: Weights of the averages per data set (here: batch), image and class. Default: data set only.
        classes: ``"present"``, which the articles use on hard labels, ``"all"``, theirs on soft ones, or ``"agnostic"``
            (sums over classes before the quotient, for extreme imbalance). Default: present.
        threshold: A class is present in a soft target where its largest probability is above this. Default .01.
        smooth: s, in pixels. Default 1e-3, that of the authors' class; their configurations have 1.
        power: Exponent of each class's loss, above 0. Default 1.
        log: -log of the quotient instead of its difference from 1. Default: False.
        class_weights: Weights of the mean over classes. Default: 1 each.

    Returns:
        A scalar in [0, 1] without `log`.

    Raises:
        ValueError: shapes, types or options that do not fit.

    Reference: Wang et al., "Dice Semimetric Losses: Optimizing the Dice Score with Soft Labels", 2023,
        https://arxiv.org/abs/2303.16296; the levels: Wang et al., "Revisiting Evaluation Metrics for
        Semantic Segmentation", 2023, https://arxiv.org/abs/2310.19252
    """
    batch = Batch.read(logits, target, valid, compatible_tversky.sums)
    return region_loss(
        batch,
        batch.minimum,
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


@register("JaccardMetricLoss", sums=["minimum", "predicted"])
def jaccard_metric(
    logits: Tensor | Batch,
    target: Tensor | None,
    *,
    valid: Tensor | None = None,
    level_weights: Weights = (1.0, 0.0, 0.0),
    classes: Classes = "present",
    threshold: Share = 0.01,
    smooth: NonNegative = 1e-3,
    power: Positive = 1.0,
    log: bool = False,
    class_weights: PerClass | None = None,
) -> Tensor:
    """Jaccard metric loss 1 - (Σ min(p, y) + s) / (Σ max(p, y) + s); lower is better.

    Without s it is a metric of [0, 1]^n, the Jaccard (Soergel) distance; on hard labels it is `jaccard`, and on soft
    labels it is 0 just where p = y.

    Args:
        logits: (B, C, *spatial), any float type.
        target: int64 class map (B, *spatial) or probabilities (B, C, *spatial).
        valid: bool (B, *spatial), or None: every pixel is valid.
        level_weights: Weights of the averages per data set (here: batch), image and class. Default: data set only.
        classes: ``"present"``, which the articles use on hard labels, ``"all"``, theirs on soft ones, or ``"agnostic"``
            (sums over classes before the quotient, for extreme imbalance). Default: present.
        threshold: A class is present in a soft target where its largest probability is above this. Default .01.
        smooth: s, in pixels. Default 1e-3, that of the authors' class; their configurations have 1.
        power: Exponent of each class's loss, above 0. Default 1.
        log: -log of the quotient instead of its difference from 1. Default: False.
        class_weights: Weights of the mean over classes. Default: 1 each.

    Returns:
        A scalar in [0, 1] without `log`.

    Raises:
        ValueError: shapes, types or options that do not fit.

    Reference: Wang et al., "Jaccard Metric Losses: Optimizing the Jaccard Index with Soft Labels", 2023,
        https://arxiv.org/abs/2302.05666; the levels: Wang et al., "Revisiting Evaluation Metrics for
        Semantic Segmentation", 2023, https://arxiv.org/abs/2310.19252
    """
    return compatible_tversky(
        logits,
        target,
        valid=valid,
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


@register("DiceSemimetricLoss", sums=["minimum", "predicted"])
def dice_semimetric(
    logits: Tensor | Batch,
    target: Tensor | None,
    *,
    valid: Tensor | None = None,
    level_weights: Weights = (1.0, 0.0, 0.0),
    classes: Classes = "present",
    threshold: Share = 0.01,
    smooth: NonNegative = 1e-3,
    power: Positive = 1.0,
    log: bool = False,
    class_weights: PerClass | None = None,
) -> Tensor:
    """Dice semimetric loss 1 - (tp + s) / (tp + ½·fp + ½·fn + s) with tp = Σ min(p, y); lower is better.

    Without s it is 1 - 2 Σ min(p, y) / (Σp + Σy), a metric but for the triangle inequality; on hard labels it is `dice`
    (with half its smooth), and on soft labels it is 0 just where p = y.

    Args:
        logits: (B, C, *spatial), any float type.
        target: int64 class map (B, *spatial) or probabilities (B, C, *spatial).
        valid: bool (B, *spatial), or None: every pixel is valid.
        level_weights: Weights of the averages per data set (here: batch), image and class. Default: data set only.
        classes: ``"present"``, which the articles use on hard labels, ``"all"``, theirs on soft ones, or ``"agnostic"``
            (sums over classes before the quotient, for extreme imbalance). Default: present.
        threshold: A class is present in a soft target where its largest probability is above this. Default .01.
        smooth: s, in pixels. Default 1e-3, that of the authors' class; their configurations have 1.
        power: Exponent of each class's loss, above 0. Default 1.
        log: -log of the quotient instead of its difference from 1. Default: False.
        class_weights: Weights of the mean over classes. Default: 1 each.

    Returns:
        A scalar in [0, 1] without `log`.

    Raises:
        ValueError: shapes, types or options that do not fit.

    Reference: Wang et al., "Dice Semimetric Losses: Optimizing the Dice Score with Soft Labels", 2023,
        https://arxiv.org/abs/2303.16296; the levels: Wang et al., "Revisiting Evaluation Metrics for
        Semantic Segmentation", 2023, https://arxiv.org/abs/2310.19252
    """
    return compatible_tversky(
        logits,
        target,
        valid=valid,
        alpha=0.5,
        beta=0.5,
        level_weights=level_weights,
        classes=classes,
        threshold=threshold,
        smooth=smooth,
        power=power,
        log=log,
        class_weights=class_weights,
    )
