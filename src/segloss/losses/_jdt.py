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
    classes: Classes | None = None,
    threshold: Share = 0.01,
    smooth: NonNegative = 1e-3,
    power: Positive = 1.0,
    log: bool = False,
    class_weights: PerClass | None = None,
) -> Tensor:
    """Compatible Tversky loss 1 - (tp + s) / (tp + α·fp + β·fn + s) with tp = Σ min(p, y); lower is better.

    fp = Σp - tp and fn = Σy - tp, so on hard labels it equals `tversky`; on soft labels it is 0 exactly where p = y.

    Args:
        logits, target, valid: As in every loss, see `segloss.losses`.
        alpha: Weight of false positives, at least 0. Default .3, as in `tversky`.
        beta: Weight of false negatives, at least 0. Default .7, as in `tversky`.
        classes: The classes averaged over, as in `tversky`: ``"present"``, ``"all"`` or ``"agnostic"``. Default
            None: as in the authors' code, present for a class map and all for probabilities, where a class without any
            mass is evidence too.
        smooth: s, in pixels. Default 1e-3, that of the authors' class; their configurations have 1.
        level_weights, threshold, power, log, class_weights: As in `tversky`.

    Returns:
        A scalar in [0, 1] without `log`.

    Raises:
        ValueError: invalid shapes, types or options.

    Reference: Wang et al., "Dice Semimetric Losses: Optimizing the Dice Score with Soft Labels", 2023,
        https://arxiv.org/abs/2303.16296; the levels: Wang et al., "Revisiting Evaluation Metrics for
        Semantic Segmentation", 2023, https://arxiv.org/abs/2310.19252
    """
    batch = Batch.read(logits, target, valid, compatible_tversky.sums)
    if classes is None:
        classes = "all" if batch.soft else "present"
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
    classes: Classes | None = None,
    threshold: Share = 0.01,
    smooth: NonNegative = 1e-3,
    power: Positive = 1.0,
    log: bool = False,
    class_weights: PerClass | None = None,
) -> Tensor:
    """Jaccard metric loss 1 - (Σ min(p, y) + s) / (Σ max(p, y) + s); lower is better.

    Without s it is a metric on [0, 1]^n, the Jaccard (Soergel) distance; on hard labels it equals `jaccard`, and on
    soft labels it is 0 exactly where p = y.

    Args:
        logits, target, valid: As in every loss, see `segloss.losses`.
        classes, smooth: As in `compatible_tversky`. Default: present for a class map, all for probabilities; 1e-3.
        level_weights, threshold, power, log, class_weights: As in `tversky`.

    Returns:
        A scalar in [0, 1] without `log`.

    Raises:
        ValueError: invalid shapes, types or options.

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
    classes: Classes | None = None,
    threshold: Share = 0.01,
    smooth: NonNegative = 1e-3,
    power: Positive = 1.0,
    log: bool = False,
    class_weights: PerClass | None = None,
) -> Tensor:
    """Dice semimetric loss 1 - (tp + s) / (tp + ½·fp + ½·fn + s) with tp = Σ min(p, y); lower is better.

    Without s it is 1 - 2 Σ min(p, y) / (Σp + Σy), a metric except for the triangle inequality; on hard labels it equals
    `dice` (with half its smooth), and on soft labels it is 0 exactly where p = y.

    Args:
        logits, target, valid: As in every loss, see `segloss.losses`.
        classes, smooth: As in `compatible_tversky`. Default: present for a class map, all for probabilities; 1e-3.
        level_weights, threshold, power, log, class_weights: As in `tversky`.

    Returns:
        A scalar in [0, 1] without `log`.

    Raises:
        ValueError: invalid shapes, types or options.

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
