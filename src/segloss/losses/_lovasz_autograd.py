"""The cores of the Lovász losses: both are linear in their errors once the errors are sorted."""

import torch
import torch.distributed
from torch import Tensor
from torch.autograd.function import once_differentiable

from segloss.losses._all_reduce import gather_pixels
from segloss.losses._sort import descending_order, sort_within_rows
from segloss.losses._sums import BITS, LEAST, slices

CACHED = 1 << 18  # elements of the rows that are sorted at once


class LovaszSoftmax(torch.autograd.Function):
    """Sum over images (or the batch as one) of the mean loss over classes, and the number of images with any class.

    The loss is linear in the errors once their order is known, so its gradient is computed together with its value, and
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
        index = target[:, None]
        error_of_target = 1 - rows.gather(1, index)
        if valid is not None:
            error_of_target.masked_fill_(~valid[:, None], torch.nan)
        # The errors |[y = c] - p_c|, negative where y = c (also -0., so not p - 1), NaN where void.
        errors = rows.clone() if valid is None else _nan_where_void(rows, valid)
        errors.scatter_(1, index, -error_of_target)
        first, all_errors, all_targets = 0, errors, target
        if together:
            all_errors, all_targets, first = gather_pixels(errors, target)
            error_of_target = all_errors.gather(1, all_targets[:, None]).abs()
        total, images_that_count, slopes = _rows(all_errors, all_targets, error_of_target[:, 0], weights, all_classes)
        slopes = slopes[..., first : first + errors.shape[-1]]
        if together:
            slopes = slopes * torch.distributed.get_world_size()  # see _SumOverProcesses
        slopes.scatter_(1, index, -slopes.gather(1, index))  # the target's error is 1 - p_y
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


def _nan_where_void(rows: Tensor, valid: Tensor) -> Tensor:
    """A copy of (images, C, N) with NaN where void, set on the bits: torch.where takes several times as long."""
    bits = BITS[rows.dtype]
    nan = torch.full((), torch.nan, dtype=rows.dtype, device=rows.device).view(bits)
    return (rows.view(bits) | torch.where(valid, 0, nan)[:, None]).view(rows.dtype)


def _rows(
    errors: Tensor, target: Tensor, error_of_target: Tensor, weights: Tensor | None, all_classes: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """From signed errors (images, C, N), which may be overwritten, and the magnitudes of those with y = c (images, N):
    the sum over images of the mean loss over classes, the number of images with any class that counts, and the
    derivative of the sum with respect to each error's magnitude.
    """
    images, classes, _ = errors.shape
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
    """The sum of share·loss and its slopes, by sorting all errors, with shapes known at compile time."""
    sizes = errors.abs()
    increments = _increments_at_pixels(sizes, _is_class(target, errors.shape[1]) & ~errors.isnan()) * share[..., None]
    return (increments * sizes.nan_to_num(0)).sum(dtype=torch.float64), increments


def _few_sorted(
    errors: Tensor, target: Tensor, error_of_target: Tensor, true: Tensor, share: Tensor, all_classes: bool
) -> tuple[Tensor, Tensor]:
    """The sum of share·loss and its slopes, by sorting the errors that matter."""
    images, classes, pixels = errors.shape
    # A pixel of another class with an error below that of every pixel of this class changes nothing: the Jaccard loss
    # is already 1. That leaves few to sort. The Jaccard loss of a class without pixels jumps to 1 at its largest error.
    threshold = torch.full_like(true, torch.inf, dtype=errors.dtype)
    threshold.scatter_reduce_(1, target, error_of_target.nan_to_num(torch.inf), "amin")
    if all_classes:
        threshold = torch.where(true > 0, threshold, torch.nn.functional.pad(errors.nan_to_num(0), (0, 1)).amax(-1))
    # Classes without a share are not sorted at all.
    threshold, true = torch.where(share > 0, threshold, torch.inf), torch.where(share > 0, true, 0)
    threshold, true, share = threshold.flatten(), true.flatten(), share.flatten()
    rows = errors.reshape(images * classes, pixels).contiguous()  # with one pixel the strides are arbitrary
    total = errors.new_zeros((), dtype=torch.float64)
    # Whether float32 holds the counts in these rows exactly.
    countable = rows.dtype == torch.float32 and not rows.is_cuda and pixels <= 1 << 24
    for part in slices(rows):
        kept = rows[part].abs() >= threshold[part, None]
        number = kept.count_nonzero(1)
        if countable and 2 * int(number.sum()) > kept.numel():
            terms = _of_whole_rows(rows[part], number, true[part], share[part])
        else:
            terms = _of_kept(rows[part], kept, number, true[part], share[part])
        total += terms.sum(dtype=torch.float64)
    return total, rows.view(images, classes, pixels)


def _of_kept(rows: Tensor, kept: Tensor, number: Tensor, true: Tensor, share: Tensor) -> Tensor:
    """The terms slope·error of the `number` errors kept in each row (R, N); overwrites the rows with the slopes."""
    pixels = rows.shape[1]
    row, column = kept.nonzero(as_tuple=True)
    values, column, hit = sort_within_rows(rows.view(-1).index_select(0, row * pixels + column), row, column, pixels)
    rank = torch.arange(1, len(row) + 1, device=row.device) - (number.cumsum(0) - number).index_select(0, row)
    # All true pixels are among those kept, so each row's count starts after the true pixels of the rows before it.
    hits = hit.cumsum(0) - (true.cumsum(0) - true).index_select(0, row)
    slopes = _increments(hit, hits, rank - hits, true.index_select(0, row), values.dtype) * share.index_select(0, row)
    rows.zero_().view(-1).scatter_(0, row * pixels + column, slopes)
    return slopes * values


def _of_whole_rows(rows: Tensor, kept: Tensor, true: Tensor, share: Tensor) -> Tensor:
    """Like `_of_kept`, but sort all errors of each row, of which `kept` are kept: faster if they are more than half."""
    pixels = rows.shape[1]
    terms = torch.empty_like(rows)
    rank = torch.arange(1, pixels + 1, dtype=rows.dtype)
    lengths = kept.tolist()
    step = max(1, CACHED // pixels)
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        order = descending_order(rows[part])
        values = rows[part].gather(1, order)
        slopes = _increments_in_order(values.view(torch.int32) < 0, rank, true[part]).mul_(share[part, None])
        for row, number in zip(slopes, lengths[part], strict=True):
            row[number:] = 0
        torch.mul(slopes, values.abs_(), out=terms[part])
        rows[part].scatter_(1, order, slopes)
    return torch.cat([row[:number] for row, number in zip(terms, lengths, strict=True)])


def _increments_in_order(hit: Tensor, rank: Tensor, true: Tensor) -> Tensor:
    """`_increments` of whole rows (R, N), in fewer passes; in the ranks' dtype, which must hold the counts exactly."""
    # Products with 0 and 1: masked_fill takes several times as long as all of them.
    hit = hit.to(rank.dtype)
    other, missed = 1 - hit, true[:, None] - hit.cumsum(1)
    union = rank + missed
    divisor = (union - 1).mul_(other).add_(hit).mul_(union)
    increments = missed.mul_(other).add_(hit).div_(divisor)
    increments[:, 0].masked_fill_(true == 0, 1)
    return increments


