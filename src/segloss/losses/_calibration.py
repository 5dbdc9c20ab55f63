"""Cross-entropy with a penalty on over-confidence: on the entropy, on logit distances, or on the neighbours' share.

None of them elicits probabilities on soft labels: their minimum is not p = y.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from segloss.losses._batch import Batch
from segloss.losses._catalogue import register
from segloss.losses._image_sums import gradient_wanted, one_hot
from segloss.losses._pixel import mean_over_pixels
from segloss.losses._pixel_autograd import PixelLosses
from segloss.losses._sums import LEAST
from segloss.options import NonNegative, OddWidth

# (logits, log p and p of some images, their slice) -> penalty per pixel (b, N), gradient with respect to the logits.
Penalty = Callable[[Tensor, Tensor, Tensor, slice], tuple[Tensor, Tensor]]


def _penalised_cross_entropy(batch: Batch, ce_weight: float, alpha: float, penalty: Penalty) -> Tensor:
    """The mean over pixels of weighted cross-entropy plus α times a penalty."""

    def formula(logits: Tensor, part: slice) -> tuple[Tensor, Tensor]:
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
        return values, by_logits

    return mean_over_pixels(batch, PixelLosses.apply(batch.logits, formula, gradient_wanted(batch.logits)))


@register("ConfidencePenaltyLoss", pixelwise=True)
def confidence_penalty(
    logits: Tensor | Batch,
    target: Tensor | None,
    *,
    valid: Tensor | None = None,
    alpha: NonNegative = 0.1,
    ce_weight: NonNegative = 1.0,
    pixel_weights: Tensor | None = None,
    reduction: Literal["mean", "none"] = "mean",
) -> Tensor:
    """Cross-entropy minus α times the entropy -Σ_c p_c log p_c of the prediction (ECP), over pixels; lower is better.

    Args:
        logits, target, valid: As in every loss, see `segloss.losses`.
        alpha: α, at least 0. Default .1, the article's for images; an α in code that also averages the entropy over
            classes, such as that of MbLS, corresponds to α / C here.
        ce_weight: Weight of cross-entropy; 0 leaves only the penalty, as a term next to other losses. Default 1.
        pixel_weights, reduction: As in `cross_entropy`.

    Returns:
        A scalar (or a map) in [-α log C, ∞), in nats.

    Raises:
        ValueError: invalid shapes, types or options.

    Reference: Pereyra et al., "Regularizing Neural Networks by Penalizing Confident Output Distributions", 2017,
        https://arxiv.org/abs/1701.06548
    """
    sums = confidence_penalty.sums
    batch = Batch.read(logits, target, valid, sums, pixel_weights=pixel_weights, reduction=reduction)

    def negative_entropy(logits: Tensor, log_p: Tensor, p: Tensor, part: slice) -> tuple[Tensor, Tensor]:
        gradient = p * log_p
        value = gradient.sum(1)
        return value, gradient.addcmul_(p, value[:, None], value=-1)

    return _penalised_cross_entropy(batch, ce_weight, alpha, negative_entropy)


@register("MarginLabelSmoothingLoss", pixelwise=True)
def margin_label_smoothing(
    logits: Tensor | Batch,
    target: Tensor | None,
    *,
    valid: Tensor | None = None,
    margin: NonNegative = 10.0,
    alpha: NonNegative = 0.1,
    ce_weight: NonNegative = 1.0,
    pixel_weights: Tensor | None = None,
    reduction: Literal["mean", "none"] = "mean",
) -> Tensor:
    """Margin-based label smoothing (MbLS): cross-entropy + α · mean_c max(0, max_k z_k - z_c - m); lower is better.

    Logits may differ by the margin m; any excess is penalised, averaged over pixels and classes, including the class of
    the largest logit. The authors' code includes void pixels in the penalty unless it is given their label; here they
    never count.

    Args:
        logits, target, valid: As in every loss, see `segloss.losses`.
        margin: m, in logits, at least 0. Default 10, the article's.
        alpha: α, at least 0. Default .1, the article's.
        ce_weight: Weight of cross-entropy; 0 leaves only the penalty, as a term next to other losses. Default 1.
        pixel_weights, reduction: As in `cross_entropy`.

    Returns:
        A scalar (or a map) in [0, ∞).

    Raises:
        ValueError: invalid shapes, types or options.

    Reference: Liu et al., "The Devil is in the Margin: Margin-based Label Smoothing for Network Calibration", 2022,
        https://arxiv.org/abs/2111.15430
    """
    sums = margin_label_smoothing.sums
    batch = Batch.read(logits, target, valid, sums, pixel_weights=pixel_weights, reduction=reduction)

    def excess(logits: Tensor, log_p: Tensor, p: Tensor, part: slice) -> tuple[Tensor, Tensor]:
        largest, index = logits.max(1, keepdim=True)
        beyond = (largest - margin).sub(logits).clamp_(0, -LEAST)
        value = beyond.mean(1)
        gradient = beyond.sign_().div_(-batch.classes)
        return value, gradient.scatter_add_(1, index, -gradient.sum(1, keepdim=True))

    return _penalised_cross_entropy(batch, ce_weight, alpha, excess)


@register("NeighborAwareCalibrationLoss", pixelwise=True)
def neighbor_aware_calibration(
    logits: Tensor | Batch,
    target: Tensor | None,
    *,
    valid: Tensor | None = None,
    kernel_size: OddWidth = 3,
    alpha: NonNegative = 0.1,
    distance: Literal["l1", "l2"] = "l1",
    border: Literal["valid", "zero"] = "valid",
    ce_weight: NonNegative = 1.0,
    pixel_weights: Tensor | None = None,
    reduction: Literal["mean", "none"] = "mean",
) -> Tensor:
    """Neighbour-aware calibration (NACL): cross-entropy + α · mean_c |τ_c - z_c|; lower is better.

    τ_c is the share of class c in the window around the pixel, the pixel included. The distance is that of the raw
    logits z, which it keeps within [0, 1]; adding a constant to them changes it. Void pixels do not count as
    neighbours. MONAI's form with the mean kernel is ``border="zero"``; its Gaussian kernel and the authors' make two
    other losses.

    Args:
        logits, target, valid: As in every loss, see `segloss.losses`.
        kernel_size: Width of the window, odd. Default 3, the authors'.
        alpha: α, at least 0. Default .1, the authors'.
        distance: ``"l1"`` or ``"l2"``: absolute or squared differences. Default: l1, the authors' best.
        border: ``"valid"``: shares among the window's valid pixels in the image, so that Σ_c τ_c = 1. ``"zero"``:
            shares of the whole window, in which pixels outside the image or void belong to no class. Default: valid.
        ce_weight: Weight of cross-entropy; 0 leaves only the penalty, as a term next to other losses. Default 1.
        pixel_weights, reduction: As in `cross_entropy`. Pixels of weight 0 still count as neighbours.

    Returns:
        A scalar (or a map) in [0, ∞).

    Raises:
        ValueError: invalid shapes, types or options.

    Reference: Murugesan et al., "Trust your neighbours: Penalty-based constraints for model calibration", 2023,
        https://arxiv.org/abs/2303.06268
    """
    sums = neighbor_aware_calibration.sums
    batch = Batch.read(logits, target, valid, sums, pixel_weights=pixel_weights, reduction=reduction)
    most = -LEAST if distance == "l1" else 1e15  # so that sums of gaps do not overflow

    def difference(logits: Tensor, log_p: Tensor, p: Tensor, part: slice) -> tuple[Tensor, Tensor]:
        gaps = (logits - _neighbour_shares(batch, part, kernel_size, border)).clamp_(-most, most)
        if distance == "l1":
            return gaps.abs().mean(1), gaps.sign_().div_(batch.classes)
        return gaps.square().mean(1), gaps.mul_(2 / batch.classes)

    return _penalised_cross_entropy(batch, ce_weight, alpha, difference)


def _neighbour_shares(batch: Batch, part: slice, kernel_size: int, border: str) -> Tensor:
    """Share of each class in the window around each pixel (b, C, N), 0 in a window without valid pixels."""
    maps = one_hot(batch, part)
    shape = maps.shape
    maps = _window_sums(maps.reshape(*shape[:2], *batch.spatial), kernel_size)
    if border == "zero":
        return maps.div_(kernel_size ** len(batch.spatial)).view(shape)
    inside = (
        torch.ones_like(batch.logits[part, :1]) if batch.valid is None else batch.valid[part][:, None].to(maps.dtype)
    )
    number = _window_sums(inside.reshape(len(inside), 1, *batch.spatial), kernel_size)
    return maps.div_(number.clamp_min_(1)).view(shape)


def _window_sums(maps: Tensor, width: int) -> Tensor:
    """Sums over a window around each pixel of (K, L, *spatial), 0 outside; axis by axis, as the window is separable."""
    for axis in range(2, maps.dim()):
        size, sums = maps.shape[axis], maps.clone()
        for shift in range(1, min(width // 2, size - 1) + 1):
            sums.narrow(axis, shift, size - shift).add_(maps.narrow(axis, 0, size - shift))
            sums.narrow(axis, 0, size - shift).add_(maps.narrow(axis, shift, size - shift))
        maps = sums
    return maps
