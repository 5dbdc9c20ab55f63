"""Cross-entropy over the hardest pixels only: a share of them (top-k), or those below a probability (OHEM)."""

import math
from typing import Annotated

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from segloss.losses._all_reduce import gather_pixels, sum_over_processes
from segloss.losses._batch import Batch
from segloss.losses._catalogue import register
from segloss.losses._flags import exchange_on
from segloss.losses._sums import LEAST, slices, without_void
from segloss.options import Above, AtMost, Count


@register("TopKCrossEntropyLoss", sums=["likelihood"])
def topk_cross_entropy(
    logits: Tensor | Batch,
    target: Tensor | None,
    *,
    valid: Tensor | None = None,
    k: Annotated[float, Above(0), AtMost(1)] = 0.1,
) -> Tensor:
    """Mean cross-entropy over the share k of the valid pixels where it is largest; lower is better.

    Pixels are ranked over the whole batch of all processes: their values, one float per pixel, are gathered. At least
    one pixel is kept; of pixels tied at the cut-off, the first are kept. nnU-Net takes the share of all pixels, void
    ones included, and returns NaN below ten pixels. On soft labels the pixels are ranked by KL(y‖p) = CE - H(y), so
    that ambiguous ones do not stay the hardest forever; which pixels are kept depends on p, so p = y is not the minimum
    there.

    Args:
        logits, target, valid: As in every loss, see `segloss.losses`.
        k: Share of the valid pixels, above 0 and at most 1; 1 is cross-entropy. Default .1, nnU-Net's.

    Returns:
        A scalar in [0, ∞), in nats.

    Raises:
        ValueError: invalid shapes or types, k outside (0, 1].

    Reference: Wu et al., "Bridging Category-level and Instance-level Semantic Image Segmentation", 2016,
        https://arxiv.org/abs/1605.06885
    """
    shared, batch = isinstance(logits, Batch), Batch.read(logits, target, valid, topk_cross_entropy.sums)
    return _mean_of_hardest(batch, shared, share=k, least=1, limit=math.inf)


@register("OHEMLoss", sums=["likelihood"])
def ohem_cross_entropy(
    logits: Tensor | Batch,
    target: Tensor | None,
    *,
    valid: Tensor | None = None,
    threshold: Annotated[float, Above(0), AtMost(1)] | None = 0.7,
    min_kept: Count = 100_000,
) -> Tensor:
    """Online hard example mining: mean cross-entropy over the pixels with p_y below a threshold; lower is better.

    If fewer than `min_kept` pixels are below it, the hardest `min_kept` are kept, or all pixels if there are no more.
    Pixels are counted and ranked over all processes, as in `topk_cross_entropy`. MMSegmentation's OhemCrossEntropy
    drops the easiest pixel if min_kept is not less than the number of pixels, and its OHEMPixelSampler divides by the
    number of all pixels. On soft labels exp(-KL(y‖p)) replaces p_y.

    Args:
        logits, target, valid: As in every loss, see `segloss.losses`.
        threshold: Probability below which a pixel is hard, above 0 and at most 1; None: only `min_kept` decides.
            Default .7, MMSegmentation's.
        min_kept: Minimum number of pixels kept in the batch, at least 1. Default 100000, MMSegmentation's.

    Returns:
        A scalar in [0, ∞), in nats.

    Raises:
        ValueError: invalid shapes, types or options.

    Reference: Shrivastava et al., "Training Region-based Object Detectors with Online Hard Example Mining", 2016,
        https://arxiv.org/abs/1604.03540
    """
    shared, batch = isinstance(logits, Batch), Batch.read(logits, target, valid, ohem_cross_entropy.sums)
    limit = math.inf if threshold is None else -math.log(threshold)
    return _mean_of_hardest(batch, shared, share=0.0, least=min_kept, limit=limit)


