"""Targets made from one class map per image: the map itself, and its smoothed forms."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from segloss.labels._catalogue import register, without_void
from segloss.options import OddWidth, Positive, Share


@register(source="map", soft_targets=False)
def hard(labels: Tensor, valid: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """The class map itself, with class 0 at void pixels.

    Args:
        labels, valid, num_classes: As in every scenario, see `segloss.labels`.

    Returns:
        int64 (B, *spatial) and ``valid``.
    """
    return without_void(labels, valid, num_classes), valid


@register(source="map")
def uniform_smoothing(
    labels: Tensor, valid: Tensor, num_classes: int, *, epsilon: Share = 0.1
) -> tuple[Tensor, Tensor]:
    """Label smoothing: (1 - epsilon) onehot(y) + epsilon / C at every pixel.

    Args:
        labels, valid, num_classes: As in every scenario, see `segloss.labels`.
        epsilon: Probability spread evenly over all classes, 0..1; 0.1 as in the reference.

    Returns:
        float32 (B, C, *spatial), arbitrary but finite at void pixels, and ``valid``.

    Raises:
        ValueError: epsilon outside 0..1.

    Reference: Szegedy et al., Rethinking the Inception Architecture, 2016, https://arxiv.org/abs/1512.00567
    """
    labels = without_void(labels, valid, num_classes)
    return _smoothed(labels, torch.full_like(labels, epsilon, dtype=torch.float32), num_classes), valid


@register(source="map")
def boundary_smoothing(
    labels: Tensor, valid: Tensor, num_classes: int, *, epsilon: Share = 0.5, kernel_size: OddWidth = 3
) -> tuple[Tensor, Tensor]:
    """Label smoothing of the pixels along class boundaries only; all others stay one-hot.

    A pixel is on a boundary if the erosion of its class's one-hot map by a square (cube) of ``kernel_size`` removes it,
    that is, if its window contains another class. Outside the image there is no other class, and a pixel with void in
    its window stays one-hot, because the class beyond the void is unknown.

    Args:
        labels, valid, num_classes: As in every scenario, see `segloss.labels`.
        epsilon: Probability spread evenly over all classes at boundary pixels, 0..1; 0.5 as in the reference.
        kernel_size: Width of the window in pixels, odd; 3 as in the reference.

    Returns:
        float32 (B, C, *spatial), arbitrary but finite at void pixels, and ``valid``.

    Raises:
        ValueError: epsilon outside 0..1, kernel_size even or below 1.

    Reference: Wang et al., Dice Semimetric Losses, 2023, https://arxiv.org/abs/2303.16296
    """
    labels = without_void(labels, valid, num_classes)
    # float32 holds class ids exactly, and not every device supports max pooling of integers.
    ids = labels.to(torch.float32)
    highest, minus_lowest, void = _window_maximum(torch.stack([ids, -ids, (~valid).to(ids)]), kernel_size)
    boundary = ((highest != ids) | (minus_lowest != -ids)) & (void == 0)
    return _smoothed(labels, boundary * epsilon, num_classes), valid


@register(source="map")
def gaussian_smoothing(
    labels: Tensor,
    valid: Tensor,
    num_classes: int,
    *,
    sigma: Positive = 1.0,
    kernel_size: OddWidth = 3,
    own_weight: Share = 0.5,
) -> tuple[Tensor, Tensor]:
    """Spatially varying label smoothing: the one-hot map blurred by a Gaussian whose centre has a separate weight.

    target = own_weight onehot(y) + (1 - own_weight) * Gaussian-weighted class shares among the other valid pixels of
    the window. Pixels outside the image and void pixels have no share; a pixel without valid neighbours stays one-hot.
    With own_weight 0.5 no pixel's most probable class changes, thin structures included, which a plain Gaussian does
    not guarantee. The reference pads by replication instead.

    Args:
        labels, valid, num_classes: As in every scenario, see `segloss.labels`.
        sigma: Standard deviation of the Gaussian in pixels, above 0; 1 as in the reference.
        kernel_size: Width of the window in pixels, odd; 3 as in the reference.
        own_weight: Weight of the pixel's own label, 0..1; 0.5 as in the reference.

    Returns:
        float32 (B, C, *spatial), arbitrary but finite at void pixels, and ``valid``.

    Raises:
        ValueError: sigma not above 0, kernel_size even or below 1, own_weight outside 0..1.

    Reference: Islam and Glocker, Spatially Varying Label Smoothing, 2021, https://arxiv.org/abs/2104.05788
    """
    labels = without_void(labels, valid, num_classes)
    weights = [math.exp(-0.5 * (distance / sigma) ** 2) for distance in range(1, kernel_size // 2 + 1)]
    one_hot = torch.zeros(labels.shape[0], num_classes, *labels.shape[1:], device=labels.device)
    one_hot.scatter_(1, labels.unsqueeze(1), valid.unsqueeze(1).to(one_hot))
    # The window's weights are a product over the axes with 1 at the centre: (1 + sides) of one axis, times (1 + sides)
    # of the next, minus the pixel itself. Leaving it out from the start, not subtracting it, keeps small weights exact.
    others = torch.zeros_like(one_hot)
    for axis in range(2, one_hot.ndim):
        others += _sides(one_hot + others, axis, weights)
    total = others.sum(1, keepdim=True)
    own_share = torch.where(total > 0, own_weight, 1.0)
    return others.mul_((1 - own_share) / total.clamp_min(torch.finfo(total.dtype).tiny)).add_(
        one_hot.mul_(own_share)
    ), valid


def _smoothed(labels: Tensor, epsilon: Tensor, num_classes: int) -> Tensor:
    """(1 - epsilon) onehot(labels) + epsilon / C, with one epsilon per pixel."""
    share = (epsilon / num_classes).unsqueeze(1)
    target = share.expand(-1, num_classes, *share.shape[2:]).contiguous()
    return target.scatter_(1, labels.unsqueeze(1), share + (1 - epsilon).unsqueeze(1))


def _window_maximum(maps: Tensor, width: int) -> Tensor:
    """Maximum over a window of ``width`` along every spatial axis of (K, B, *spatial), clipped at the border.

    One axis after another, as the window is separable: the cost grows with ``width`` and not with the window's area,
    and any number of axes works.
    """
    for axis in range(2, maps.ndim if maps.numel() else 0):  # max_pool2d rejects an empty batch
        as_columns = maps.reshape(maps.shape[:axis].numel(), maps.shape[axis], -1)
        maps = functional.max_pool2d(as_columns, (width, 1), stride=1, padding=(width // 2, 0)).view_as(maps)
    return maps


def _sides(maps: Tensor, axis: int, weights: list[float]) -> Tensor:
    """Weighted sum of the pixels at distance 1, 2, ... along one axis, on both sides; 0 outside the image."""
    size, total = maps.shape[axis], torch.zeros_like(maps)
    for distance, weight in enumerate(weights[: size - 1], start=1):
        total.narrow(axis, distance, size - distance).add_(maps.narrow(axis, 0, size - distance), alpha=weight)
        total.narrow(axis, 0, size - distance).add_(maps.narrow(axis, distance, size - distance), alpha=weight)
    return total
