"""Losses that are a sum over images, whose gradient is computed together with the value.

Autograd over a whole batch keeps every temporary of the formula for backward. Here a few images at a time go through
it, so that the temporaries stay in the processor's cache, and only the gradient by the logits is kept.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from segloss.losses._all_reduce import sum_over_processes
from segloss.losses._batch import Batch
from segloss.losses._sums import LEAST, slices

# (logits of some images (b, C, N), which images, whether a gradient is wanted) -> their loss, and its gradient or None.
Formula = Callable[[Tensor, slice, bool], tuple[Tensor, Tensor | None]]


class _SumOverImages(torch.autograd.Function):
    @staticmethod
    def forward(ctx, logits: Tensor, formula: Formula) -> Tensor:
        wanted = ctx.needs_input_grad[0]
        gradient = torch.empty_like(logits) if wanted else None
        total = logits.new_zeros((), dtype=torch.float64)
        # Autocast would round the formulas' products.
        with torch.autocast(logits.device.type, enabled=False):
            for part in slices(len(logits), logits[:1].numel()):
                value, by_logits = formula(logits[part], part, wanted)
                total += value
                if wanted:
                    gradient[part] = by_logits
        ctx.save_for_backward(gradient)
        return total.to(logits.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        (by_logits,) = ctx.saved_tensors
        return by_logits * gradient, None


def sum_over_images(batch: Batch, formula: Formula) -> Tensor:
    """The sum of a formula over the images of this process, a scalar."""
    return _SumOverImages.apply(batch.logits, formula)


def mean_over_pixels(batch: Batch, losses: Callable[[Tensor, slice], Tensor]) -> Tensor:
    """The mean over the valid pixels of all processes of a loss per pixel, (b, C, N) -> (b, N); 0 without any pixel."""

    def formula(logits: Tensor, part: slice, wanted: bool) -> tuple[Tensor, Tensor | None]:
        with torch.set_grad_enabled(wanted):
            logits = logits.detach().requires_grad_(wanted)
            values = losses(logits, part)
            value = (values if batch.valid is None else values * batch.valid[part]).sum()
        return value.detach(), torch.autograd.grad(value, logits)[0] if wanted else None

    total, pixels = sum_over_processes(sum_over_images(batch, formula), batch.pixels.sum())
    return total / torch.where(pixels > 0, pixels, 1)


def through_softmax(probabilities: Tensor, derivative: Tensor) -> Tensor:
    """The gradient by the logits (b, C, N) from that by the probabilities; overwrites the latter."""
    derivative *= probabilities
    return derivative.addcmul_(probabilities, derivative.sum(1, keepdim=True), value=-1)


def log_probabilities(logits: Tensor) -> Tensor:
    """Log-softmax over classes, bounded so that products with it stay finite."""
    return torch.log_softmax(logits, 1).clamp(min=LEAST)


def cross_entropies(log_p: Tensor, batch: Batch, part: slice) -> Tensor:
    """-Σ_c y_c log p_c of each pixel (b, N); of class 0 where a class map is void."""
    if batch.soft:
        return -(batch.valid_target[part] * log_p).sum(1)
    return -log_p.gather(1, batch.index[part][:, None])[:, 0]


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
