"""The core of losses whose channels are independent sigmoids."""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from segloss.losses._sums import LEAST, class_sums, without_void


class SigmoidSums(torch.autograd.Function):
    """(logits, target, valid, weights) -> Σ_c w_c BCE(σ(z_c), y_c) of each pixel (B, N), and per class Σσy and Σσ.

    Logits (B, C, N), valid (B, N) or None, target either class indices (B, N) or probabilities (B, C, N), weights (C,)
    or None: 1 each. With g the gradient of a pixel's BCE and G_c that of σ_c:
    dz_c = σ_c (1 - σ_c) G_c + g w_c (σ_c - y_c).
    """

    @staticmethod
    def forward(ctx, logits: Tensor, target: Tensor, valid: Tensor | None, weights: Tensor | None):
        ctx.save_for_backward(probabilities := logits.sigmoid(), target, valid, weights)
        # log(1 + exp z); above 40 it equals z to the last bit of float64.
        entropy = torch.nn.functional.softplus(logits, threshold=40)
        soft, target = target.is_floating_point(), without_void(target, valid)
        if weights is None:
            entropy = entropy.sum(1)
            entropy -= (logits * target).sum(1) if soft else logits.gather(1, target[:, None])[:, 0]
        else:
            if soft:
                entropy -= logits * target
            else:
                entropy.scatter_add_(1, target[:, None], -logits.gather(1, target[:, None]))
            entropy = (entropy.clamp_(max=-LEAST) * weights[:, None]).sum(1)
        # Near the largest float both sums above may overflow.
        entropy.nan_to_num_(nan=-LEAST).clamp_(max=-LEAST)
        if valid is not None:
            # Void pixels are dropped here: their σ stays 0 in the sums and in backward.
            void = valid.to(logits.dtype)
            probabilities *= void[:, None]
            entropy *= void
        if soft:
            product = (probabilities * target).sum(-1)
        else:
            product = class_sums(probabilities.gather(1, target[:, None])[:, 0], target, logits.shape[1])
        return entropy, product, probabilities.sum(-1)

    @staticmethod
    @once_differentiable
    def backward(ctx, g_entropy, g_product, g_predicted):
        probabilities, target, valid, weights = ctx.saved_tensors
        soft, target = target.is_floating_point(), without_void(target, valid)
        if valid is not None:
            g_entropy = g_entropy * valid
        gradient = 1 - probabilities
        by_class = g_entropy[:, None] if weights is None else g_entropy[:, None] * weights[:, None]
        if soft:
            gradient *= torch.addcmul(g_predicted[:, :, None], target, g_product[:, :, None])
            gradient += by_class
            gradient *= probabilities
            gradient.addcmul_(target, by_class, value=-1)
        else:
            index = target[:, None]
            at_target = probabilities.gather(1, index)
            g_true = g_entropy[:, None] if weights is None else (g_entropy * weights[target])[:, None]
            at_target = at_target * (1 - at_target) * g_product.gather(1, target)[:, None] - g_true
            gradient *= g_predicted[:, :, None]
            gradient += by_class
            gradient *= probabilities
            gradient.scatter_(1, index, gradient.gather(1, index) + at_target)
        return gradient, None, None, None
