"""The core of `_sums` as fused GPU kernels in Triton: the same sums and gradients, reading the logits once per pass.

Forward reads the logits and writes one number per pixel and one row of sums per block of pixels; backward recomputes
the softmax and writes the gradient. Only the caller's own tensors are kept. Blocks write their sums separately, to be
added up by torch: unlike atomic additions, this is bitwise reproducible.

A block holds all classes of BLOCK_N pixels; the class axis is padded to a power of two.
"""

from collections.abc import Collection

import torch
import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]
from torch import Tensor
from torch.autograd.function import once_differentiable

# Elements per block. With 8 warps a thread then needs 73 to 149 registers on sm_90, so that resident blocks hide each
# other's memory latency; twice as many elements would leave one block per multiprocessor.
TILE = 4096
LEAST = tl.constexpr(-1e30)  # as in `_sums`


@triton.jit
def _softmax(logits, image, c, n, C, N):
    """Logits minus their maximum, softmax, and log of its denominator, of one block (BLOCK_C, BLOCK_N)."""
    inside = (c[:, None] < C) & (n[None, :] < N)
    z = tl.load(logits + (image * C + c[:, None]) * N + n[None, :], mask=inside, other=0.0)
    z = tl.where(c[:, None] < C, z, float("-inf"))
    z = z - tl.max(z, 0)[None, :]
    exponential = tl.exp(z)
    size = tl.sum(exponential, 0)
    return z, exponential / size[None, :], tl.log(size)


@triton.jit
def _kept(valid, image, n, N, HAS_VALID: tl.constexpr):
    keep = n < N
    if HAS_VALID:
        keep = keep & (tl.load(valid + image * N + n, mask=keep, other=0) != 0)
    return keep


