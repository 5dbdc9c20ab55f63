"""One cell in several processes: shards of the same batches, counts merged exactly, one process that writes.

The losses all-reduce their sums and SyncBN its statistics, so training in several processes matches training in
one. On a CPU, where torch has no SyncBN, batch statistics are those of each process's shard.
"""

import os
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from mmengine.model import is_model_wrapper
from torch import distributed, nn
from torch.utils.data import Sampler

from segloss.runtime import torchrun

# Iterations between two exchanges of the signals that the processes received: all must stop at the same iteration.
SIGNAL_INTERVAL = 10


def world_size() -> int:
    """The number of processes that train this cell."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """The rank of this process; rank 0 writes."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def init_process_group(device: str) -> None:
    """Join the process group if torchrun started this process."""
    if torchrun.under_torchrun() and not distributed.is_initialized():
        if device == "cuda":
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        distributed.init_process_group("nccl" if device == "cuda" else "gloo")
        if rank():
            os.environ["WANDB_MODE"] = "disabled"  # rank 0 tracks the cell


def unwrap(model: nn.Module) -> nn.Module:
    """The segmentor without the wrapper that distributes it."""
    return model.module if is_model_wrapper(model) else model


class BatchShardSampler(Sampler[int]):
    """This process's shard of every batch: rank r of W takes images r b/W to (r+1) b/W of batch n.

    Args:
        batch_size: b, the images of a batch over all processes.
        start: The first batch.
        stop: The one after the last.

    Raises:
        ValueError: if the processes cannot share a batch evenly.
    """

    def __init__(self, batch_size: int, start: int, stop: int) -> None:
        if batch_size % world_size():
            raise ValueError(f"{world_size()} processes cannot share a batch of {batch_size} images evenly")
        self.batch_size, self.shard_size = batch_size, batch_size // world_size()
        self.batches = range(start, stop)

    def __len__(self) -> int:
        return len(self.batches) * self.shard_size

    def __iter__(self) -> Iterator[int]:
        for batch in self.batches:
            first = batch * self.batch_size + rank() * self.shard_size
            yield from range(first, first + self.shard_size)


def shard_of_images(images: int) -> range:
    """This process's images of an evaluation: rank r of W takes r, r + W, r + 2 W, ..."""
    return range(rank(), images, world_size())


def all_gather(value: Any) -> Sequence[Any]:
    """Return the values of all processes, ordered by rank, in every process."""
    if world_size() == 1:
        return [value]
    values = [None] * world_size()
    distributed.all_gather_object(values, value)
    return values


def all_merge(counts: Any) -> Any:
    """Return the counts of all processes, merged with their ``merge`` method, in every process."""
    first, *others = all_gather(counts)
    for other in others:
        first.merge(other)
    return first


def barrier() -> None:
    """Wait until every process has arrived."""
    if world_size() > 1:
        distributed.barrier()


def peer_failed(error: Exception) -> bool:
    """True if this process failed because another one had; the other process's error is the reason."""
    return world_size() > 1 and (isinstance(error, distributed.DistError) or "gloo" in str(error))
