"""clDice: Dice of two centre lines, each found by soft skeletonisation and compared with the other's mask."""

from collections.abc import Callable
from typing import Annotated

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.autograd.graph import saved_tensors_hooks

from segloss.losses._all_reduce import sum_over_processes
from segloss.losses._batch import Batch
from segloss.losses._catalogue import register
from segloss.losses._image_sums import one_hot, softmax_of_valid, sum_over_images, through_softmax
from segloss.options import AtLeast, Positive

CACHED = 1 << 16  # elements of a map that fit in a core's private cache


@register("CenterlineDiceLoss", soft_targets=False)
def cldice(
    logits: Tensor | Batch,
    target: Tensor | None,
    *,
    valid: Tensor | None = None,
    iterations: Annotated[int, AtLeast(0)] = 3,
    smooth: Positive = 1.0,
    include_background: bool = False,
) -> Tensor:
    """clDice loss 1 - 2 P·S / (P + S), with centre-line precision P and sensitivity S; lower is better.

    P = (Σ s_p y + s) / (Σ s_p + s) and S = (Σ s_y p + s) / (Σ s_y + s), where s_p and s_y are the soft skeletons of p
    and y: what an opening removes, collected over repeated erosions. It is computed per class and image, then averaged
    over the classes that occur in an image, and over images. Not to be used alone: a skeleton carries no information
    about width, so the article adds the loss to Dice in equal parts. The authors' code and MONAI's sum over all
    channels of an image together.

    Args:
        logits, target, valid: As in every loss, see `segloss.losses`; the target is a class map, as p = y would not be
            the minimum on probabilities. Void pixels belong to no mask.
        iterations: Number of erosions, at least 0; should equal the largest half-width in pixels. Default 3, as in the
            authors' code.
        smooth: s, in pixels, above 0. Default 1, the authors'.
        include_background: Whether class 0 counts. Default: False, as in the authors' code.

    Returns:
        A scalar in [0, 1].

    Raises:
        ValueError: target probabilities, or invalid shapes, types or options.

    Reference: Shit et al., "clDice - a Novel Topology-Preserving Loss Function for Tubular Structure Segmentation",
        2020, https://arxiv.org/abs/2003.07311
    """
    batch = Batch.read(logits, target, valid, cldice.sums)
    if batch.soft:
        raise ValueError(
            "Expected an int64 class map, got target probabilities: the skeleton of a soft mask is not its "
            "centre line, and p = y would not be the minimum."
        )
    counted = batch.present(0.5)
    if not include_background:
        counted = counted & (torch.arange(batch.classes, device=counted.device) > 0)
    number = counted.sum(1)
    shares = counted / number.clamp_min(1)[:, None].to(batch.logits.dtype)

    def formula(logits: Tensor, part: slice, wanted: bool) -> tuple[Tensor, Tensor | None]:
        p, true = softmax_of_valid(logits, batch, part), one_hot(batch, part)
        by_p = torch.zeros_like(p)
        value = p.new_zeros((), dtype=torch.float64)
        step = max(1, CACHED // max(1, p.shape[-1]))
        present = counted[part].nonzero()
        for maps in present.split(step) if len(present) else ():
            where = tuple(maps.T)
            shape = (len(maps), *batch.spatial)
            # The caller's saved-tensor hooks are meant for tensors that are kept until backward.
            with torch.set_grad_enabled(wanted), saved_tensors_hooks(_as_it_is, _as_it_is):
                predicted = p[where].view(shape).requires_grad_(wanted)
                losses = _losses(predicted, true[where].view(shape), iterations, smooth)
                total = (losses * shares[part][where]).sum()
            value += total.detach()
            if wanted:
                by_p[where] = torch.autograd.grad(total, predicted)[0].view(len(maps), -1)
        return value, through_softmax(p, by_p) if wanted else None

    if torch.compiler.is_compiling():
        total = _sum_of_all(batch, shares, iterations, smooth)
    else:
        total = sum_over_images(batch, formula)
    total, images = sum_over_processes(total, (number > 0).sum().to(shares.dtype))
    return total / images.clamp_min(1)


def _sum_of_all(batch: Batch, shares: Tensor, iterations: int, smooth: float) -> Tensor:
    """Σ share·loss over the maps of all images and classes, with shapes and a gradient that a compiler can trace."""
    probabilities, shape = torch.softmax(batch.logits, 1), (-1, *batch.spatial)
    if batch.valid is not None:
        probabilities = probabilities * batch.valid[:, None]
    losses = _losses(probabilities.view(shape), one_hot(batch, slice(None)).view(shape), iterations, smooth)
    return (losses * shares.flatten()).sum()


def _as_it_is(tensor: Tensor) -> Tensor:
    return tensor


def _losses(predicted: Tensor, true: Tensor, iterations: int, smooth: float) -> Tensor:
    """1 - 2 P·S / (P + S) of maps (K, *spatial): (K,)."""

    def quotient(skeleton: Tensor, mask: Tensor) -> Tensor:
        skeleton, mask = skeleton.reshape(len(mask), -1), mask.reshape(len(mask), -1)
        return ((skeleton * mask).sum(1) + smooth) / (skeleton.sum(1) + smooth)

    precision = quotient(soft_skeleton(predicted, iterations), true)
    sensitivity = quotient(soft_skeleton(true, iterations), predicted)
    return 1 - 2 * precision * sensitivity / (precision + sensitivity)


def soft_skeleton(maps: Tensor, iterations: int) -> Tensor:
    """Soft skeletons of maps (K, *spatial) in [0, 1], after `iterations` erosions."""
    eroded = _erode(maps)
    skeleton = torch.relu(maps - _dilate(eroded))
    for _ in range(iterations):
        maps, eroded = eroded, _erode(eroded)
        ridge = torch.relu(maps - _dilate(eroded))
        skeleton = skeleton + torch.relu(ridge - skeleton * ridge)
    return skeleton


def _erode(maps: Tensor) -> Tensor:
    """The minimum of each pixel and its neighbours along the axes; there are none beyond the edge."""
    lowest = maps
    for axis in range(1, maps.dim()):
        along = _OfThree.apply(maps, axis, torch.minimum)
        lowest = along if axis == 1 else _Least.apply(lowest, along)
    return lowest


def _dilate(maps: Tensor) -> Tensor:
    """The maximum of each pixel and all its neighbours, including the diagonal ones."""
    for axis in range(1, maps.dim()):
        maps = _OfThree.apply(maps, axis, torch.maximum)
    return maps


# Autograd's own derivatives of minimum and maximum use selection, which is several times slower than these products.
# Among equal values, one gets the whole gradient.


class _OfThree(torch.autograd.Function):
    """The minimum, or maximum, of each pixel and its two neighbours along an axis."""

    @staticmethod
    def forward(ctx, maps: Tensor, axis: int, function: Callable[..., Tensor]) -> Tensor:
        result, last = maps.clone(), maps.shape[axis] - 1
        for start, other in ((0, 1), (1, 0)):
            part = result.narrow(axis, start, last)
            neighbour = maps.narrow(axis, other, last)
            if torch.compiler.is_compiling():  # Dynamo does not support a non-contiguous out=
                part.copy_(function(part, neighbour))
            else:
                function(part, neighbour, out=part)
        ctx.save_for_backward(maps, result)
        ctx.axis = axis
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        maps, result = ctx.saved_tensors
        axis, last = ctx.axis, maps.shape[ctx.axis] - 1
        itself = maps.clone().eq_(result).mul_(gradient)
        rest = gradient - itself
        before = maps.narrow(axis, 0, last).clone().eq_(result.narrow(axis, 1, last)).mul_(rest.narrow(axis, 1, last))
        rest.narrow(axis, 1, last).sub_(before)
        itself.narrow(axis, 0, last).add_(before)
        itself.narrow(axis, 1, last).add_(rest.narrow(axis, 0, last))
        return itself, None, None


class _Least(torch.autograd.Function):
    """The minimum of two maps."""

    @staticmethod
    def forward(ctx, left: Tensor, right: Tensor) -> Tensor:
        result = torch.minimum(left, right)
        ctx.save_for_backward(left, result)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        left, result = ctx.saved_tensors
        by_left = left.clone().eq_(result).mul_(gradient)
        return by_left, gradient - by_left
