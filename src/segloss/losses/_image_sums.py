"""Losses that are a sum over images, whose gradient is computed together with the value.

Autograd over a whole batch keeps every intermediate of the formula for backward. Here the formula is evaluated on a few
images at a time, so that the intermediates stay in cache, and only the gradient with respect to the logits is kept.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from segloss.losses._all_reduce import sum_over_processes
from segloss.losses._batch import Batch
from segloss.losses._sums import LEAST, slices

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


# (logits, log p and p of some images, their slice) -> penalty per pixel (b, N), gradient with respect to the logits.
Penalty = Callable[[Tensor, Tensor, Tensor, slice], tuple[Tensor, Tensor]]


def penalised_cross_entropy(batch: Batch, ce_weight: float, alpha: float, penalty: Penalty) -> Tensor:
    """The mean over the valid pixels of all processes of weighted cross-entropy plus α times a penalty."""

    def formula(logits: Tensor, part: slice, wanted: bool) -> tuple[Tensor, Tensor | None]:
        # Clamped, so that products with it stay finite where p underflows.
        log_p = torch.log_softmax(logits, 1).clamp_(min=LEAST)
        p = log_p.exp()
        values, by_logits = penalty(logits, log_p, p, part)
        values, by_logits = values.mul_(alpha), by_logits.mul_(alpha)
        if batch.soft:
            y = batch.valid_target[part]
            values.sub_((y * log_p).sum(1), alpha=ce_weight)
            by_logits.addcmul_(p, y.sum(1, keepdim=True), value=ce_weight).sub_(y, alpha=ce_weight)
        else:
            index = batch.index[part][:, None]
            values.sub_(log_p.gather(1, index)[:, 0], alpha=ce_weight)
            by_logits.add_(p, alpha=ce_weight)
            by_logits.scatter_add_(1, index, by_logits.new_full((1, 1, 1), -ce_weight).expand_as(index))
        if batch.valid is not None:
            keep = batch.valid[part].to(values.dtype)
            values, by_logits = values * keep, by_logits.mul_(keep[:, None])
        return values.sum(), by_logits

    total, pixels = sum_over_processes(sum_over_images(batch, formula), batch.pixels.sum())
    return total / torch.where(pixels > 0, pixels, 1)


# (log p, parameters) -> a function of log p, or its derivative.
OfLogP = Callable[[Tensor, Any], Tensor]


def mean_of_log_p(batch: Batch, value: OfLogP, derivative: OfLogP, parameters: Any, weights: Tensor | None) -> Tensor:
    """The mean over the valid pixels of all processes of Σ_c w_c y_c f(log p_c), from f and its derivative."""

    def formula(logits: Tensor, part: slice, wanted: bool) -> tuple[Tensor, Tensor | None]:
        log_p = torch.log_softmax(logits, 1).clamp_(min=LEAST)
        if batch.soft:
            share = batch.valid_target[part]
            share = share if weights is None else share * weights[:, None]
            by_log_p = derivative(log_p, parameters).mul_(share)
            total = (value(log_p, parameters) * share).sum()
            return total, by_log_p.addcmul_(log_p.exp_(), by_log_p.sum(1, keepdim=True), value=-1)
        index = batch.index[part][:, None]
        log_likelihood = log_p.gather(1, index)
        values, by_log_p = value(log_likelihood, parameters), derivative(log_likelihood, parameters)
        if batch.valid is not None:
            keep = batch.valid[part][:, None].to(log_p.dtype)
            values, by_log_p = values * keep, by_log_p.mul_(keep)
        if weights is not None:
            values, by_log_p = values * weights[index], by_log_p.mul_(weights[index])
        return values.sum(), log_p.exp_().mul_(-by_log_p).scatter_add_(1, index, by_log_p)

    total, pixels = sum_over_processes(sum_over_images(batch, formula), batch.pixels.sum())
    return total / torch.where(pixels > 0, pixels, 1)


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
