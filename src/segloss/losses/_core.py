"""The hand-written core: from logits to the per-pixel log-likelihood and the per-class sums all losses are made of.

Autograd alone would keep the softmax, the one-hot target and every product of theirs. Here the softmax is the only
thing kept, and the gradient is written in closed form. With g the gradient of a pixel's log-likelihood and G_c that of
p_c at the pixel (from the sums), softmax's Jacobian gives

    dz_c = p_c (G_c - Σ_k G_k p_k) + g (y_c - p_c Σ_k y_k).

Only the sums asked for are computed; the others come back as None.
"""

from collections.abc import Collection

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

BITS = {torch.float32: torch.int32, torch.float64: torch.int64}


def class_sums(values: Tensor, target: Tensor, classes: int) -> Tensor:
    """Sum values (B, N) by the class of their pixel: (B, C). In float64: one after the other, float32 would drift."""
    sums = values.new_zeros(values.shape[0], classes, dtype=torch.float64)
    return sums.scatter_add_(1, target, values.double()).to(values.dtype)


def without_void(target: Tensor, valid: Tensor | None) -> Tensor:
    """The target with 0 where void, whatever stands there: often 255 in a class map (B, N), NaN in probabilities."""
    if valid is None:
        return target
    if not target.is_floating_point():
        return torch.where(valid, target, 0)
    # On the bits of (B, C, N): a product would keep NaN, and a selection takes three times as long.
    bits = BITS[target.dtype]
    return (target.view(bits) & -valid.to(bits)[:, None]).view(target.dtype)


def _softmax(logits: Tensor, log: bool) -> Tensor:
    """Softmax over classes, or its logarithm: taken of the softmax it would be -inf where p underflows."""
    return torch.log_softmax(logits, 1) if log else torch.softmax(logits, 1)


class HardSums(torch.autograd.Function):
    """(logits (B, C, N), target (B, N), valid (B, N) or None) -> log p_y (B, N), and per class Σp·y, Σp, Σp² (B, C)."""

    @staticmethod
    def forward(ctx, logits: Tensor, target: Tensor, valid: Tensor | None, wanted: Collection[str]):
        ctx.set_materialize_grads(False)
        index = without_void(target, valid)[:, None]
        log_likelihood = overlap = predicted = squares = None
        probabilities = _softmax(logits, "likelihood" in wanted)
        if "likelihood" in wanted:
            log_likelihood = probabilities.gather(1, index)[:, 0]
            probabilities.exp_()
        if valid is not None:
            # Void pixels leave here: with p = 0 they add nothing to any sum, nor to the gradient.
            keep = valid.to(logits.dtype)
            probabilities *= keep[:, None]
            log_likelihood = None if log_likelihood is None else log_likelihood.mul_(keep)
        if "minimum" in wanted or "product" in wanted:
            overlap = class_sums(probabilities.gather(1, index)[:, 0], index[:, 0], logits.shape[1])
        if "predicted" in wanted:
            predicted = probabilities.sum(-1)
        if "squares" in wanted:
            squares = probabilities.square().sum(-1)
        # The caller's own target and mask: copies without void would cost a tenth of the logits at 19 classes.
        ctx.save_for_backward(probabilities, target, valid)
        return log_likelihood, overlap, predicted, squares

    @staticmethod
    @once_differentiable
    def backward(ctx, g_log_likelihood, g_overlap, g_predicted, g_squares):
        probabilities, target, valid = ctx.saved_tensors
        index = without_void(target, valid)[:, None]
        at_target = 0  # the gradient of log p_y, to which p_y adds that of the overlap
        if g_log_likelihood is not None:
            at_target = g_log_likelihood if valid is None else g_log_likelihood * valid
        if g_overlap is not None:
            at_target = at_target + g_overlap.gather(1, index[:, 0]) * probabilities.gather(1, index)[:, 0]
        if g_squares is not None:
            gradient = probabilities * (2 * g_squares)[:, :, None]
            if g_predicted is not None:
                gradient += g_predicted[:, :, None]
            gradient *= probabilities
            gradient.addcmul_(probabilities, (gradient.sum(1) + at_target)[:, None], value=-1)
        elif g_predicted is not None:
            with torch.autocast(
                probabilities.device.type, enabled=False
            ):  # which would round the product to half precision
                mean = torch.bmm(g_predicted[:, None], probabilities)[:, 0] + at_target
            gradient = torch.sub(g_predicted[:, :, None], mean[:, None]).mul_(probabilities)
        elif torch.is_tensor(at_target):
            gradient = probabilities * -at_target[:, None]
        else:
            return None, None, None, None
        if torch.is_tensor(at_target):
            # Each pixel has one target: reading, adding and writing it is faster than adding in place.
            gradient.scatter_(1, index, gradient.gather(1, index) + at_target[:, None])
        return gradient, None, None, None


class SoftSums(torch.autograd.Function):
    """(logits, target, valid, target without its void pixels) -> Σ_c y log p (B, N), and per class Σ min(p, y), Σp·y,
    Σp, Σp² (B, C); logits and targets (B, C, N), valid (B, N) or None.
    """

    @staticmethod
    def forward(ctx, logits, target, valid, valid_target, wanted: Collection[str]):
        log_likelihood = minimum = product = squares = None
        probabilities = _softmax(logits, "likelihood" in wanted)
        buffer = torch.empty_like(probabilities)
        if "likelihood" in wanted:
            log_likelihood = torch.mul(probabilities, valid_target, out=buffer).sum(1)
            probabilities.exp_()
        if valid is not None:
            probabilities *= valid.to(logits.dtype)[:, None]
        predicted = probabilities.sum(-1) if "predicted" in wanted else None
        if "minimum" in wanted:
            minimum = torch.minimum(probabilities, valid_target, out=buffer).sum(-1)
        if "product" in wanted:
            product = torch.mul(probabilities, valid_target, out=buffer).sum(-1)
        if "squares" in wanted:
            squares = torch.mul(probabilities, probabilities, out=buffer).sum(-1)
        ctx.save_for_backward(probabilities, target, valid)
        ctx.set_materialize_grads(False)
        return log_likelihood, minimum, product, predicted, squares

    @staticmethod
    @once_differentiable
    def backward(ctx, g_log_likelihood, g_minimum, g_product, g_predicted, g_squares):
        probabilities, target, valid = ctx.saved_tensors
        target = without_void(target, valid)
        slope = None  # dL/dp, then p times it, then dL/dz
        if g_minimum is not None:
            # min(p, y) = (p + y - |p - y|) / 2, and the distance has slope 0 where p = y.
            slope = torch.sub(probabilities, target).sign_()
            half = g_minimum[:, :, None] / 2
            level = half if g_predicted is None else half + g_predicted[:, :, None]
            torch.addcmul(level, slope, half, value=-1, out=slope)
        elif g_predicted is not None:
            slope = g_predicted[:, :, None].expand_as(probabilities).clone()
        if g_product is not None:
            slope = target * g_product[:, :, None] if slope is None else slope.addcmul_(target, g_product[:, :, None])
        if g_squares is not None:
            twice = 2 * g_squares[:, :, None]
            slope = probabilities * twice if slope is None else slope.addcmul_(probabilities, twice)
        if slope is not None:
            slope *= probabilities
            slope.addcmul_(probabilities, slope.sum(1, keepdim=True), value=-1)
        if g_log_likelihood is not None:
            weight = (-g_log_likelihood * target.sum(1))[:, None]
            slope = probabilities * weight if slope is None else slope.addcmul_(probabilities, weight)
            slope.addcmul_(target, g_log_likelihood[:, None])
        return slope, None, None, None, None
