"""Exact Euclidean distances to the boundaries of masks, for any number of axes, computed on the masks' device."""

import torch
from torch import Tensor

FAR = 1e9  # pixels; finite, so that 0 times it is 0
CACHED = 1 << 18  # elements of the maps computed together: they fit in a core's private cache
# PyTorch runs an operation on fewer elements than this in one thread. Here thousands of short operations follow one
# another, and waking a second thread for each took four times as long as running them in one.
GRAIN_SIZE = 1 << 15


def squared_boundary_distances(masks: Tensor) -> Tensor:
    """Squared distances of all pixels to the nearest one across the boundary of their mask (K, *spatial) bool.

    Inside the mask this is the distance to the complement, outside that to the mask; 0 if the mask is empty or full.
    """
    # The amount of work depends on values, so a compiler treats it as one opaque operator.
    return _OPERATOR(masks) if torch.compiler.is_compiling() else _of_masks(masks)


def _of_masks(masks: Tensor) -> Tensor:
    dtype = _dtype(masks)
    squares = masks.new_zeros(masks.shape, dtype=dtype)
    flat = masks.reshape(len(masks), masks.shape[1:].numel())
    # Empty and full masks have no boundary; with many classes, most are of this kind.
    divided = (flat.any(1) & ~flat.all(1)).nonzero()[:, 0]
    step = max(1, len(divided)) if masks.is_cuda else max(1, CACHED // max(1, flat.shape[1]))
    for first in range(0, len(divided), step):
        part = divided[first : first + step]
        some = masks[part]
        squares[part] = _squared_distances(some, dtype).add_(_squared_distances(~some, dtype))
    return squares


def _dtype(masks: Tensor) -> torch.dtype:
    """Squared distances are integers, which float32 represents exactly up to 2^24."""
    return torch.float32 if sum(size**2 for size in masks.shape[1:]) < 1 << 24 else torch.float64


# Named after this module, so that a copy of the package registers a separate operator.
_OPERATOR = torch.library.custom_op(
    f"{__name__.replace('.', '_')}::squared_boundary_distances", _of_masks, mutates_args=()
)


@_OPERATOR.register_fake
def _(masks: Tensor) -> Tensor:
    return masks.new_empty(masks.shape, dtype=_dtype(masks))


def _squared_distances(pixels: Tensor, dtype: torch.dtype) -> Tensor:
    """The squared distance of every pixel to the nearest True one of its map (K, *spatial), which must have one.

    The sum over axes of (i - j)² is minimised axis by axis. Along the last axis two scans do that; along any other
    axis every shift is tried until its square alone exceeds every distance found, so each of these axes costs N times
    the largest distance.
    """
    there = pixels.to(dtype)
    far = (1 - there).mul_(FAR)
    # Products, because torch.where takes longer than everything else here.
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
    """φ of masks (K, *spatial) bool: outside a mask the distance to it, inside 1 - the distance to its complement.

    So φ is 0 on the mask's outermost pixels and negative further inside; 0 everywhere if the mask is empty or full.
    """
    distances = squared_boundary_distances(masks).sqrt_()
    inside = (masks & (distances > 0)).to(distances.dtype)
    return inside + (1 - 2 * inside).mul_(distances)
