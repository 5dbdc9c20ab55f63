"""The marginal L1 average calibration error as a loss, with hard or soft bins."""

from typing import Annotated, Literal

import torch
import torch.distributed
from torch import Tensor
from torch.autograd.function import once_differentiable

from segloss.losses._all_reduce import sum_over_processes
from segloss.losses._batch import Batch
from segloss.losses._catalogue import register
from segloss.losses._flags import exchange_on
from segloss.losses._image_sums import gradient_wanted, one_hot, through_softmax
from segloss.losses._sums import slices
from segloss.options import AtLeast, Share

EMPTY = 0.01  # a soft bin with less weight than a hundredth of a pixel counts as empty, as in the authors' code


@register("AverageCalibrationErrorLoss")
def average_calibration_error(
    logits: Tensor | Batch,
    target: Tensor | None,
    *,
    valid: Tensor | None = None,
    bins: Annotated[int, AtLeast(2)] = 20,
    soft_bins: bool = False,
    per_image: bool = True,
    classes: Literal["present", "all"] = "present",
    threshold: Share = 0.01,
) -> Tensor:
    """Marginal L1 average calibration error (mL1-ACE): mean over occupied bins of |mean p_c - mean y_c|, over classes.

    For each class against the rest, pixels are binned by p_c, and every occupied bin has the same weight, however few
    pixels it holds; the errors are averaged over classes and images. The loss is 0 for any calibrated prediction, even
    a constant one, so it should always be combined with cross-entropy, with weights of 1 : 1 in the authors' code.
    Lower is better.

    With hard bins [b/M, (b+1)/M) the gradient flows only through mean p_c. With soft bins a pixel belongs to the two
    bins with the nearest centres, with triangular weights, which have a gradient too.

    Args:
        logits, target, valid: As in every loss, see `segloss.losses`.
        bins: M, at least 2. Default 20, the authors'.
        soft_bins: Whether bins are soft. Default: False.
        per_image: Whether each image has its own bins, as in the authors' code; False: the bins of the batch are summed
            over all processes. Default: True.
        classes: ``"present"``: the mean over the classes that occur (in the image, or in the batch); ``"all"``.
            Default: present. The authors' later code counts absent classes as 0 in the mean, their first code in full.
        threshold: A class is present in a soft target if its largest probability is above this. Default .01.

    Returns:
        A scalar in [0, 1].

    Raises:
        ValueError: invalid shapes, types or options.

    Reference: Barfoot et al., "Average Calibration Error: A Differentiable Loss for Improved Reliability in Image
        Segmentation", 2024, https://arxiv.org/abs/2403.06759
    """
    batch = Batch.read(logits, target, valid, average_calibration_error.sums)
    counted = batch.present(threshold) if classes == "present" else (batch.pixels > 0)[:, None].expand_as(batch.true)
    counted = counted.to(batch.logits.dtype)
    form = (bins, soft_bins, not per_image, gradient_wanted(batch.logits))
    if per_image:
        total = _AverageCalibrationError.apply(batch.logits, batch, counted, *form)
        total, number = sum_over_processes(total, counted.sum())
        return total / number.clamp_min(1)
    (images_with_class,) = sum_over_processes(counted.sum(0))
    counted = (images_with_class > 0).to(counted.dtype)[None]
    return _AverageCalibrationError.apply(batch.logits, batch, counted, *form) / counted.sum().clamp_min(1)


