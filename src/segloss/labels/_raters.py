"""Targets made from several raters' class maps of the same image."""

import torch
from torch import Tensor

from segloss.labels._catalogue import register, without_void
from segloss.options import ClassId


@register(source="raters")
def rater_mean(labels: Tensor, valid: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """The share of raters that chose each class, among those that labelled the pixel.

    Args:
        labels, valid, num_classes: As in every scenario, see `segloss.labels`.

    Returns:
        float32 (B, C, *spatial), arbitrary but finite at void pixels, and bool (B, *spatial): whether any rater
        labelled the pixel.
    """
    # Votes are small integers: their sums are exact in float32, in whatever order a GPU adds them.
    votes = _votes(without_void(labels, valid, num_classes), valid.to(torch.float32), num_classes)
    return votes / votes.sum(1, keepdim=True).clamp_min(1), valid.any(1)


@register(source="raters", soft_targets=False)
def majority(labels: Tensor, valid: Tensor, num_classes: int, *, tie_is_void: bool = False) -> tuple[Tensor, Tensor]:
    """The class most raters chose, as a hard label.

    Args:
        labels, valid, num_classes: As in every scenario, see `segloss.labels`.
        tie_is_void: Whether a pixel where several classes have the most votes becomes void; if not, the lowest of
            these classes wins.

    Returns:
        int64 (B, *spatial), and bool (B, *spatial): whether any rater labelled the pixel, excluding void ties.
    """
    votes = _votes(without_void(labels, valid, num_classes), valid.to(torch.float32), num_classes)
    target, kept = votes.argmax(1), valid.any(1)  # argmax takes the first, that is the lowest, of equal classes
    if tie_is_void:
        kept = kept & ((votes == votes.amax(1, keepdim=True)).sum(1) == 1)
    return target, kept


@register(source="raters", needs=("rater_weights",))
def dice_weighted_raters(
    labels: Tensor,
    valid: Tensor,
    num_classes: int,
    *,
    background: ClassId | None = 0,
    rater_weights: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The raters' mean, each weighted by the Dice of that rater's map with the majority; see `dice_rater_weights`.

    Args:
        labels, valid, num_classes: As in every scenario, see `segloss.labels`.
        background: As in `dice_rater_weights`.
        rater_weights: float (B, R), the weights measured on whole images, as in the reference. Default None: measured
            on the labels given here, which in training are a crop.

    Returns:
        float32 (B, C, *spatial), arbitrary but finite at void pixels, and bool (B, *spatial): whether any rater
        labelled the pixel.

    Raises:
        ValueError: background is neither None nor a class id, or the weights have another type or shape.

    Reference: Wang et al., Dice Semimetric Losses, 2023, https://arxiv.org/abs/2303.16296
    """
    if rater_weights is None:
        rater_weights = dice_rater_weights(labels, valid, num_classes, background=background)
    elif rater_weights.shape != labels.shape[:2] or not rater_weights.is_floating_point():
        raise ValueError(
            f"Expected float rater_weights of shape {tuple(labels.shape[:2])}, got {rater_weights.dtype} of shape "
            f"{tuple(rater_weights.shape)}."
        )
    labels = without_void(labels, valid, num_classes)
    weights = rater_weights.float().view(*labels.shape[:2], *[1] * (labels.ndim - 2))
    votes = _votes(labels, weights * valid, num_classes)
    return votes / votes.sum(1, keepdim=True).clamp_min(torch.finfo(votes.dtype).tiny), valid.any(1)


@register(source="raters", needs=("draws",), soft_targets=False)
def random_rater(labels: Tensor, valid: Tensor, num_classes: int, *, draws: Tensor) -> tuple[Tensor, Tensor]:
    """The whole map of one rater, drawn anew for every image and visit among those who labelled it.

    The function draws no random numbers: ``draws`` must come from the seed of the visit (sample and epoch), as the
    augmentation's numbers do. Then neither the batch an image falls into, nor the number of workers, nor the device,
    nor an interruption changes which rater is taken.

    Args:
        labels, valid, num_classes: As in every scenario, see `segloss.labels`.
        draws: One uniform number in [0, 1) per image, any float type (B,): u selects the floor(u n)-th of the n raters
            with any label in this image.

    Returns:
        int64 (B, *spatial), with class 0 at void pixels, and bool (B, *spatial): where this rater has a label.

    Raises:
        ValueError: draws is not a float tensor (B,).
    """
    labels = without_void(labels, valid, num_classes)
    if not draws.is_floating_point() or draws.shape != labels.shape[:1]:
        raise ValueError(
            f"Expected draws of one float in [0, 1) per image, shape ({labels.shape[0]},), got {draws.dtype} of shape "
            f"{tuple(draws.shape)}."
        )
    present = valid.reshape(*valid.shape[:2], valid.shape[2:].numel()).any(2)
    # Rounding must not take u n up to n; with no rater present the first is taken, all void.
    place = torch.minimum((draws.double() * present.sum(1)).long(), present.sum(1) - 1).clamp_min(0)
    rater = (present.cumsum(1) > place.unsqueeze(1)).long().argmax(1)
    image = torch.arange(labels.shape[0], device=labels.device)
    return labels[image, rater], valid[image, rater]


def dice_rater_weights(labels: Tensor, valid: Tensor, num_classes: int, *, background: int | None = 0) -> Tensor:
    """Weight of each rater: the Dice of that rater's map with the majority of all, and 1 without any overlap.

    The Dice is the mean of 2 |both| / (|rater| + |majority|) over the classes that occur in the rater's map or in the
    majority, counted over the pixels this rater labelled. A rater who shares no pixel with the majority gets weight 1,
    as in the authors' code: by Dice alone, a lesion that only one of several raters saw would vanish from the target.

    Args:
        labels, valid, num_classes: As in every scenario, see `segloss.labels`; of whole images, if the weights are to
            be those of the reference.
        background: Class left out of the Dice, since a large background makes all raters look similar. Default 0; None:
            every class counts.

    Returns:
        float32 (B, R), above 0 and at most 1.

    Raises:
        ValueError: background is neither None nor a class id.

    Reference: Wang et al., Dice Semimetric Losses, 2023, https://arxiv.org/abs/2303.16296
    """
    if background is not None and not 0 <= background < num_classes:
        raise ValueError(f"Expected background to be None or a class id from 0 to {num_classes - 1}, got {background}.")
    chosen, _ = majority(labels, valid, num_classes)
    labels = without_void(labels, valid, num_classes)
    dice = _dice(labels, chosen.unsqueeze(1).expand_as(labels), valid, num_classes, background)
    return torch.where(dice > 0, dice, 1.0)


def _dice(labels: Tensor, chosen: Tensor, valid: Tensor, num_classes: int, background: int | None) -> Tensor:
    """Mean Dice (B, R) of two maps (B, R, *spatial) over the classes occurring in either, 1 where none does."""

    def pixels_per_class(maps: Tensor, where: Tensor) -> Tensor:
        counts = torch.zeros(*maps.shape[:2], num_classes, dtype=torch.int64, device=maps.device)
        return counts.scatter_add_(2, maps.flatten(2), where.flatten(2).long())

    labels, chosen, valid = (maps.reshape(*maps.shape[:2], maps.shape[2:].numel()) for maps in (labels, chosen, valid))
    both = pixels_per_class(labels, valid & (labels == chosen))
    either = pixels_per_class(labels, valid) + pixels_per_class(chosen, valid)
    occurs = either > 0
    if background is not None:
        occurs[:, :, background] = False
    dice = (2.0 * both / either.clamp_min(1) * occurs).sum(2) / occurs.sum(2).clamp_min(1)
    return torch.where(occurs.any(2), dice, 1.0)


def _votes(labels: Tensor, weights: Tensor, num_classes: int) -> Tensor:
    """Sum of ``weights`` (B, R, *spatial) per chosen class: (B, C, *spatial), without building a one-hot map."""
    votes = weights.new_zeros(labels.shape[0], num_classes, *labels.shape[2:])
    return votes.scatter_add_(1, labels, weights)
