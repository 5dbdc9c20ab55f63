"""From images to the class probabilities that are evaluated, at the size of the labels.

Where windows, scales or mirrored images are combined, probabilities are averaged, not logits: mIoU and ECE are those of
the mean of the predicted distributions. (MMSegmentation's ``slide_inference`` averages the windows' logits, its
``SegTTAModel`` the views' probabilities.)
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from segloss.grid.protocol import Protocol


def windows(length: int, crop: int, stride: int) -> list[slice]:
    """The windows of one axis, as in MMSegmentation: the last is moved back to end with the image."""
    steps = -(-max(length - crop, 0) // stride)
    stops = [min(step * stride + crop, length) for step in range(steps + 1)]
    return [slice(max(stop - crop, 0), stop) for stop in stops]


def logits_of(model: nn.Module, inputs: Tensor, size_divisor: int) -> Tensor:
    """The logits (B, C, H, W) of a segmentor for normalised images (B, 3, H, W)."""
    height, width = inputs.shape[-2:]
    filled = functional.pad(inputs, (0, -width % size_divisor, 0, -height % size_divisor))
    logits = model.encode_decode(filled, [dict(img_shape=filled.shape[2:])] * len(filled))
    return logits[..., :height, :width].float()


def resized(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps (B, C, h, w) at another size, bilinearly."""
    if maps.shape[-2:] == torch.Size(size):
        return maps
    return functional.interpolate(maps, size, mode="bilinear", align_corners=False)


def view_probabilities(model: nn.Module, inputs: Tensor, size: tuple[int, int], protocol: Protocol) -> Tensor:
    """Probabilities (B, C, *size) from one view of the images.

    For whole images, the logits are resized before the softmax, as in MMSegmentation; for windows, the mean of the
    probabilities is resized.
    """
    if protocol.mode == "whole":
        return resized(logits_of(model, inputs, protocol.size_divisor), size).softmax(1)
    total = covered = None
    rows, columns = (
        windows(*axis) for axis in zip(inputs.shape[-2:], protocol.crop_size, protocol.stride, strict=True)
    )
    for row in rows:
        for column in columns:
            part = logits_of(model, inputs[..., row, column], protocol.size_divisor).softmax(1)
            if total is None:
                total = part.new_zeros(*part.shape[:2], *inputs.shape[-2:])
                covered = torch.zeros_like(total[0, 0])
            total[..., row, column] += part
            covered[row, column] += 1
    return resized(total / covered, size)


def predict(model: nn.Module, inputs: Tensor, size: tuple[int, int], protocol: Protocol) -> Tensor:
    """The class probabilities that are evaluated: the mean over all views.

    Args:
        model: A segmentor in evaluation mode.
        inputs: Normalised images (B, 3, H, W).
        size: Height and width of their labels.
        protocol: The inference protocol.

    Returns:
        (B, C, *size) float32.
    """
    total, views = 0, 0
    for scale in protocol.scales:
        scaled = resized(inputs, tuple(max(1, round(scale * length)) for length in inputs.shape[-2:]))
        for mirrored in (False, True) if protocol.flip else (False,):
            view = scaled.flip(-1) if mirrored else scaled
            probabilities = view_probabilities(model, view, size, protocol)
            total = total + (probabilities.flip(-1) if mirrored else probabilities)
            views += 1
    return total / views
