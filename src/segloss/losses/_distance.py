"""Exact Euclidean distances to the boundaries of masks, for any number of axes, where the tensors are."""

import torch
from torch import Tensor

FAR = 1e9  # pixels; finite, so that products with it can be 0
CACHED = 1 << 18  # numbers of the maps that are computed together: they stay in a core's own cache
# PyTorch computes an operation on fewer numbers than this in one thread. Thousands of short operations follow each
# other here, and waking a second thread for each took four times as long as computing in one.
GRAIN_SIZE = 1 << 15


def squared_boundary_distances(masks: Tensor) -> Tensor:
    """The squared distance of every pixel to the nearest one on the other side of its mask (K, *spatial) bool.

    Inside the mask it is that to the complement, outside that to the mask; 0 where the mask is empty or full.
    """
    # How much is computed depends on values: to a compiler it is one operator.
    return _OPERATOR(masks) if torch.compiler.is_compiling() else _of_masks(masks)


def _of_masks(masks: Tensor) -> Tensor:
    dtype = _dtype(masks)
    squares = masks.new_zeros(masks.shape, dtype=dtype)
    flat = masks.reshape(len(masks), masks.shape[1:].numel())
    # Masks that are empty or full have no boundary: with many classes most of them.
    divided = (flat.any(1) & ~flat.all(1)).nonzero()[:, 0]
    step = max(1, len(divided)) if masks.is_cuda else max(1, CACHED // max(1, flat.shape[1]))
    for first in range(0, len(divided), step):
        part = divided[first : first + step]
        some = masks[part]
        squares[part] = _squared_distances(some, dtype).add_(_squared_distances(~some, dtype))
    return squares


def _dtype(masks: Tensor) -> torch.dtype:
    """Squared distances are integers, and float32 holds them up to 2^24."""
    return torch.float32 if sum(size**2 for size in masks.shape[1:]) < 1 << 24 else torch.float64


# The name is this module's, so that a copy of the package has an operator of its own.
_OPERATOR = torch.library.custom_op(
    f"{__name__.replace('.', '_')}::squared_boundary_distances", _of_masks, mutates_args=()
)


@_OPERATOR.register_fake
def _(masks: Tensor) -> Tensor:
    return masks.new_empty(masks.shape, dtype=_dtype(masks))


def _squared_distances(pixels: Tensor, dtype: torch.dtype) -> Tensor:
    """The squared distance of every pixel to the nearest True one of its map (K, *spatial), which has one.

    The sum over axes of (i - j)² is minimised axis by axis. Along the last axis two scans do that; along another one
    every shift is tried until its square alone is more than any distance found. So the cost is N times the largest
    distance per further axis.
    """
    there = pixels.to(dtype)
    far = (1 - there).mul_(FAR)
    # By products: to select from two tensors takes longer than all the rest.
    position = torch.arange(pixels.shape[-1], dtype=dtype, device=pixels.device)
    there *= position
    before = position - (there - far).cummax(-1).values
    after = (there + far).flip(-1).cummin(-1).values.flip(-1) - position
    squares = torch.minimum(before, after).square_()
    for axis in range(1, pixels.dim() - 1):
        squares = _nearest_along(squares, axis)
    return squares


def _nearest_along(squares: Tensor, axis: int) -> Tensor:
    """min_j squares[j] + (i - j)² along an axis."""
    lines = squares.movedim(axis, 0)
    flat = lines.reshape(len(lines), -1)
    step = flat.shape[1] if squares.is_cuda else max(1, (GRAIN_SIZE - 1) // len(flat))
    nearest = torch.cat([_nearest(part.contiguous()) for part in flat.split(step, 1)], 1)
    return nearest.view(lines.shape).movedim(0, axis)


def _nearest(squares: Tensor) -> Tensor:
    """min_j squares[j] + (i - j)² along the first of two axes."""
    nearest, candidates, size = squares.clone(), squares.clone(), len(squares)
    for shift in range(1, size):
        if shift % 4 == 1 and bool(nearest.amax() <= shift**2):
            break
        candidates += 2 * shift - 1  # squares + shift²
        low, high = nearest[: size - shift], nearest[shift:]
        torch.minimum(low, candidates[shift:], out=low)
        torch.minimum(high, candidates[: size - shift], out=high)
    return nearest


def signed_distances(masks: Tensor) -> Tensor:
    """φ of masks (K, *spatial) bool: the distance to the mask outside it, 1 - that to the complement inside.

    So it is 0 on the mask's outermost pixels and negative further inside; 0 everywhere where the mask is empty or full.
    """
    distances = squared_boundary_distances(masks).sqrt_()
    inside = (masks & (distances > 0)).to(distances.dtype)
    return inside + (1 - 2 * inside).mul_(distances)
