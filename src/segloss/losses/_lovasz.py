"""The Lovász-softmax loss, exact, for all classes at once."""

from typing import Literal

import torch
import torch.distributed
from torch import Tensor
from torch.autograd.function import once_differentiable

from segloss.losses._all_reduce import gather_pixels, sum_over_processes
from segloss.losses._batch import Batch
from segloss.losses._catalogue import register
from segloss.losses._flags import exchange_on
from segloss.losses._sort import sort_within_rows
from segloss.losses._sums import slices


@register("LovaszSoftmaxLoss", soft_targets=False)
def lovasz_softmax(
    logits: Tensor | Batch,
    target: Tensor | None,
    *,
    valid: Tensor | None = None,
    per_image: bool = False,
    classes: Literal["present", "all"] = "present",
) -> Tensor:
    """Lovász-softmax loss: for each class the Lovász extension of its Jaccard loss, at the errors |[y = c] - p_c|.

    With a class's errors sorted, e_(1) ≥ e_(2) ≥ ..., it is Σ_i e_(i) (J_i - J_(i-1)), J_i being the Jaccard loss if
    the first i pixels, and no others, were predicted wrong; then the mean over classes. Lower is better.

    In several processes the batch-wide form gathers every process's errors, as the order is that of all pixels; per
    image two numbers are exchanged.

    Args:
        logits: (B, C, *spatial), any float type.
        target: int64 class map (B, *spatial).
        valid: bool (B, *spatial), or None: every pixel is valid.
        per_image: Sort each image on its own, then average over the images in which a class counts. Default: False, the
            whole batch as one image, as in the authors' code.
        classes: ``"present"``: the mean over the classes that occur; ``"all"``. Default: present, the authors'.

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
    together = exchange_on() and not per_image
    losses, images = _Lovasz.apply(batch.logits, batch.index, batch.valid, per_image, classes == "all", together)
    if per_image:
        losses, images = sum_over_processes(losses, images)
    return losses / images.clamp_min(1)


class _Lovasz(torch.autograd.Function):
    """Sum over images (or of the one that is the whole batch) of the mean loss of its classes, and how many have any.

    The loss is linear in the errors once their order is known, so its gradient is found together with its value, and
    only the gradient is kept.
    """

    @staticmethod
    def forward(ctx, logits, target, valid, per_image: bool, all_classes: bool, together: bool):
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
        first, everywhere, everyones_target = 0, errors, target
        if together:
            everywhere, everyones_target, first = gather_pixels(errors, target)
        total, images_that_count, slopes = _rows(everywhere, everyones_target, all_classes)
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
        return slopes * gradient, None, None, None, None, None


def _rows(errors: Tensor, target: Tensor, all_classes: bool) -> tuple[Tensor, Tensor, Tensor]:
    """From signed errors (images, C, N): the sum over images of the mean loss over classes, how many images have any
    class to count, and the sum's slope by each error's size.
    """
    images, classes, pixels = errors.shape
    own = errors.gather(1, target[:, None])[:, 0].abs()
    # Counted in integers: float32 stops counting at 2^24 pixels.
    true = torch.zeros(images, classes, dtype=torch.int64, device=errors.device).scatter_add_(
        1, target, (own >= 0).long()
    )
    # A pixel of another class with an error below that of every pixel of this class changes nothing: the Jaccard loss
    # is 1 already. That leaves few to sort. A class without pixels jumps to 1 at its largest error.
    threshold = torch.full_like(true, torch.inf, dtype=errors.dtype)
    threshold.scatter_reduce_(1, target, own.nan_to_num(torch.inf), "amin")
    counted = (true > 0).to(errors.dtype)
    if all_classes:
        threshold = torch.where(true > 0, threshold, torch.nn.functional.pad(errors.nan_to_num(0), (0, 1)).amax(-1))
        counted = counted.amax(1, keepdim=True).expand_as(counted)
    share = counted / counted.sum(1, keepdim=True).clamp_min(1)

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
