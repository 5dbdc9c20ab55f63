"""The Lovász losses, exact: softmax for all classes at once, hinge for one foreground."""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.distributed
from torch import Tensor
from torch.autograd.function import once_differentiable

from segloss.losses._all_reduce import gather_pixels, mean_over_processes, sum_over_processes
from segloss.losses._batch import Batch
from segloss.losses._catalogue import register
from segloss.losses._flags import exchange_on
from segloss.losses._sort import sort_within_rows
from segloss.losses._sums import LEAST, slices
from segloss.losses._weights import class_vector
from segloss.options import ClassId, PerClass


@register("LovaszSoftmaxLoss", soft_targets=False)
def lovasz_softmax(
    logits: Tensor | Batch,
    target: Tensor | None,
    *,
    valid: Tensor | None = None,
    per_image: bool = False,
    classes: Literal["present", "all"] | Sequence[ClassId] = "present",
    class_weights: PerClass | None = None,
) -> Tensor:
    """Lovász-softmax loss: for each class the Lovász extension of its Jaccard loss, at the errors |[y = c] - p_c|.

    With a class's errors sorted, e_(1) ≥ e_(2) ≥ ..., it is Σ_i e_(i) (J_i - J_(i-1)), J_i being the Jaccard loss if
    the first i pixels, and no others, were predicted wrong; then the mean over classes. Lower is better.

    In several processes the batch-wide form gathers every process's errors, as the order is that of all pixels; per
    image two numbers are exchanged.

    Args:
        logits, target, valid: As in every loss, see `segloss.losses`; the target a class map.
        per_image: Sort each image on its own, then average over the images in which a class counts. Default: False, the
            whole batch as one image, as in the authors' code.
        classes: ``"present"``: the mean over the classes that occur; ``"all"``; or a list of class ids. Default:
            present, the authors'.
        class_weights: Weights of the mean over classes. Default: 1 each.

    Returns:
        A scalar in [0, 1].

    Raises:
        ValueError: target probabilities, shapes, types or options that do not fit.

    Reference: Berman et al., "The Lovász-Softmax loss", 2018, https://arxiv.org/abs/1705.08790
    """
    batch = Batch.read(logits, target, valid, lovasz_softmax.sums)
    if batch.soft:
        raise ValueError(
            "Expected an int64 class map, got target probabilities: the Lovász extension is that of a set function, "
            "the Jaccard loss of a set of mispredicted pixels, and a soft target has no such set; use jaccard_metric."
        )
    weights = None
    if class_weights is not None:
        weights = class_vector(class_weights, batch.logits, batch.classes, "class_weights")
    if not isinstance(classes, str):
        if not classes or max(classes) >= batch.classes:
            raise ValueError(f"Expected classes from 0 to {batch.classes - 1}, at least one of them, got {classes!r}.")
        chosen = batch.logits.new_zeros(batch.classes)
        chosen[list(classes)] = 1
        weights = chosen if weights is None else chosen * weights
    together = exchange_on() and not per_image
    losses, images = _Lovasz.apply(
        batch.logits, batch.index, batch.valid, weights, per_image, classes != "present", together
    )
    if per_image:
        losses, images = sum_over_processes(losses, images)
    return losses / images.clamp_min(1)


class _Lovasz(torch.autograd.Function):
    """Sum over images (or of the one that is the whole batch) of the mean loss of its classes, and how many have any.

    The loss is linear in the errors once their order is known, so its gradient is found together with its value, and
    only the gradient is kept.
    """

    @staticmethod
    def forward(ctx, logits, target, valid, weights, per_image: bool, all_classes: bool, together: bool):
        images, classes, pixels = logits.shape
        rows = torch.log_softmax(logits, 1).exp_()
        if not per_image:
            # Classes become the rows to sort, the pixels of all images their columns.
            rows, target = rows.movedim(1, 0).reshape(1, classes, images * pixels), target.reshape(1, images * pixels)
            valid = None if valid is None else valid.reshape(1, images * pixels)
        # The errors |[y = c] - p_c|, negative where y = c (also -0.), NaN where void.
        errors, index = rows.clone(), target[:, None]
        errors.scatter_(1, index, -(1 - errors.gather(1, index)))  # p - 1 would lose the sign at p = 1
        if valid is not None:
            errors.masked_fill_(~valid[:, None], torch.nan)
        first, all_errors, all_targets = 0, errors, target
        if together:
            all_errors, all_targets, first = gather_pixels(errors, target)
        total, images_that_count, slopes = _rows(all_errors, all_targets, weights, all_classes)
        slopes = slopes[..., first : first + errors.shape[-1]]
        if together:
            slopes = slopes * torch.distributed.get_world_size()  # see _SumOverProcesses
        slopes.scatter_(1, index, -slopes.gather(1, index))  # of 1 - p_y
        slopes *= rows
        slopes.addcmul_(rows, slopes.sum(1, keepdim=True), value=-1)
        if not per_image:
            slopes = slopes.view(classes, images, pixels).movedim(0, 1)
        ctx.save_for_backward(slopes)
        ctx.mark_non_differentiable(images_that_count)
        return total, images_that_count

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient, _):
        (slopes,) = ctx.saved_tensors
        return slopes * gradient, *[None] * 6


