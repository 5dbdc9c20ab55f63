"""Counts of boundaries: regions along them, surfaces within a tolerance, and soft edge maps at every threshold."""

import math

import torch
from torch import Tensor

from segloss.metrics._accumulate import ImageSums, bin_index
from segloss.metrics.boundaries import Boundaries

THRESHOLDS = 100  # edge probabilities are thresholded at .01, ..., .99


def boundary_counts(
    predicted: Tensor, labels: Tensor, valid: Tensor, num_classes: int, boundaries: Boundaries
) -> ImageSums:
    """Counts of each image and class (B, C) int64.

    Args:
        predicted: (B, H, W) predicted classes.
        labels: (B, H, W) labels, in [0, C) everywhere.
        valid: (B, H, W) bool. Void pixels belong to no region or surface, and other pixels have no boundary with them.
        num_classes: C.
        boundaries: What is counted.

    Returns:
        With iou_width, the pixels of the boundary regions: region_true, region_predicted, and region_both, those in
        both. With surface_tolerance, the pixels of the surfaces: surface_true, surface_predicted, and, as
        surface_true_near and surface_predicted_near, those within the tolerance of the other surface of their class.
    """
    true, guess = (torch.where(valid, classes, num_classes).short() for classes in (labels, predicted))
    counts: ImageSums = {}
    if boundaries.iou_width is not None:
        width = max(1, round(boundaries.iou_width * math.hypot(*labels.shape[1:])))
        in_true, in_guess = (_near_another_class(classes, num_classes, width) & valid for classes in (true, guess))
        counts["region_true"] = _by_class(true, in_true, num_classes)
        counts["region_predicted"] = _by_class(guess, in_guess, num_classes)
        counts["region_both"] = _by_class(true, in_true & in_guess & (true == guess), num_classes)
    if boundaries.surface_tolerance is not None:
        surfaces = [_surface(classes, num_classes) & valid for classes in (true, guess)]
        for name, classes, surface, other_classes, other in (
            ("true", true, surfaces[0], guess, surfaces[1]),
            ("predicted", guess, surfaces[1], true, surfaces[0]),
        ):
            # Next to void, the other surface may continue inside the void: such pixels are not counted.
            surface = surface & ~_within(~valid, boundaries.surface_tolerance)
            target = torch.where(other, other_classes, -1)
            near = _meets(classes, surface, target, boundaries.surface_tolerance)
            counts[f"surface_{name}"] = _by_class(classes, surface, num_classes)
            counts[f"surface_{name}_near"] = _by_class(classes, near, num_classes)
    return counts


def edge_counts(edge: Tensor, truths: Tensor, seen: Tensor, valid: Tensor, tolerance: float) -> ImageSums:
    """Histograms of the edge probabilities of each image, (B, 100) int64.

    Args:
        edge: (B, H, W) probability of class 1.
        truths: (B, R, H, W) labels of R raters, 1 on edges.
        seen: (B, R, H, W) bool, where the labels are valid.
        valid: (B, H, W) bool.
        tolerance: Largest distance of a match, as a share of the image diagonal.

    Returns:
        edge_predicted: pixels by their probability; edge_predicted_near: those within the tolerance of an edge of any
        rater; edge_true: pixels of the edges of all raters, by the largest probability within the tolerance.
    """
    radius = tolerance * math.hypot(*edge.shape[1:])
    bins = bin_index(edge.double(), THRESHOLDS, edge.dtype).short()
    bins = torch.where(valid, bins, -1)
    true = (truths == 1) & seen
    near = _within(true.any(1), radius)
    reach = _largest_within(bins, radius)[:, None].expand_as(true)
    return {
        "edge_predicted": _by_class(bins, valid, THRESHOLDS),
        "edge_predicted_near": _by_class(bins, valid & near, THRESHOLDS),
        "edge_true": _by_class(reach, true, THRESHOLDS),
    }


def _by_class(classes: Tensor, where: Tensor, number: int) -> Tensor:
    """(B, number): number of pixels of each class in each image, counted where `where` is True."""
    images = torch.arange(len(classes), device=classes.device).view(-1, *[1] * (classes.ndim - 1)).expand_as(classes)
    index = images[where] * number + classes[where]
    return torch.bincount(index, minlength=len(classes) * number).view(len(classes), number)


