"""The core of `_sums` as fused GPU kernels in Triton: the same sums and gradients from logits of any float type.

Forward reads the logits and writes one number per pixel and one row of sums per block of pixels; backward recomputes
the softmax and writes the gradient. Only the caller's own tensors are kept. Blocks write their sums separately, to be
added up by torch: unlike atomic additions, this is bitwise reproducible.

A warp holds all classes of its pixels, BLOCK_C at a time: sums over classes stay within a thread, and only sums over
pixels are exchanged between the threads of the warp. Each pass over the classes after the first finds the logits in the
cache. Half precision is converted as it is read, and the gradient as it is written.
"""

from collections.abc import Collection, Iterable, Sequence

import torch
import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]
from torch import Tensor
from torch.autograd.function import once_differentiable

BLOCK = 1024  # entries of the logits per block of one warp: a thread then needs about 100 registers on sm_90
LEAST = tl.constexpr(-1e30)  # as in `_sums`
LOWEST = tl.constexpr(-3e38)  # a maximum to start from; finite, as -inf - -inf is NaN


@triton.jit
def _at(image, c, n, C, N):
    """Offsets of the entries of (images, C, N): (BLOCK_C, BLOCK_N), and which of them exist."""
    return (image * C + c[:, None]) * N + n[None, :], (c[:, None] < C) & (n[None, :] < N)


@triton.jit
def _logits(logits, image, c, n, C, N):
    at, exists = _at(image, c, n, C, N)
    return tl.load(logits + at, mask=exists, other=float("-inf")).to(tl.float32)


@triton.jit
def _soft_target(target, keep, image, c, n, C, N):
    """The target's probabilities, 0 where void, as they may be NaN there."""
    at, exists = _at(image, c, n, C, N)
    return tl.where(keep[None, :], tl.load(target + at, mask=exists, other=0.0).to(tl.float32), 0.0)


@triton.jit
def _normaliser(logits, image, n, C, N, BLOCK_C: tl.constexpr, BLOCK_N: tl.constexpr):
    """The largest logit of each pixel, and the sum of exp(z - largest)."""
    largest, size = tl.full((BLOCK_N,), LOWEST, tl.float32), tl.zeros((BLOCK_N,), tl.float32)
    for first in range(0, C, BLOCK_C):
        z = _logits(logits, image, first + tl.arange(0, BLOCK_C), n, C, N)
        before = largest
        largest = tl.maximum(before, tl.max(z, 0))
        size = size * tl.exp(before - largest) + tl.sum(tl.exp(z - largest[None, :]), 0)
    return largest, size


@triton.jit
def _kept(valid, image, n, N, HAS_VALID: tl.constexpr):
    keep = n < N
    if HAS_VALID:
        keep = keep & (tl.load(valid + image * N + n, mask=keep, other=0) != 0)
    return keep


@triton.jit
def _store_sums(sums, row, values, c, C):
    """Write sums over a block's pixels of (BLOCK_C, BLOCK_N) into a row of (rows, C)."""
    tl.store(sums + row * C + c, tl.sum(values, 1), mask=c < C)


@triton.jit
def _of_classes(sums, row, c, C):
    """One number per class from a row of (rows, C), as a column (BLOCK_C, 1)."""
    return tl.load(sums + row * C + c, mask=c < C, other=0.0)[:, None]


