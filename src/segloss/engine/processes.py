"""One cell in several processes: the same batches cut into parts, counts put together exactly, one process that writes.

The losses exchange their sums and SyncBN its statistics, so that several processes follow the training of one. On a
CPU, where torch has no SyncBN, batch statistics are those of each process's part.
"""

import os
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from mmengine.model import is_model_wrapper
from torch import distributed, nn
from torch.utils.data import Sampler

from segloss.runtime import torchrun

# Iterations between two looks whether any process was told to stop: all must stop at the same one.
AGREE_EVERY = 10


def count() -> int:
    """How many processes train this cell."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """Which of them this is; 0 writes."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def join(device: str) -> None:
    """Join the others if torchrun started this process."""
    if torchrun.is_one_of_several() and not distributed.is_initialized():
        if device == "cuda":
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        distributed.init_process_group("nccl" if device == "cuda" else "gloo")
        if rank():
            os.environ["WANDB_MODE"] = "disabled"  # the first one tells


def bare(model: nn.Module) -> nn.Module:
    """The segmentor itself, without what distributes it."""
    return model.module if is_model_wrapper(model) else model


class Part(Sampler[int]):
    """This process's part of every batch: part r of batch n holds its images r b/W to (r+1) b/W.

    Args:
        size: b, the images of a batch over all processes.
        start: The first batch.
        stop: The one after the last.

    Raises:
        ValueError: if the processes cannot share a batch evenly.
    """

    def __init__(self, size: int, start: int, stop: int) -> None:
        if size % count():
            raise ValueError(f"{count()} processes cannot share a batch of {size} images evenly")
        self.size, self.part, self.batches = size, size // count(), range(start, stop)

    def __len__(self) -> int:
        return len(self.batches) * self.part

    def __iter__(self) -> Iterator[int]:
        for batch in self.batches:
            first = batch * self.size + rank() * self.part
            yield from range(first, first + self.part)


def own_images(images: int) -> range:
    """Which images of an evaluation are this process's."""
    return range(rank(), images, count())


def from_all(mine: Any) -> Sequence[Any]:
    """What every process has, in the order of their ranks, for each of them."""
    if count() == 1:
        return [mine]
    everyones = [None] * count()
    distributed.all_gather_object(everyones, mine)
    return everyones


def merged(mine: Any) -> Any:
    """What all processes counted, put together by its ``merge``, for each of them."""
    first, *others = from_all(mine)
    for other in others:
        first.merge(other)
    return first


def wait_for_all() -> None:
    """Go on when every process has come here."""
    if count() > 1:
        distributed.barrier()


def lost_another(error: Exception) -> bool:
    """Whether this process failed because another one was gone, whose own error is the reason."""
    return count() > 1 and (isinstance(error, distributed.DistError) or "gloo" in str(error))