def _near_another_class(classes: Tensor, void: int, width: int) -> Tensor:
    """Pixels whose square window of 2 width + 1 holds another class or leaves the image; `void` is not a class.

    These are the pixels that `width` 3x3 erosions remove from the mask of their class, for all classes at once.
    """
    inner = torch.zeros_like(classes, dtype=torch.bool)
    inner[:, width : classes.shape[1] - width, width : classes.shape[2] - width] = True
    largest = _window_maximum(torch.where(classes == void, -1, classes), width)
    smallest = -_window_maximum(-classes, width)  # void, the largest number, is the minimum only of all-void windows
    return (largest != classes) | (smallest != classes) | ~inner


def _window_maximum(values: Tensor, width: int) -> Tensor:
    """Maximum over square windows of 2 width + 1, clipped at the image, by doubling: log2(width) passes per axis."""
    for axis in (1, 2):
        length, size = values.shape[axis], 2 * width + 1
        lowest = torch.iinfo(values.dtype).min
        ends = list(values.shape)
        ends[axis] = width
        end = values.new_full(ends, lowest)
        values, reach = torch.cat([end, values, end], axis), 1
        while reach < size:
            step = min(reach, size - reach)
            kept = values.shape[axis] - step
            values = torch.maximum(values.narrow(axis, 0, kept), values.narrow(axis, step, kept))
            reach += step
        values = values.narrow(axis, 0, length)
    return values


def _surface(classes: Tensor, void: int) -> Tensor:
    """Pixels with a 4-neighbour that has another class (not `void`) or is outside the image."""
    padded = torch.nn.functional.pad(classes, (1, 1, 1, 1), value=-1)
    height, width = classes.shape[1:]
    surface = torch.zeros_like(classes, dtype=torch.bool)
    for down, right in ((0, 1), (2, 1), (1, 0), (1, 2)):
        neighbour = padded[:, down : down + height, right : right + width]
        surface |= (neighbour != classes) & (neighbour != void)
    return surface


def _disk(radius: float) -> list[tuple[int, int]]:
    """Offsets of Euclidean length at most `radius`."""
    reach = math.floor(radius)
    steps = range(-reach, reach + 1)
    return [(down, right) for down in steps for right in steps if down**2 + right**2 <= radius**2]


def _within(mask: Tensor, radius: float) -> Tensor:
    """Pixels within `radius` of a pixel of the mask (B, H, W)."""
    if not mask.any():
        return mask
    image, row, column = mask.nonzero(as_tuple=True)
    reach = math.floor(radius)
    height, width = mask.shape[1:]
    padded = torch.zeros(len(mask), height + 2 * reach, width + 2 * reach, dtype=torch.bool, device=mask.device)
    for down, right in _disk(radius):
        padded[image, row + reach + down, column + reach + right] = True
    return padded[:, reach : reach + height, reach : reach + width]


def _meets(classes: Tensor, where: Tensor, target: Tensor, radius: float) -> Tensor:
    """Pixels where `where` is True, within `radius` of a pixel of `target` of the same class."""
    image, row, column = where.nonzero(as_tuple=True)
    reach = math.floor(radius)
    padded = torch.nn.functional.pad(target, (reach, reach, reach, reach), value=-1)
    wanted, matched = classes[where], torch.zeros(len(image), dtype=torch.bool, device=classes.device)
    for down, right in _disk(radius):
        matched |= padded[image, row + reach + down, column + reach + right] == wanted
    near = torch.zeros_like(where)
    near[image, row, column] = matched
    return near


def _largest_within(values: Tensor, radius: float) -> Tensor:
    """Maximum over the disk of radius `radius` around each pixel."""
    reach = math.floor(radius)
    height, width = values.shape[1:]
    padded = torch.nn.functional.pad(values, (reach, reach, reach, reach), value=torch.iinfo(values.dtype).min)
    largest = values
    for down, right in _disk(radius):
        shifted = padded[:, reach + down : reach + down + height, reach + right : reach + right + width]
        largest = torch.maximum(largest, shifted)
    return largest
