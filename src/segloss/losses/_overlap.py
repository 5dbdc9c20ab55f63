"""Region losses on the product overlap Σ p·y: Dice."""

from collections.abc import Sequence

from torch import Tensor

from segloss.losses._batch import Batch
from segloss.losses._catalogue import register
from segloss.losses._region import region_loss
from segloss.losses._weights import ClassWeights


@register("SoftDiceLoss")
def dice(
    logits: Tensor | Batch,
    target: Tensor | None,
    *,
    valid: Tensor | None = None,
    squared: bool = False,
    level_weights: Sequence[float] = (1.0, 0.0, 0.0),
    classes: str = "present",
    threshold: float = 0.01,
    smooth: float = 1e-3,
    power: float = 1.0,
    log: bool = False,
    class_weights: ClassWeights = None,
) -> Tensor:
    """Soft Dice loss 1 - (2 Σp·y + s) / (Σp + Σy + s), or with Σp² + Σy² below."""
    batch = Batch.read(logits, target, valid)
    return region_loss(
        batch,
        batch.product,
        batch.predicted_squares if squared else batch.predicted,
        batch.true_squares if squared else batch.true,
        alpha=0.5,
        beta=0.5,
        smooth=smooth / 2,
        level_weights=level_weights,
        classes=classes,
        threshold=threshold,
        power=power,
        log=log,
        class_weights=class_weights,
    )