def _rows(errors: Tensor, target: Tensor, weights: Tensor | None, all_classes: bool) -> tuple[Tensor, Tensor, Tensor]:
    """From signed errors (images, C, N): the sum over images of the mean loss over classes, how many images have any
    class to count, and the sum's slope by each error's size.
    """
    images, classes, pixels = errors.shape
    error_of_target = errors.gather(1, target[:, None])[:, 0].abs()
    # Counted in integers: float32 stops counting at 2^24 pixels.
    true = torch.zeros(images, classes, dtype=torch.int64, device=errors.device).scatter_add_(
        1, target, (error_of_target >= 0).long()
    )
    # A pixel of another class with an error below that of every pixel of this class changes nothing: the Jaccard loss
    # is 1 already. That leaves few to sort. A class without pixels jumps to 1 at its largest error.
    threshold = torch.full_like(true, torch.inf, dtype=errors.dtype)
    threshold.scatter_reduce_(1, target, error_of_target.nan_to_num(torch.inf), "amin")
    counted = (true > 0).to(errors.dtype)
    if all_classes:
        threshold = torch.where(true > 0, threshold, torch.nn.functional.pad(errors.nan_to_num(0), (0, 1)).amax(-1))
        counted = counted.amax(1, keepdim=True).expand_as(counted)
    if weights is None:
        share = counted / counted.sum(1, keepdim=True).clamp_min(1)
    else:
        share = counted * weights
        total_weight = share.sum(1, keepdim=True)
        share = share / torch.where(total_weight > 0, total_weight, 1)
        counted = (share > 0).to(errors.dtype)

    true, share, flat = true.flatten(), share.flatten(), errors.reshape(-1)
    total = errors.new_zeros((), dtype=torch.float64)
    slopes = torch.zeros_like(flat)
    for part in slices(images * classes, pixels):
        span = slice(part.start * pixels, part.stop * pixels)
        kept = errors.flatten(0, 1)[part].abs() >= threshold.view(-1, 1)[part]
        row, column = kept.nonzero(as_tuple=True)
        values = flat[span].take(row * pixels + column)
        values, column, hit = sort_within_rows(values, row, column, pixels)
        weights = _increments(hit, row, true[part], values.dtype) * share[part].take(row)
        total += (weights * values).sum(dtype=torch.float64)
        slopes[span].scatter_(0, row * pixels + column, weights)
    return total.to(errors.dtype), counted.amax(1).sum(), slopes.view_as(errors)


def _increments(hit: Tensor, row: Tensor, true: Tensor, dtype: torch.dtype) -> Tensor:
    """J_i - J_(i-1) of errors sorted within their rows, for each whether it is of the row's class.

    With P true pixels in the row, and f of them and b others among the first i, J_i = 1 - (P - f) / (P + b). A true
    pixel adds 1 / (P + b), another one (P - f) / ((P + b - 1) (P + b)): as quotients, where differences would cancel.
    """
    length = torch.zeros_like(true).scatter_add_(0, row, torch.ones_like(row))
    rank = torch.arange(1, len(row) + 1, device=row.device) - (length.cumsum(0) - length).take(row)
    # All true pixels are among those kept, so each row's count of them starts where the true pixels before it end.
    hits = hit.cumsum(0) - (true.cumsum(0) - true).take(row)
    size = true.take(row)
    union = size + (rank - hits)
    other = (size - hits).to(dtype) / (union * (union - 1)).clamp_min(1)
    alone = (size == 0) & (rank == 1)
    return torch.where(hit, 1 / union.to(dtype), torch.where(alone, 1, other))