@triton.jit
def _hard_forward(
    logits, target, valid, log_likelihood, sums, C, N,
    HAS_VALID: tl.constexpr, OVERLAP: tl.constexpr, PREDICTED: tl.constexpr, SQUARES: tl.constexpr,
    BLOCK_C: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    block, image = tl.program_id(0), tl.program_id(1).to(tl.int64)
    n = block * BLOCK_N + tl.arange(0, BLOCK_N)
    keep = _kept(valid, image, n, N, HAS_VALID)
    largest, size = _normaliser(logits, image, n, C, N, BLOCK_C, BLOCK_N)
    y = tl.load(target + image * N + n, mask=keep, other=0)
    z_y = tl.load(logits + (image * C + y) * N + n, mask=keep, other=0.0).to(tl.float32)
    likelihood = tl.maximum(z_y - largest - tl.log(size), LEAST)
    tl.store(log_likelihood + image * N + n, tl.where(keep, likelihood, 0.0), mask=n < N)
    if OVERLAP or PREDICTED or SQUARES:
        sums += (image * tl.num_programs(0) + block) * 4 * C
        for first in range(0, C, BLOCK_C):
            c = first + tl.arange(0, BLOCK_C)
            p = tl.exp(_logits(logits, image, c, n, C, N) - largest[None, :]) / size[None, :]
            p = tl.where(keep[None, :], p, 0.0)
            is_target = (c[:, None] == y[None, :]) & keep[None, :]
            _store_sums(sums, 3, is_target.to(tl.float32), c, C)
            if OVERLAP:
                _store_sums(sums, 0, tl.where(is_target, p, 0.0), c, C)
            if PREDICTED:
                _store_sums(sums, 1, p, c, C)
            if SQUARES:
                _store_sums(sums, 2, p * p, c, C)


@triton.jit
def _hard_backward(
    logits, target, valid, g_log_likelihood, g_sums, gradient, C, N,
    HAS_VALID: tl.constexpr, OVERLAP: tl.constexpr, PREDICTED: tl.constexpr, SQUARES: tl.constexpr,
    BLOCK_C: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    block, image = tl.program_id(0), tl.program_id(1).to(tl.int64)
    n = block * BLOCK_N + tl.arange(0, BLOCK_N)
    keep = _kept(valid, image, n, N, HAS_VALID)
    g_sums += image * 3 * C
    # Σp and, for Σ_k G_k p_k, Σ_k g_predicted,k p_k and Σ_k g_squares,k p_k², all relative to the largest logit so far.
    largest, size = tl.full((BLOCK_N,), LOWEST, tl.float32), tl.zeros((BLOCK_N,), tl.float32)
    linear, quadratic = tl.zeros((BLOCK_N,), tl.float32), tl.zeros((BLOCK_N,), tl.float32)
    for first in range(0, C, BLOCK_C):
        c = first + tl.arange(0, BLOCK_C)
        z = _logits(logits, image, c, n, C, N)
        before = largest
        largest = tl.maximum(before, tl.max(z, 0))
        exponential, scale = tl.exp(z - largest[None, :]), tl.exp(before - largest)
        size = size * scale + tl.sum(exponential, 0)
        if PREDICTED:
            linear = linear * scale + tl.sum(exponential * _of_classes(g_sums, 1, c, C), 0)
        if SQUARES:
            squares = exponential * exponential * _of_classes(g_sums, 2, c, C)
            quadratic = quadratic * scale * scale + tl.sum(squares, 0)
    y = tl.load(target + image * N + n, mask=keep, other=0)
    g = tl.load(g_log_likelihood + image * N + n, mask=keep, other=0.0)
    mean = g + linear / size + 2 * quadratic / size / size
    g_overlap = tl.zeros((BLOCK_N,), tl.float32)
    if OVERLAP:
        g_overlap = tl.load(g_sums + y, mask=keep, other=0.0)
        z_y = tl.load(logits + (image * C + y) * N + n, mask=keep, other=0.0).to(tl.float32)
        mean += g_overlap * tl.exp(z_y - largest) / size
    for first in range(0, C, BLOCK_C):
        c = first + tl.arange(0, BLOCK_C)
        at, exists = _at(image, c, n, C, N)
        p = tl.exp(_logits(logits, image, c, n, C, N) - largest[None, :]) / size[None, :]
        is_target = c[:, None] == y[None, :]
        derivative = -mean[None, :] + tl.where(is_target, g_overlap[None, :], 0.0)
        if PREDICTED:
            derivative += _of_classes(g_sums, 1, c, C)
        if SQUARES:
            derivative += 2 * p * _of_classes(g_sums, 2, c, C)
        result = tl.where(keep[None, :], p * derivative + tl.where(is_target, g[None, :], 0.0), 0.0)
        tl.store(gradient + at, result.to(gradient.dtype.element_ty), mask=exists)


@triton.jit
def _soft_forward(
    logits, target, valid, log_likelihood, sums, C, N,
    HAS_VALID: tl.constexpr, MINIMUM: tl.constexpr, PRODUCT: tl.constexpr, PREDICTED: tl.constexpr,
    SQUARES: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    block, image = tl.program_id(0), tl.program_id(1).to(tl.int64)
    n = block * BLOCK_N + tl.arange(0, BLOCK_N)
    keep = _kept(valid, image, n, N, HAS_VALID)
    largest, size = _normaliser(logits, image, n, C, N, BLOCK_C, BLOCK_N)
    log_size, likelihood = tl.log(size), tl.zeros((BLOCK_N,), tl.float32)
    sums += (image * tl.num_programs(0) + block) * 5 * C
    for first in range(0, C, BLOCK_C):
        c = first + tl.arange(0, BLOCK_C)
        z = _logits(logits, image, c, n, C, N) - largest[None, :]
        y = _soft_target(target, keep, image, c, n, C, N)
        likelihood += tl.sum(y * tl.maximum(z - log_size[None, :], LEAST), 0)
        p = tl.where(keep[None, :], tl.exp(z) / size[None, :], 0.0)
        if MINIMUM:
            _store_sums(sums, 0, tl.minimum(p, y), c, C)
        if PRODUCT:
            _store_sums(sums, 1, p * y, c, C)
        if PREDICTED:
            _store_sums(sums, 2, p, c, C)
        if SQUARES:
            _store_sums(sums, 3, p * p, c, C)
        if MINIMUM or PRODUCT or PREDICTED or SQUARES:
            _store_sums(sums, 4, y, c, C)
    tl.store(log_likelihood + image * N + n, tl.where(keep, likelihood, 0.0), mask=n < N)


@triton.jit
def _soft_derivative(
    p, y, g_sums, c, C,
    MINIMUM: tl.constexpr, PRODUCT: tl.constexpr, PREDICTED: tl.constexpr, SQUARES: tl.constexpr,
):  # fmt: skip
    """G_c, the derivative of the loss with respect to p_c through the sums."""
    derivative = p * 0.0
    if MINIMUM:  # the slope of min(p, y) is a half where p = y
        derivative += _of_classes(g_sums, 0, c, C) * tl.where(p < y, 1.0, tl.where(p == y, 0.5, 0.0))
    if PRODUCT:
        derivative += _of_classes(g_sums, 1, c, C) * y
    if PREDICTED:
        derivative += _of_classes(g_sums, 2, c, C)
    if SQUARES:
        derivative += 2 * p * _of_classes(g_sums, 3, c, C)
    return derivative


@triton.jit
def _soft_backward(
    logits, target, valid, g_log_likelihood, g_sums, gradient, C, N,
    HAS_VALID: tl.constexpr, MINIMUM: tl.constexpr, PRODUCT: tl.constexpr, PREDICTED: tl.constexpr,
    SQUARES: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    block, image = tl.program_id(0), tl.program_id(1).to(tl.int64)
    n = block * BLOCK_N + tl.arange(0, BLOCK_N)
    keep = _kept(valid, image, n, N, HAS_VALID)
    largest, size = _normaliser(logits, image, n, C, N, BLOCK_C, BLOCK_N)
    g_sums += image * 4 * C
    g = tl.load(g_log_likelihood + image * N + n, mask=keep, other=0.0)
    mean = tl.zeros((BLOCK_N,), tl.float32)
    for first in range(0, C, BLOCK_C):
        c = first + tl.arange(0, BLOCK_C)
        y = _soft_target(target, keep, image, c, n, C, N)
        mean += g * tl.sum(y, 0)
        if MINIMUM or PRODUCT or PREDICTED or SQUARES:
            p = tl.exp(_logits(logits, image, c, n, C, N) - largest[None, :]) / size[None, :]
            mean += tl.sum(p * _soft_derivative(p, y, g_sums, c, C, MINIMUM, PRODUCT, PREDICTED, SQUARES), 0)
    for first in range(0, C, BLOCK_C):
        c = first + tl.arange(0, BLOCK_C)
        at, exists = _at(image, c, n, C, N)
        y = _soft_target(target, keep, image, c, n, C, N)
        p = tl.exp(_logits(logits, image, c, n, C, N) - largest[None, :]) / size[None, :]
        derivative = _soft_derivative(p, y, g_sums, c, C, MINIMUM, PRODUCT, PREDICTED, SQUARES)
        result = tl.where(keep[None, :], p * (derivative - mean[None, :]) + g[None, :] * y, 0.0)
        tl.store(gradient + at, result.to(gradient.dtype.element_ty), mask=exists)


def _block(logits: Tensor) -> tuple[int, int]:
    """Classes and pixels per block: each of the warp's threads reads 16 bytes of a class at a time."""
    pixels = 32 * 16 // logits.element_size()
    return min(BLOCK // pixels, triton.next_power_of_2(logits.shape[1])), pixels


def _launch(
    kernel, flags: Iterable[bool], logits: Tensor, target: Tensor, valid: Tensor | None, *others: Tensor
) -> None:
    images, classes, pixels = logits.shape
    block_c, block_n = _block(logits)
    # Blocks come first: a grid's second axis ends at 65535, which the blocks of a volume exceed.
    kernel[(triton.cdiv(pixels, block_n), images)](
        logits,
        target,
        target if valid is None else valid.view(torch.uint8),
        *others,
        classes,
        pixels,
        valid is not None,
        *flags,
        BLOCK_C=block_c,
        BLOCK_N=block_n,
        num_warps=1,
    )


def _forward(
    ctx, kernel, logits: Tensor, target: Tensor, valid: Tensor | None, flags: Sequence[bool]
) -> tuple[Tensor | None, ...]:
    """Log-likelihood (B, N), the sums whose flags are set and, with any of them, Σy: (B, C) each."""
    logits, target = logits.contiguous(), target.contiguous()
    valid = None if valid is None else valid.contiguous()
    images, classes, pixels = logits.shape
    log_likelihood = logits.new_empty(images, pixels, dtype=torch.float32)
    blocks = triton.cdiv(pixels, _block(logits)[1]) if any(flags) else 0
    sums = logits.new_empty(images, blocks, len(flags) + 1, classes, dtype=torch.float32)
    _launch(kernel, flags, logits, target, valid, log_likelihood, sums)
    ctx.save_for_backward(logits, target, valid)
    ctx.set_materialize_grads(False)
    rows = [sums[:, :, row].sum(1) if flag else None for row, flag in enumerate((*flags, any(flags)))]
    if rows[-1] is not None:
        ctx.mark_non_differentiable(rows[-1])
    return log_likelihood, *rows


def _backward(ctx, kernel, g_log_likelihood: Tensor | None, *g_sums: Tensor | None) -> Tensor:
    logits, target, valid = ctx.saved_tensors
    images, classes, pixels = logits.shape
    zeros = logits.new_zeros(images, classes, dtype=torch.float32)
    rows = torch.stack([zeros if gradient is None else gradient for gradient in g_sums], 1)
    if g_log_likelihood is None:
        by_pixel = logits.new_zeros(images, pixels, dtype=torch.float32)
    else:
        by_pixel = g_log_likelihood.contiguous()
    flags = [gradient is not None for gradient in g_sums]
    gradient = torch.empty_like(logits)
    _launch(kernel, flags, logits, target, valid, by_pixel, rows, gradient)
    return gradient


class HardSums(torch.autograd.Function):
    """`_sums.HardSums` for logits of any float type, and Σy (B, C) with any of the sums."""

    @staticmethod
    def forward(ctx, logits: Tensor, target: Tensor, valid: Tensor | None, wanted: Collection[str]):
        flags = ("minimum" in wanted or "product" in wanted, "predicted" in wanted, "squares" in wanted)
        return _forward(ctx, _hard_forward, logits, target, valid, flags)

    @staticmethod
    @once_differentiable
    def backward(ctx, g_log_likelihood, g_overlap, g_predicted, g_squares, _):
        return _backward(ctx, _hard_backward, g_log_likelihood, g_overlap, g_predicted, g_squares), None, None, None


class SoftSums(torch.autograd.Function):
    """`_sums.SoftSums` for logits of any float type, and Σy (B, C) with any of the sums."""

    @staticmethod
    def forward(ctx, logits, target, valid, valid_target, wanted: Collection[str]):
        flags = [name in wanted for name in ("minimum", "product", "predicted", "squares")]
        return _forward(ctx, _soft_forward, logits, target, valid, flags)

    @staticmethod
    @once_differentiable
    def backward(ctx, *gradients):
        return _backward(ctx, _soft_backward, *gradients[:-1]), None, None, None, None
