"""Exact Euclidean distances to a set of pixels, for any number of axes, where the tensors are."""

import torch
from torch import Tensor

FAR = 1e9  # pixels; finite, so that products with it can be 0
CACHED = 1 << 16  # numbers of a map that stay in a core's own cache


def squared_distances(pixels: Tensor) -> Tensor:
    """The squared distance of every pixel to the nearest True one of its map (K, *spatial), huge in a map without any.

    The sum over axes of (i - j)² is minimised axis by axis. Along the last axis two scans do that; along another one
    every shift is tried until its square alone is more than any distance found. So the cost is N times the largest
    distance per further axis: where that is a hundred pixels, twice that of SciPy's transform.
    """
    # How many shifts are tried depends on values: to a compiler it is one operator.
    return _OPERATOR(pixels) if torch.compiler.is_compiling() else _of_maps(pixels)


def _of_maps(pixels: Tensor) -> Tensor:
    spatial, dtype = pixels.shape[1:], _dtype(pixels)
    step = max(1, len(pixels)) if pixels.is_cuda else max(1, CACHED // max(1, spatial.numel()))
    parts = [_squared_distances(part, dtype) for part in pixels.split(step)]
    return torch.cat(parts) if len(parts) != 1 else parts[0]


def _dtype(pixels: Tensor) -> torch.dtype:
    """Squared distances are integers, and float32 holds them up to 2^24."""
    return torch.float32 if sum(size**2 for size in pixels.shape[1:]) < 1 << 24 else torch.float64


# The name is this module's, so that a copy of the package has an operator of its own.
_OPERATOR = torch.library.custom_op(f"{__name__.replace('.', '_')}::squared_distances", _of_maps, mutates_args=())


@_OPERATOR.register_fake
def _(pixels: Tensor) -> Tensor:
    return pixels.new_empty(pixels.shape, dtype=_dtype(pixels))


def _squared_distances(pixels: Tensor, dtype: torch.dtype) -> Tensor:
    there = pixels.to(dtype)
    far = (1 - there).mul_(FAR)
    if pixels.dim() == 1 or not pixels.numel():
        return far
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
    nearest, size = squares.clone(), squares.shape[axis]
    for shift in range(1, size):
        if shift % 4 == 1 and bool(nearest.amax() <= shift**2):
            break
        candidates = squares + shift**2
        low, high = nearest.narrow(axis, 0, size - shift), nearest.narrow(axis, shift, size - shift)
        torch.minimum(low, candidates.narrow(axis, shift, size - shift), out=low)
        torch.minimum(high, candidates.narrow(axis, 0, size - shift), out=high)
    return nearest


def squared_boundary_distances(masks: Tensor) -> Tensor:
    """The squared distance of every pixel to the nearest one on the other side of its mask (K, *spatial) bool.

    Inside the mask it is that to the complement, outside that to the mask; 0 where the mask is empty or full.
    """
    squares = squared_distances(masks).add_(squared_distances(~masks))
    flat = masks.reshape(len(masks), masks.shape[1:].numel())
    split = flat.any(1) & ~flat.all(1)
    return squares.mul_(split.view(-1, *[1] * (masks.dim() - 1)))


def signed_distances(masks: Tensor) -> Tensor:
    """φ of masks (K, *spatial) bool: the distance to the mask outside it, 1 - that to the complement inside.

    So it is 0 on the mask's outermost pixels and negative further inside; 0 everywhere where the mask is empty or full.
    """
    distances = squared_boundary_distances(masks).sqrt_()
    inside = (masks & (distances > 0)).to(distances.dtype)
    return inside + (1 - 2 * inside).mul_(distances)
