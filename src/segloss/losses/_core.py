"""The hand-written core: from logits to the per-pixel log-likelihood and the per-class sums all losses are made of.

Autograd alone would keep the softmax, the one-hot target and every product of theirs. Here the softmax is the only
thing kept, and the gradient is written in closed form. With g_l the gradient of the log-likelihood of a pixel and G_c
that of p_c at a pixel (from the sums), softmax's Jacobian gives

    dz_c = p_c (G_c - sum_k G_k p_k) + g_l (y_c - p_c sum_k y_k).
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def _row_products(left: Tensor, right: Tensor) -> Tensor:
    """Sum over the last axis of left * right, (B, C, N) each, without a temporary of that size."""
    images, classes, pixels = left.shape
    left = left.reshape(images * classes, 1, pixels)
    return torch.bmm(left, right.reshape(images * classes, pixels, 1)).view(images, classes)


def _class_sums(values: Tensor, target: Tensor, classes: int) -> Tensor:
    """Sum values (B, N) by the class of their pixel: (B, C). In float64: one after the other, float32 would drift."""
    sums = values.new_zeros(values.shape[0], classes, dtype=torch.float64)
    return sums.scatter_add_(1, target, values.double()).to(values.dtype)


class HardSums(torch.autograd.Function):
    """(logits (B, C, N), target (B, N), valid (B, N) or None) -> log p_y (B, N), and per class Σp, Σp², Σp·y (B, C).

    The target holds a class index everywhere; what lies outside `valid` adds nothing.
    """

    @staticmethod
    def forward(ctx, logits: Tensor, target: Tensor, valid: Tensor | None):
        probabilities = torch.log_softmax(logits, 1)
        log_likelihood = probabilities.gather(1, target[:, None])[:, 0]
        probabilities.exp_()
        likelihood = log_likelihood.exp()
        if valid is not None:
            # Void pixels leave here: with p = 0 they add nothing to any sum, nor to the gradient.
            probabilities.mul_(valid[:, None])
            log_likelihood = torch.where(valid, log_likelihood, 0)
            likelihood = likelihood * valid
        overlap = _class_sums(likelihood, target, logits.shape[1])
        ctx.save_for_backward(probabilities, target, valid, likelihood)
        ctx.set_materialize_grads(False)
        return log_likelihood, probabilities.sum(-1), _row_products(probabilities, probabilities), overlap

    @staticmethod
    @once_differentiable
    def backward(ctx, g_log_likelihood, g_sum, g_square, g_overlap):
        probabilities, target, valid, likelihood = ctx.saved_tensors
        at_target = torch.zeros_like(likelihood)
        if g_log_likelihood is not None:
            at_target += g_log_likelihood if valid is None else torch.where(valid, g_log_likelihood, 0)
        if g_overlap is not None:
            at_target += g_overlap.gather(1, target) * likelihood
        if g_square is not None:
            gradient = probabilities * (2 * g_square[:, :, None])
            if g_sum is not None:
                gradient += g_sum[:, :, None]
            mean = (gradient * probabilities).sum(1)
            gradient -= (mean + at_target)[:, None]
            gradient *= probabilities
        elif g_sum is not None:
            mean = torch.bmm(g_sum[:, None], probabilities)[:, 0]
            gradient = torch.sub(g_sum[:, :, None], (mean + at_target)[:, None]).mul_(probabilities)
        else:
            gradient = probabilities * -at_target[:, None]
        return gradient.scatter_add_(1, target[:, None], at_target[:, None]), None, None


class SoftSums(torch.autograd.Function):
    """(logits (B, C, N), target (B, C, N), valid (B, N) or None) -> Σ_c y log p (B, N), and per class Σp, Σp²,
    Σ min(p, y), Σp·y (B, C)."""

    @staticmethod
    def forward(ctx, logits: Tensor, target: Tensor, valid: Tensor | None):
        if valid is not None:
            target = torch.where(valid[:, None], target, 0)  # not a product: void targets may hold NaN
        probabilities = torch.log_softmax(logits, 1)
        product = probabilities * target
        log_likelihood = product.sum(1)
        probabilities.exp_()
        if valid is not None:
            probabilities.mul_(valid[:, None])
        minimum = torch.minimum(probabilities, target, out=product).sum(-1)
        ctx.save_for_backward(probabilities, target)
        ctx.set_materialize_grads(False)
        return (
            log_likelihood,
            probabilities.sum(-1),
            _row_products(probabilities, probabilities),
            minimum,
            _row_products(probabilities, target),
        )

    @staticmethod
    @once_differentiable
    def backward(ctx, g_log_likelihood, g_sum, g_square, g_minimum, g_product):
        probabilities, target = ctx.saved_tensors
        slope = torch.zeros_like(probabilities)
        if g_sum is not None:
            slope += g_sum[:, :, None]
        if g_square is not None:
            slope.addcmul_(probabilities, 2 * g_square[:, :, None])
        if g_minimum is not None:
            # min(p, y) = (p + y - |p - y|) / 2, with slope 0 of the distance where p = y.
            slope.add_((1 - torch.sign(probabilities - target)).mul_(g_minimum[:, :, None] / 2))
        if g_product is not None:
            slope.addcmul_(target, g_product[:, :, None])
        mean = (slope * probabilities).sum(1)
        if g_log_likelihood is not None:
            mean += g_log_likelihood * target.sum(1)
        slope.sub_(mean[:, None]).mul_(probabilities)
        if g_log_likelihood is not None:
            slope.addcmul_(target, g_log_likelihood[:, None])
        return slope, None, None