def _increments(hit: Tensor, hits: Tensor, others: Tensor, true: Tensor, dtype: torch.dtype) -> Tensor:
    """J_i - J_(i-1) of sorted errors, given for each whether its pixel is of the row's class.

    With P true pixels in the row, and f of them and b others among the first i, J_i = 1 - (P - f) / (P + b). A true
    pixel adds 1 / (P + b), any other (P - f) / ((P + b - 1) (P + b)): these quotients avoid cancellation.
    """
    union = true + others
    other = (true - hits).to(dtype) / (union * (union - 1)).clamp_min(1)
    alone = (true == 0) & (others == 1)
    return torch.where(hit, 1 / union.clamp_min(1).to(dtype), torch.where(alone, 1, other))


class LovaszHinge(torch.autograd.Function):
    """Like `LovaszSoftmax`, for errors max(0, 1 - s·z); only the gradient is kept."""

    @staticmethod
    def forward(ctx, logits, index, valid, weights, per_image: bool, only_present: bool, together: bool):
        images, classes, pixels = logits.shape
        z = logits
        if not per_image:
            z = z.movedim(1, 0).reshape(1, classes, images * pixels)
            index, valid = index.reshape(1, images * pixels), valid.reshape(1, images * pixels)
        is_class = _is_class(index, classes)
        # Errors that overflow the dtype are clamped: their sum stays finite. Void errors are NaN and sorted last.
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
    """J_i - J_(i-1) at each pixel's rank among its row's errors, (B, C, N); 0 where the error is NaN."""
    void = errors.isnan()
    order = errors.masked_fill(void, -torch.inf).argsort(dim=-1, descending=True, stable=True)
    counted, hit = ~void.gather(-1, order), hit.gather(-1, order)
    hits, others = hit.cumsum(-1), (counted & ~hit).cumsum(-1)
    increments = _increments(hit, hits, others, hit.sum(-1, keepdim=True), errors.dtype)
    return torch.zeros_like(errors).scatter_(-1, order, torch.where(counted, increments, 0))
