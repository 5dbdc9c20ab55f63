"""Sums over the processes of ``torch.distributed``, with the gradient that one process with all the data would have."""

from collections.abc import Sequence

import torch
import torch.distributed
from torch import Tensor

from segloss.losses._flags import exchange_on


class _SumOverProcesses(torch.autograd.Function):
    @staticmethod
    def forward(ctx, local: Tensor) -> Tensor:
        ctx.processes = torch.distributed.get_world_size()
        total = local.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        # Every process computes the same loss from the same total, so the gradient needs no second exchange. DDP
        # averages the parameters' gradients over the processes, but their sum is the true gradient: hence the factor.
        return gradient * ctx.processes


def sum_over_processes(*sums: Tensor) -> Sequence[Tensor]:
    """Sum tensors over all processes by one all-reduce of their concatenation; without exchange, return them as is."""
    if not exchange_on():
        return sums
    flat = _SumOverProcesses.apply(torch.cat([tensor.reshape(-1) for tensor in sums]))
    pieces = flat.split([tensor.numel() for tensor in sums])
    return [piece.view(tensor.shape) for piece, tensor in zip(pieces, sums, strict=True)]


def mean_over_processes(total: Tensor, weight: Tensor) -> Tensor:
    """total / weight, both summed over all processes; exactly 0, with zero gradient, if the total weight is 0."""
    total, weight = sum_over_processes(total, weight)
    return total / torch.where(weight > 0, weight, 1)


def gather_pixels(errors: Tensor, target: Tensor) -> tuple[Tensor, Tensor, int]:
    """Concatenate the pixels of all processes: errors (1, C, N), target (1, N), and the index of this rank's first.

    The processes may hold different numbers of pixels: all are padded to the largest number with NaN errors.
    """
    pixels = torch.zeros(torch.distributed.get_world_size(), dtype=torch.int64, device=errors.device)
    rank = torch.distributed.get_rank()
    pixels[rank] = errors.shape[-1]
    torch.distributed.all_reduce(pixels)
    most = int(pixels.max())
    errors = torch.nn.functional.pad(errors, (0, most - errors.shape[-1]), value=torch.nan)
    target = torch.nn.functional.pad(target, (0, most - target.shape[-1]))
    all_errors = [torch.empty_like(errors) for _ in pixels]
    all_targets = [torch.empty_like(target) for _ in pixels]
    torch.distributed.all_gather(all_errors, errors)
    torch.distributed.all_gather(all_targets, target)
    return torch.cat(all_errors, -1), torch.cat(all_targets, -1), rank * most
