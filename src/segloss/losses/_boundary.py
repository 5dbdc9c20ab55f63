"""Losses based on distances to the class boundaries: boundary loss and Hausdorff loss by distance transforms."""

from collections.abc import Callable

import torch
from torch import Tensor

from segloss.losses._all_reduce import sum_over_processes
from segloss.losses._batch import Batch
from segloss.losses._catalogue import register
from segloss.losses._distance import signed_distances, squared_boundary_distances
from segloss.losses._image_sums import one_hot, softmax_of_valid, sum_over_images, through_softmax
from segloss.options import Positive


@register("DistanceBoundaryLoss", soft_targets=False, needs=("distance_maps",))
def boundary(
    logits: Tensor | Batch,
    target: Tensor | None,
    *,
    valid: Tensor | None = None,
    distance_maps: Tensor | None = None,
    include_background: bool = False,
) -> Tensor:
    """Boundary loss: the mean of p_c·φ_c over images, classes and valid pixels; lower is better.

    φ_c is the signed distance to the boundary of class c in pixels: outside the class the distance to it, inside 1
    minus the distance to its complement. So it is 0 on the outermost pixels of the class, negative further inside, and
    0 everywhere if the class is absent or fills the image. The loss may be negative, and its minimum puts all
    probability on the class with the smallest φ: it favours over-confidence. The article adds it to generalized Dice
    with a weight that grows from .01.

    Args:
        logits, target, valid: As in every loss, see `segloss.losses`; the target is a class map. A void pixel belongs
            to no class.
        distance_maps: φ, float (B, C, *spatial), finite. It depends only on the labels, so a data loader can
            compute it. Default: None: computed at each call, on the logits' device; on one CPU core this takes 10 ms
            per class in an image of 256x256 and 100 ms at 512x1024, with objects of a quarter of the side.
        include_background: Whether class 0 counts. Default: False, as in the authors' scripts.

    Returns:
        A scalar in pixels.

    Raises:
        ValueError: target probabilities, or invalid shapes or types.

    Reference: Kervadec et al., "Boundary loss for highly unbalanced segmentation", 2018,
        https://arxiv.org/abs/1812.07032
    """
    batch = Batch.read(logits, target, valid, boundary.sums)
    if batch.soft:
        raise ValueError(
            "Expected an int64 class map, got target probabilities: a soft class has no boundary to measure distances "
            "from; use hausdorff, which takes the boundary of the pixels above one half."
        )
    first = 0 if include_background else 1
    distances = _distances(batch, distance_maps, first, signed_distances)

    def formula(logits: Tensor, part: slice, wanted: bool) -> tuple[Tensor, Tensor | None]:
        p, by_p = softmax_of_valid(logits, batch, part), distances(part)
        value = (p * by_p).sum()
        return value, through_softmax(p, by_p.clone()) if wanted else None

    return _mean(batch, sum_over_images(batch, formula), first)


