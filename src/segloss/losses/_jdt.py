"""The Jaccard metric, Dice semimetric and compatible Tversky losses: region losses on Σ min(p, y)."""

from collections.abc import Sequence

from torch import Tensor

from segloss.losses._batch import Batch
from segloss.losses._catalogue import register
from segloss.losses._region import region_loss
from segloss.losses._weights import PerClass


@register("CompatibleTverskyLoss", sums=["minimum", "predicted"])
def compatible_tversky(
    logits: Tensor | Batch,
    target: Tensor | None,
    *,
    valid: Tensor | None = None,
    alpha: float = 0.3,
    beta: float = 0.7,
    level_weights: Sequence[float] = (1.0, 0.0, 0.0),
    classes: str = "present",
    threshold: float = 0.01,
    smooth: float = 1e-3,
    power: float = 1.0,
    log: bool = False,
    class_weights: PerClass | None = None,
) -> Tensor:
    """Compatible Tversky loss 1 - (tp + s) / (tp + α·fp + β·fn + s) with tp = Σ min(p, y)."""
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
    level_weights: Sequence[float] = (1.0, 0.0, 0.0),
    classes: str = "present",
    threshold: float = 0.01,
    smooth: float = 1e-3,
    power: float = 1.0,
    log: bool = False,
    class_weights: PerClass | None = None,
) -> Tensor:
    """Jaccard metric loss: `compatible_tversky` with α = β = 1."""
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
    level_weights: Sequence[float] = (1.0, 0.0, 0.0),
    classes: str = "present",
    threshold: float = 0.01,
    smooth: float = 1e-3,
    power: float = 1.0,
    log: bool = False,
    class_weights: PerClass | None = None,
) -> Tensor:
    """Dice semimetric loss: `compatible_tversky` with α = β = ½."""
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