@register("LovaszHingeLoss", soft_targets=False)
def lovasz_hinge(
    logits: Tensor | Batch,
    target: Tensor | None,
    *,
    valid: Tensor | None = None,
    foreground_channel: bool = False,
    per_image: bool = False,
    classes: Literal["present", "all"] = "all",
    class_weights: PerClass | None = None,
) -> Tensor:
    """Lovász hinge loss, each class against the rest: the Lovász extension of its Jaccard loss at max(0, 1 - s·z_c).

    s is 1 on the class and -1 elsewhere; the mean is over classes. It was made for one foreground, with one channel of
    logits. Lower is better. In several processes as in `lovasz_softmax`.

    Args:
        logits, target, valid: As in every loss, see `segloss.losses`; (B, 1, *spatial) with `foreground_channel`; the
            target a class map.
        foreground_channel: The logits have one channel, the foreground, class 1 of a class map of 0 and 1. Default:
            False: one channel per class.
        per_image: As in `lovasz_softmax`. Default: False.
        classes: ``"all"``, or ``"present"``: those that occur. Default: all, so that an image without foreground pays
            for its largest error, as in the authors' code.
        class_weights: Weights of the mean over classes. Default: 1 each.

    Returns:
        A scalar in [0, ∞).

    Raises:
        ValueError: target probabilities, shapes, types or options that do not fit.

    Reference: Yu and Blaschko, "The Lovász Hinge", 2015, https://arxiv.org/abs/1512.07797; Berman et al., 2018,
        https://arxiv.org/abs/1705.08790
    """
    batch = Batch.read(logits, target, valid, (), foreground_channel=foreground_channel)
    if batch.soft and not foreground_channel:
        raise ValueError("Expected an int64 class map, got target probabilities; use jaccard_metric.")
    index = batch.valid_target[:, 0].long() - 1 if batch.soft else batch.index  # the foreground is channel 0
    valid = torch.ones_like(index, dtype=torch.bool) if batch.valid is None else batch.valid
    weights = batch.logits.new_ones(batch.classes)
    if class_weights is not None:
        weights = class_vector(class_weights, batch.logits, batch.classes, "class_weights")
    together = exchange_on() and not per_image
    total, images = _LovaszHinge.apply(batch.logits, index, valid, weights, per_image, classes == "present", together)
    return mean_over_processes(total, images) if per_image else total / images.clamp_min(1)


class _LovaszHinge(torch.autograd.Function):
    """As `_Lovasz`, for errors max(0, 1 - s·z); only the gradient is kept."""

    @staticmethod
    def forward(ctx, logits, index, valid, weights, per_image: bool, only_present: bool, together: bool):
        images, classes, pixels = logits.shape
        z = logits
        if not per_image:
            z = z.movedim(1, 0).reshape(1, classes, images * pixels)
            index, valid = index.reshape(1, images * pixels), valid.reshape(1, images * pixels)
        is_class = _is_class(index, classes)
        # Errors beyond the type are cut off: their sum stays finite. Void errors are no numbers, and sorted last.
        errors = (1 - torch.where(is_class, z, -z)).clamp_(LEAST, -LEAST).masked_fill_(~valid[:, None], torch.nan)
        first, all_errors, all_index = 0, errors, index
        if together:
            all_errors, all_index, first = gather_pixels(errors, index)
        known = ~all_errors.isnan()
        hit = _is_class(all_index, classes) & known
        share = weights * (hit if only_present else known).any(-1)
        total_weight = share.sum(1, keepdim=True)
        share = share / torch.where(total_weight > 0, total_weight, 1)
        slopes = _hinge_increments(all_errors, hit) * share[..., None]
        slopes *= all_errors > 0
        total = (slopes * torch.where(known, all_errors, 0)).sum(dtype=torch.float64).to(logits.dtype)
        slopes = slopes[..., first : first + errors.shape[-1]]
        if together:
            slopes = slopes * torch.distributed.get_world_size()  # see _SumOverProcesses
        slopes = torch.where(is_class, -slopes, slopes)
        if not per_image:
            slopes = slopes.view(classes, images, pixels).movedim(0, 1)
        ctx.save_for_backward(slopes)
        counted = (total_weight > 0).sum().to(logits.dtype)
        ctx.mark_non_differentiable(counted)
        return total, counted

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient, _):
        (slopes,) = ctx.saved_tensors
        return slopes * gradient, *[None] * 6


def _is_class(index: Tensor, classes: int) -> Tensor:
    """Whether a pixel is of a class, (B, C, N) from (B, N)."""
    return index[:, None] == torch.arange(classes, device=index.device)[:, None]


def _hinge_increments(errors: Tensor, hit: Tensor) -> Tensor:
    """J_i - J_(i-1) at each pixel's place in the order of its row's errors, (B, C, N); 0 where the error is NaN."""
    void = errors.isnan()
    order = errors.masked_fill(void, -torch.inf).argsort(dim=-1, descending=True, stable=True)
    counted, hit = ~void.gather(-1, order), hit.gather(-1, order)
    true = hit.sum(-1, keepdim=True)
    hits, others = hit.cumsum(-1), (counted & ~hit).cumsum(-1)
    union = true + others
    other = (true - hits).to(errors.dtype) / (union * (union - 1)).clamp_min(1)
    alone = (true == 0) & (others == 1)
    increments = torch.where(hit, 1 / union.clamp_min(1).to(errors.dtype), torch.where(alone, 1, other))
    return torch.zeros_like(errors).scatter_(-1, order, torch.where(counted, increments, 0))