class _AverageCalibrationError(torch.autograd.Function):
    """The error summed over images (or of the batch) and counted classes; only the gradient is kept."""

    @staticmethod
    def forward(ctx, logits, batch: Batch, counted: Tensor, bins: int, soft: bool, pooled: bool, wanted: bool):
        probabilities = torch.log_softmax(logits, 1).exp_()
        parts = list(slices(logits))
        tables = torch.cat([_tables(probabilities[part], batch, part, bins, soft) for part in parts], 1)
        if pooled:
            tables = tables.sum(1, keepdim=True)
            if exchange_on():
                torch.distributed.all_reduce(tables)
        weight, predicted, true = tables
        occupied = weight >= EMPTY
        share = counted.double()[:, :, None] * occupied / occupied.sum(-1, keepdim=True).clamp_min(1)
        gap = (predicted - true) / torch.where(occupied, weight, 1)
        total = (share * gap.abs()).sum().to(logits.dtype)
        if wanted:
            # A bin's error is |P/W - Y/W|, where W, P and Y are its sums of w, w·p and w·y. Its derivative with respect
            # to a pixel's w is s (p - y - gap) / W, and that with respect to the pixel's p is additionally s w / W.
            by_bin = (share * gap.sign() / torch.where(occupied, weight, 1)).to(logits.dtype)
            if pooled and exchange_on():
                by_bin = by_bin * torch.distributed.get_world_size()  # see _SumOverProcesses
            for part in parts:
                where = slice(None) if pooled else part
                by_p = _by_probability(
                    probabilities[part], batch, part, by_bin[where], gap[where].to(logits.dtype), soft
                )
                probabilities[part] = through_softmax(probabilities[part], by_p)
            ctx.save_for_backward(probabilities)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        (by_logits,) = ctx.saved_tensors
        return by_logits * gradient, *[None] * 6


def _bins(probabilities: Tensor, bins: int, soft: bool) -> tuple[Tensor, Tensor | None]:
    """The lower bin of each entry and the entry's weight in the next bin, None for hard bins."""
    scaled = probabilities * bins
    if not soft:
        return scaled.long().clamp_(max=bins - 1), None
    scaled = (scaled - 0.5).clamp_(0, bins - 1)
    lower = scaled.long().clamp_(max=bins - 2)
    return lower, scaled.sub_(lower)


def _tables(probabilities: Tensor, batch: Batch, part: slice, bins: int, soft: bool) -> Tensor:
    """Σ w, Σ w·p and Σ w·y of each image, class and bin: (3, b, C, M), float64."""
    images, classes, _ = probabilities.shape
    lower, upper_weight = _bins(probabilities, bins, soft)
    lower += (bins * torch.arange(images * classes, device=lower.device)).view(images, classes, 1)
    valid = None if batch.valid is None else batch.valid[part][:, None].to(probabilities.dtype)
    index = None if batch.soft else batch.index[part][:, None]

    def sums(where: Tensor, weight: Tensor | None) -> Tensor:
        if weight is None and torch.compiler.is_compiling():  # the length of bincount's result depends on values
            weight = torch.ones_like(where, dtype=torch.float64)
        if weight is None:
            return torch.bincount(where.flatten(), minlength=images * classes * bins).double()
        table = weight.new_zeros(images * classes * bins, dtype=torch.float64)
        return table.scatter_add_(0, where.flatten(), weight.expand_as(where).flatten().double())

    def of_weights(weight: Tensor | None) -> Tensor:
        if valid is not None:
            weight = valid if weight is None else weight * valid
        predicted = sums(lower, probabilities if weight is None else probabilities * weight)
        if index is None:
            y = batch.valid_target[part]
            true = sums(lower, y if weight is None else y * weight)
        else:
            of_target = weight if weight is None else weight.expand_as(lower).gather(1, index)
            true = sums(lower.gather(1, index), of_target)
        return torch.stack([sums(lower, weight), predicted, true])

    tables = of_weights(None if upper_weight is None else 1 - upper_weight)
    if upper_weight is not None:
        tables[:, 1:] += of_weights(upper_weight)[:, :-1]
    return tables.view(3, images, classes, bins)


def _by_probability(p: Tensor, batch: Batch, part: slice, by_bin: Tensor, gap: Tensor, soft: bool) -> Tensor:
    """The derivative of the errors with respect to p (b, C, N), 0 where void; by_bin and gap are (b or 1, C, M)."""
    bins = by_bin.shape[-1]
    lower, upper_weight = _bins(p, bins, soft)
    by_bin, gap = by_bin.expand(len(p), -1, -1), gap.expand(len(p), -1, -1)
    by_p = by_bin.gather(2, lower)
    if upper_weight is not None:
        error = p - one_hot(batch, part)
        upper = by_bin.gather(2, lower + 1)
        change = upper * (error - gap.gather(2, lower + 1)) - by_p * (error - gap.gather(2, lower))
        inside = (p * bins > 0.5) & (p * bins < bins - 0.5)
        by_p = torch.lerp(by_p, upper, upper_weight) + bins * inside * change
    return by_p if batch.valid is None else by_p.mul_(batch.valid[part][:, None])