@register("HausdorffDistanceLoss", needs=("distance_maps",))
def hausdorff(
    logits: Tensor | Batch,
    target: Tensor | None,
    *,
    valid: Tensor | None = None,
    distance_maps: Tensor | None = None,
    alpha: Positive = 2.0,
    include_background: bool = False,
    log: bool = False,
) -> Tensor:
    """Hausdorff loss by distance transforms: the mean of (p_c - y_c)²·(d_p^α + d_y^α); lower is better.

    The mean is over images, classes and valid pixels. d is a pixel's distance to the other side of a class's boundary,
    0 if the class is absent or fills the image: d_y of the label, d_p of the prediction, without gradient. The
    predicted class is the most probable one; MONAI uses p_c > ½, which with three or more classes may hold nowhere. The
    value grows with the image's size, so the weight must be chosen accordingly. MMSegmentation's
    HuasdorffDisstanceLoss compares p_c with the class index and is not 0 for a perfect prediction of three classes.

    Args:
        logits, target, valid: As in every loss, see `segloss.losses`; for probabilities, d_y is that of y_c > ½. A void
            pixel belongs to no class.
        distance_maps: φ as in `boundary`, (B, C, *spatial), from which d_y follows; for probabilities it must be φ of
            y_c > ½, unlike a data loader's maps of a class map. d_p still needs a transform of the prediction at every
            step. Default: None: computed here.
        alpha: α, above 0. Default 2, MONAI's and the article's.
        include_background: Whether class 0 counts. Default: False, as in MONAI.
        log: Whether to take log(1 + ·) of the mean. Default: False.

    Returns:
        A scalar in [0, ∞), in pixels^α.

    Raises:
        ValueError: invalid shapes, types or options.

    Reference: Karimi and Salcudean, "Reducing the Hausdorff Distance in Medical Image Segmentation with Convolutional
        Neural Networks", 2019, https://arxiv.org/abs/1904.10030
    """
    batch = Batch.read(logits, target, valid, hausdorff.sums)
    first = 0 if include_background else 1
    distances = _distances(batch, distance_maps, first, squared_boundary_distances)

    def powers(squares: Tensor) -> Tensor:
        return squares if alpha == 2 else squares.pow(alpha / 2)

    def formula(logits: Tensor, part: slice, wanted: bool) -> tuple[Tensor, Tensor | None]:
        true = one_hot(batch, part)
        weight = distances(part)
        if distance_maps is not None:
            weight = _squares(weight, true > 0.5)
        predicted = torch.zeros_like(true, dtype=torch.bool).scatter_(1, logits.argmax(1, keepdim=True), True)
        if batch.valid is not None:
            predicted &= batch.valid[part][:, None]
        squares = _of_masks(predicted, batch, first, squared_boundary_distances)
        weight = powers(weight) + powers(squares)
        p = softmax_of_valid(logits, batch, part)
        error = p - true
        by_p = error * weight
        value = (error * by_p).sum()
        return value, through_softmax(p, by_p.mul_(2)) if wanted else None

    mean = _mean(batch, sum_over_images(batch, formula), first)
    return mean.log1p() if log else mean


def _mean(batch: Batch, total: Tensor, first: int) -> Tensor:
    total, pixels = sum_over_processes(total, batch.pixels.sum())
    return total / torch.where(pixels > 0, pixels * (batch.classes - first), 1)


def _distances(
    batch: Batch, distance_maps: Tensor | None, first: int, function: Callable[[Tensor], Tensor]
) -> Callable[[slice], Tensor]:
    """A function from some images to their distances (b, C, N), 0 below class `first`: given or computed from masks."""
    if distance_maps is None:
        return lambda part: _of_masks(one_hot(batch, part) > 0.5, batch, first, function)
    images, classes, _ = batch.logits.shape
    shape = (images, classes, *batch.spatial)
    if not distance_maps.is_floating_point() or tuple(distance_maps.shape) != shape:
        raise ValueError(
            f"Expected float distance_maps of shape {shape}, got {distance_maps.dtype} of shape "
            f"{tuple(distance_maps.shape)}."
        )

    def given(part: slice) -> Tensor:
        maps = distance_maps[part].flatten(2) if batch.spatial else distance_maps[part][..., None]
        return torch.cat([torch.zeros_like(maps[:, :first]), maps[:, first:]], 1).to(batch.logits.dtype)

    return given


def _of_masks(masks: Tensor, batch: Batch, first: int, function: Callable[[Tensor], Tensor]) -> Tensor:
    """`function` of the masks (K, *spatial) of every class from `first` on, as (b, C, N); 0 for the others."""
    images, classes, pixels = masks.shape
    result = batch.logits.new_zeros(images, classes, pixels)
    chosen = masks[:, first:].reshape(images * (classes - first), *batch.spatial)
    result[:, first:] = function(chosen).view(images, classes - first, pixels)
    return result


def _squares(signed: Tensor, inside: Tensor) -> Tensor:
    """The squared boundary distances, from signed distances (b, C, N)."""
    if not signed.numel():
        return signed
    split = (signed > 0).any(-1, keepdim=True)  # else the class is absent or fills the image
    return torch.where(inside, 1 - signed, signed).square_() * split
