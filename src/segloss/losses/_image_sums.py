"""Losses that are a sum over images, whose gradient is computed together with the value.

Autograd over a whole batch keeps every intermediate of the formula for backward. Here the formula is evaluated on a few
images at a time, so that the intermediates stay in cache, and only the gradient with respect to the logits is kept.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from segloss.losses._batch import Batch
from segloss.losses._sums import slices

# (logits of some images (b, C, N), their slice, whether a gradient is needed) -> their loss, and its gradient or None.
Formula = Callable[[Tensor, slice, bool], tuple[Tensor, Tensor | None]]


class _SumOverImages(torch.autograd.Function):
    @staticmethod
    def forward(ctx, logits: Tensor, formula: Formula, wanted: bool) -> Tensor:
        gradient = torch.empty_like(logits) if wanted else None
        total = logits.new_zeros((), dtype=torch.float64)
        # Autocast would round the formulas' products.
        with torch.autocast(logits.device.type, enabled=False):
            for part in slices(logits):
                value, by_logits = formula(logits[part], part, wanted)
                total += value
                if gradient is not None and by_logits is not None:
                    gradient[part] = by_logits
        ctx.save_for_backward(gradient)
        return total.to(logits.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        (by_logits,) = ctx.saved_tensors
        return by_logits * gradient, None, None


def gradient_wanted(logits: Tensor) -> bool:
    """Whether backward may follow."""
    return logits.requires_grad and torch.is_grad_enabled()


def sum_over_images(batch: Batch, formula: Formula) -> Tensor:
    """The sum of a formula over the images of this process, a scalar."""
    return _SumOverImages.apply(batch.logits, formula, gradient_wanted(batch.logits))


def through_softmax(probabilities: Tensor, derivative: Tensor) -> Tensor:
    """Turn the gradient with respect to the probabilities into that with respect to the logits (b, C, N), in place."""
    derivative *= probabilities
    return derivative.addcmul_(probabilities, derivative.sum(1, keepdim=True), value=-1)


def one_hot(batch: Batch, part: slice) -> Tensor:
    """Target probabilities (b, C, N) of some images, 0 where void."""
    if batch.soft:
        return batch.valid_target[part]
    index = batch.index[part][:, None]
    maps = batch.logits.new_zeros(len(index), batch.classes, index.shape[-1])
    ones = torch.ones_like(maps[:, :1]) if batch.valid is None else batch.valid[part][:, None].to(maps.dtype)
    return maps.scatter_(1, index, ones)


def softmax_of_valid(logits: Tensor, batch: Batch, part: slice) -> Tensor:
    """Probabilities (b, C, N) of some images, 0 where void."""
    probabilities = torch.log_softmax(logits, 1).exp_()
    return probabilities if batch.valid is None else probabilities.mul_(batch.valid[part][:, None].to(logits.dtype))
