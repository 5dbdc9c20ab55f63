"""The cores of the Lovász losses: both are linear in their errors once the errors are sorted."""

import torch
import torch.distributed
from torch import Tensor
from torch.autograd.function import once_differentiable

from segloss.losses._all_reduce import gather_pixels
from segloss.losses._sort import sort_within_rows
from segloss.losses._sums import LEAST, slices


class LovaszSoftmax(torch.autograd.Function):
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
    images, classes, _ = errors.shape
    error_of_target = errors.gather(1, target[:, None])[:, 0].abs()
    # Counted in integers: float32 stops counting at 2^24 pixels.
    true = torch.zeros(images, classes, dtype=torch.int64, device=errors.device).scatter_add_(
        1, target, (error_of_target >= 0).long()
    )
    counted = (true > 0).to(errors.dtype)
    if all_classes:
        counted = counted.amax(1, keepdim=True).expand_as(counted)
    if weights is None:
        share = counted / counted.sum(1, keepdim=True).clamp_min(1)
    else:
        share = counted * weights
        total_weight = share.sum(1, keepdim=True)
        share = share / torch.where(total_weight > 0, total_weight, 1)
        counted = (share > 0).to(errors.dtype)
    if torch.compiler.is_compiling():
        total, slopes = _all_sorted(errors, target, share)
    else:
        total, slopes = _few_sorted(errors, target, error_of_target, true, share, all_classes)
    return total.to(errors.dtype), counted.amax(1).sum(), slopes


def _all_sorted(errors: Tensor, target: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """The sum of share·loss and its slopes, by sorting all errors: with shapes that a compiler knows in advance."""
    sizes = errors.abs()
    increments = _increments_at_pixels(sizes, _is_class(target, errors.shape[1]) & ~errors.isnan()) * share[..., None]
    return (increments * sizes.nan_to_num(0)).sum(dtype=torch.float64), increments


def _few_sorted(
    errors: Tensor, target: Tensor, error_of_target: Tensor, true: Tensor, share: Tensor, all_classes: bool
) -> tuple[Tensor, Tensor]:
    """The sum of share·loss and its slopes, by sorting the errors that matter."""
    images, classes, pixels = errors.shape
    # A pixel of another class with an error below that of every pixel of this class changes nothing: the Jaccard loss
    # is 1 already. That leaves few to sort. A class without pixels jumps to 1 at its largest error.
    threshold = torch.full_like(true, torch.inf, dtype=errors.dtype)
    threshold.scatter_reduce_(1, target, error_of_target.nan_to_num(torch.inf), "amin")
    if all_classes:
        threshold = torch.where(true > 0, threshold, torch.nn.functional.pad(errors.nan_to_num(0), (0, 1)).amax(-1))
    # Classes without a share are not sorted at all.
    threshold, true = torch.where(share > 0, threshold, torch.inf), torch.where(share > 0, true, 0)
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
    return total, slopes.view_as(errors)


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


class LovaszHinge(torch.autograd.Function):
    """As `LovaszSoftmax`, for errors max(0, 1 - s·z); only the gradient is kept."""

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
        slopes = _increments_at_pixels(all_errors, hit) * share[..., None]
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


def _increments_at_pixels(errors: Tensor, hit: Tensor) -> Tensor:
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