def _mean_of_hardest(batch: Batch, shared: bool, *, share: float, least: int, limit: float) -> Tensor:
    """Mean cross-entropy over a share of the valid pixels, at least `least`, and all whose KL is above the limit."""
    if shared or batch.soft or batch.device.type == "cuda" or torch.compiler.is_compiling():
        losses = -batch.log_likelihood.flatten()  # shared with other terms, or needed by a compiler
    else:
        losses = _CrossEntropies.apply(batch.logits, batch.target, batch.valid).flatten()
    with torch.no_grad():
        hardness = losses
        if batch.soft:
            hardness = losses - torch.special.entr(batch.valid_target).sum(1).flatten()
        if batch.valid is not None:
            hardness = hardness.masked_fill(~batch.valid.flatten(), -torch.inf)
        kept = _hardest(hardness, share, least, limit)
    total, pixels = sum_over_processes((losses * kept).sum(), kept.sum().to(losses.dtype))
    return total / pixels.clamp_min(1)


class _CrossEntropies(torch.autograd.Function):
    """-log p_y of each pixel (B, N), 0 where void, from logits (B, C, N) and a class map; only its inputs are kept.

    Backward computes the softmax only for pixels with a nonzero gradient.
    """

    @staticmethod
    def forward(ctx, logits: Tensor, target: Tensor, valid: Tensor | None) -> Tensor:
        ctx.save_for_backward(logits, target, valid)
        index = without_void(target, valid)[:, None]
        losses = torch.empty_like(logits[:, 0])
        for part in slices(logits):
            losses[part] = torch.log_softmax(logits[part], 1).gather(1, index[part])[:, 0].clamp_(min=LEAST).neg_()
        return losses if valid is None else losses.mul_(valid)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        logits, target, valid = ctx.saved_tensors
        index, by_logits = without_void(target, valid), torch.zeros_like(logits)
        for image, scale in enumerate(gradient if valid is None else gradient * valid):
            pixels = scale.nonzero()[:, 0]
            few = len(pixels) < 0.3 * len(scale)
            z, c, scale = (values[..., pixels] if few else values for values in (logits[image], index[image], scale))
            result = torch.softmax(z, 0).mul_(scale)
            result.scatter_add_(0, c[None], -scale[None])
            if few:
                by_logits[image].index_copy_(1, pixels, result)
            else:
                by_logits[image] = result
        return by_logits, None, None


def _hardest(hardness: Tensor, share: float, least: int, limit: float) -> Tensor:
    """Which pixels of this process (n,) are kept, chosen over all processes; void pixels have hardness -inf."""
    first, everyones = 0, hardness
    if exchange_on():
        everyones, _, first = gather_pixels(hardness[None, None], hardness.new_zeros(1, len(hardness)))
        everyones = everyones.flatten().nan_to_num(-torch.inf, posinf=torch.inf, neginf=-torch.inf)
    form = _by_sorting if everyones.is_cuda or torch.compiler.is_compiling() else _by_selection
    return form(everyones, share, least, limit)[first : first + len(hardness)]


def _by_selection(hardness: Tensor, share: float, least: int, limit: float) -> Tensor:
    """Which pixels are kept, by selecting the smallest kept value, with data-dependent branches."""
    pixels = int((hardness > -torch.inf).sum())
    number = min(pixels, max(least, math.floor(share * pixels + 1e-9)))
    if number == pixels:
        return hardness > -torch.inf
    smallest = torch.kthvalue(hardness, len(hardness) - number + 1).values
    # If more than `number` pixels are above the limit, the limit is below `smallest`.
    return _first_of_ties(hardness, smallest, number) if limit >= smallest else hardness > limit


def _by_sorting(hardness: Tensor, share: float, least: int, limit: float) -> Tensor:
    """Like `_by_selection`, but without data-dependent branches, which break graphs and synchronise with a GPU."""
    if not len(hardness):
        return hardness > -torch.inf
    pixels = (hardness > -torch.inf).sum()
    number = (share * pixels.double() + 1e-9).floor().long().clamp_min(least).minimum(pixels)
    smallest = hardness.sort().values.take((len(hardness) - number).clamp_max(len(hardness) - 1))
    kept = torch.where(smallest <= limit, _first_of_ties(hardness, smallest, number), hardness > limit)
    return torch.where(number < pixels, kept, hardness > -torch.inf)


def _first_of_ties(hardness: Tensor, smallest: Tensor, number: Tensor | int) -> Tensor:
    above, ties = hardness > smallest, hardness == smallest
    return above | (ties & (ties.cumsum(0) <= number - above.sum()))