@triton.jit
def _hard_forward(
    logits, target, valid, log_likelihood, sums, C, N,
    HAS_VALID: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    image, block = tl.program_id(0).to(tl.int64), tl.program_id(1)
    n, c = block * BLOCK_N + tl.arange(0, BLOCK_N), tl.arange(0, BLOCK_C)
    z, p, log_size = _softmax(logits, image, c, n, C, N)
    keep = _kept(valid, image, n, N, HAS_VALID)
    is_target = c[:, None] == tl.load(target + image * N + n, mask=n < N, other=0)[None, :]
    likelihood = tl.maximum(tl.sum(tl.where(is_target, z, 0.0), 0) - log_size, LEAST)
    tl.store(log_likelihood + image * N + n, tl.where(keep, likelihood, 0.0), mask=n < N)
    p = tl.where(keep[None, :], p, 0.0)
    row = sums + (image * tl.num_programs(1) + block) * 3 * C + c
    tl.store(row, tl.sum(tl.where(is_target, p, 0.0), 1), mask=c < C)
    tl.store(row + C, tl.sum(p, 1), mask=c < C)
    tl.store(row + 2 * C, tl.sum(p * p, 1), mask=c < C)


@triton.jit
def _hard_backward(
    logits, target, valid, g_log_likelihood, g_sums, gradient, C, N,
    HAS_VALID: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    image, block = tl.program_id(0).to(tl.int64), tl.program_id(1)
    n, c = block * BLOCK_N + tl.arange(0, BLOCK_N), tl.arange(0, BLOCK_C)
    _, p, _ = _softmax(logits, image, c, n, C, N)
    keep = _kept(valid, image, n, N, HAS_VALID)
    is_target = c[:, None] == tl.load(target + image * N + n, mask=n < N, other=0)[None, :]
    g = tl.load(g_log_likelihood + image * N + n, mask=n < N, other=0.0)
    row = g_sums + image * 3 * C + c
    derivative = tl.load(row + C, mask=c < C, other=0.0)[:, None] + tl.where(
        is_target, tl.load(row, mask=c < C, other=0.0)[:, None], 0.0
    )
    derivative += 2 * tl.load(row + 2 * C, mask=c < C, other=0.0)[:, None] * p
    result = p * (derivative - tl.sum(derivative * p, 0)[None, :] - g[None, :]) + tl.where(is_target, g[None, :], 0.0)
    inside = (c[:, None] < C) & (n[None, :] < N)
    tl.store(gradient + (image * C + c[:, None]) * N + n[None, :], tl.where(keep[None, :], result, 0.0), mask=inside)


@triton.jit
def _soft_forward(
    logits, target, valid, log_likelihood, sums, C, N,
    HAS_VALID: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    image, block = tl.program_id(0).to(tl.int64), tl.program_id(1)
    n, c = block * BLOCK_N + tl.arange(0, BLOCK_N), tl.arange(0, BLOCK_C)
    z, p, log_size = _softmax(logits, image, c, n, C, N)
    keep = _kept(valid, image, n, N, HAS_VALID)
    inside = (c[:, None] < C) & (n[None, :] < N)
    y = tl.load(target + (image * C + c[:, None]) * N + n[None, :], mask=inside, other=0.0)
    y = tl.where(keep[None, :], y, 0.0)  # void targets may hold NaN
    likelihood = tl.sum(y * tl.where(inside, tl.maximum(z - log_size[None, :], LEAST), 0.0), 0)
    tl.store(log_likelihood + image * N + n, likelihood, mask=n < N)
    p = tl.where(keep[None, :], p, 0.0)
    row = sums + (image * tl.num_programs(1) + block) * 4 * C + c
    tl.store(row, tl.sum(tl.minimum(p, y), 1), mask=c < C)
    tl.store(row + C, tl.sum(p * y, 1), mask=c < C)
    tl.store(row + 2 * C, tl.sum(p, 1), mask=c < C)
    tl.store(row + 3 * C, tl.sum(p * p, 1), mask=c < C)


@triton.jit
def _soft_backward(
    logits, target, valid, g_log_likelihood, g_sums, gradient, C, N,
    HAS_VALID: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    image, block = tl.program_id(0).to(tl.int64), tl.program_id(1)
    n, c = block * BLOCK_N + tl.arange(0, BLOCK_N), tl.arange(0, BLOCK_C)
    _, p, _ = _softmax(logits, image, c, n, C, N)
    keep = _kept(valid, image, n, N, HAS_VALID)
    inside = (c[:, None] < C) & (n[None, :] < N)
    y = tl.load(target + (image * C + c[:, None]) * N + n[None, :], mask=inside, other=0.0)
    y = tl.where(keep[None, :], y, 0.0)
    g = tl.load(g_log_likelihood + image * N + n, mask=n < N, other=0.0)
    row = g_sums + image * 4 * C + c
    # The slope of min(p, y), a half where p = y.
    side = tl.where(p < y, 1.0, tl.where(p == y, 0.5, 0.0))
    derivative = tl.load(row, mask=c < C, other=0.0)[:, None] * side
    derivative += tl.load(row + C, mask=c < C, other=0.0)[:, None] * y
    derivative += tl.load(row + 2 * C, mask=c < C, other=0.0)[:, None]
    derivative += 2 * tl.load(row + 3 * C, mask=c < C, other=0.0)[:, None] * p
    result = p * (derivative - tl.sum(derivative * p, 0)[None, :] - (g * tl.sum(y, 0))[None, :]) + g[None, :] * y
    tl.store(gradient + (image * C + c[:, None]) * N + n[None, :], tl.where(keep[None, :], result, 0.0), mask=inside)


def _launch(kernel, logits: Tensor, target: Tensor, valid: Tensor | None, *others: Tensor) -> None:
    images, classes, pixels = logits.shape
    block_c = triton.next_power_of_2(classes)
    block_n = _pixels_per_block(classes)
    kernel[(images, triton.cdiv(pixels, block_n))](
        logits,
        target,
        target if valid is None else valid.view(torch.uint8),
        *others,
        classes,
        pixels,
        HAS_VALID=valid is not None,
        BLOCK_C=block_c,
        BLOCK_N=block_n,
        num_warps=8,
    )


def _pixels_per_block(classes: int) -> int:
    return max(16, min(256, TILE // triton.next_power_of_2(classes)))


def _forward(ctx, kernel, number: int, logits: Tensor, target: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    """Log-likelihood (B, N) and `number` sums per class (number, B, C)."""
    logits, target = logits.contiguous(), target.contiguous()
    valid = None if valid is None else valid.contiguous()
    images, classes, pixels = logits.shape
    blocks = triton.cdiv(pixels, _pixels_per_block(classes))
    log_likelihood = logits.new_empty(images, pixels)
    sums = logits.new_empty(images, blocks, number, classes)
    _launch(kernel, logits, target, valid, log_likelihood, sums)
    ctx.save_for_backward(logits, target, valid)
    return log_likelihood, sums.sum(1).movedim(1, 0)


def _backward(ctx, kernel, g_log_likelihood: Tensor, *g_sums: Tensor) -> Tensor:
    logits, target, valid = ctx.saved_tensors
    gradient = torch.empty_like(logits)
    _launch(kernel, logits, target, valid, g_log_likelihood.contiguous(), torch.stack(g_sums, 1).contiguous(), gradient)
    return gradient


class HardSums(torch.autograd.Function):
    """`_sums.HardSums`; every sum is computed, because here they cost nothing extra."""

    @staticmethod
    def forward(ctx, logits: Tensor, target: Tensor, valid: Tensor | None, wanted: Collection[str]):
        log_likelihood, (overlap, predicted, squares) = _forward(ctx, _hard_forward, 3, logits, target, valid)
        return log_likelihood, overlap, predicted, squares

    @staticmethod
    @once_differentiable
    def backward(ctx, *gradients: Tensor):
        return _backward(ctx, _hard_backward, *gradients), None, None, None


class SoftSums(torch.autograd.Function):
    """`_sums.SoftSums`; every sum is computed, because here they cost nothing extra."""

    @staticmethod
    def forward(ctx, logits, target, valid, valid_target, wanted: Collection[str]):
        log_likelihood, sums = _forward(ctx, _soft_forward, 4, logits, target, valid)
        return log_likelihood, *sums

    @staticmethod
    @once_differentiable
    def backward(ctx, *gradients: Tensor):
        return _backward(ctx, _soft_backward, *gradients), None, None, None, None
