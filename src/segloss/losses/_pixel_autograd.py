"""Pixel losses that are a function of log p: of the target's class or, for a soft target, of every class."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from segloss.losses._sums import LEAST, blocks, slices, without_void


class HardPixelLosses(torch.autograd.Function):
    """w_y f(log p_y) of each pixel (B, N), 0 where void; keeps only log p_y and looks the weights up again.

    Takes log p_y, the class map, the mask or None, weights (C,) or None, and f and its derivative, which take
    (log p_y, parameter).
    """

    @staticmethod
    def forward(
        ctx,
        log_p: Tensor,
        target: Tensor,
        valid: Tensor | None,
        weights: Tensor | None,
        value: Callable[[Tensor, Any], Tensor],
        derivative: Callable[[Tensor, Any], Tensor],
        parameter: Any,
    ) -> Tensor:
        ctx.save_for_backward(log_p, target, valid, weights)
        ctx.derivative, ctx.parameter = derivative, parameter
        return _looked_up(value(log_p, parameter), target, valid, weights)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        log_p, *where = ctx.saved_tensors
        return gradient * _looked_up(ctx.derivative(log_p, ctx.parameter), *where), *[None] * 6


def _looked_up(losses: Tensor, target: Tensor, valid: Tensor | None, weights: Tensor | None) -> Tensor:
    if weights is not None:
        losses = losses * weights[without_void(target, valid)]
    return losses if valid is None else losses * valid


class SoftPixelLosses(torch.autograd.Function):
    """Σ_c w_c y_c f(log p_c) of each pixel, (B, N), from logits and target (B, C, N), keeping only log p.

    Takes f and its derivative as functions of (log p, exponent). The target must be 0 where void.
    """

    @staticmethod
    def forward(
        ctx,
        logits: Tensor,
        target: Tensor,
        weights: Tensor | None,
        value: Callable[[Tensor, float], Tensor],
        derivative: Callable[[Tensor, float], Tensor],
        exponent: float,
    ) -> Tensor:
        log_p = torch.log_softmax(logits, 1).clamp_(min=LEAST)
        ctx.save_for_backward(log_p, target, weights)
        ctx.derivative, ctx.exponent = derivative, exponent
        losses = torch.empty_like(logits[:, 0])
        for part in blocks(log_p):
            losses[part[::2]] = _weighted(value(log_p[part], exponent), target[part], weights).sum(1)
        return losses

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        log_p, target, weights = ctx.saved_tensors
        result = torch.empty_like(log_p)
        for part in blocks(log_p):
            derivative = ctx.derivative(log_p[part], ctx.exponent)
            by_log_p = _weighted(derivative, target[part], weights).mul_(gradient[part[::2]][:, None])
            torch.addcmul(by_log_p, log_p[part].exp(), by_log_p.sum(1, keepdim=True), value=-1, out=result[part])
        return result, None, None, None, None, None


# (logits of some images (b, C, N), their slice) -> the loss of each pixel (b, N), and the gradient of their sum.
PixelFormula = Callable[[Tensor, slice], tuple[Tensor, Tensor]]


class PixelLosses(torch.autograd.Function):
    """The loss of each pixel (B, N) from logits (B, C, N), for a formula in which it depends on its own logits alone.

    The formula gives the gradient together with the value, for a few images at a time, so that its intermediates stay
    in cache. Only the gradient is kept, and that only if it is wanted.
    """

    @staticmethod
    def forward(ctx, logits: Tensor, formula: PixelFormula, wanted: bool) -> Tensor:
        losses, by_logits = torch.empty_like(logits[:, 0]), torch.empty_like(logits) if wanted else None
        # Autocast would round the formulas' products.
        with torch.autocast(logits.device.type, enabled=False):
            for part in slices(logits):
                losses[part], gradient = formula(logits[part], part)
                if by_logits is not None:
                    by_logits[part] = gradient
        ctx.save_for_backward(by_logits)
        return losses

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        (by_logits,) = ctx.saved_tensors
        return by_logits * gradient[:, None], None, None


def _weighted(values: Tensor, target: Tensor, weights: Tensor | None) -> Tensor:
    values = values * target
    return values if weights is None else values * weights[:, None]
