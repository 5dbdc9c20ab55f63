"""Several processes give the value and, after DDP's averaging, the gradient of one process with all the data."""

import os

import pytest
import torch
import torch.distributed
import torch.multiprocessing
from loss_cases import HARD, SOFT, inputs, value_and_gradient

from segloss.losses import cross_entropy, get, switches

IMAGES = 8


def data(soft: bool):
    """Eight images: the last two void, class 2 in the first two only; so some processes have none of either."""
    logits, target, probabilities, valid = inputs(0, images=IMAGES)
    valid[-2:] = False
    target[2:] = torch.where(target[2:] == 2, 0, target[2:])
    return logits, (probabilities if soft else target), valid


def one_process(name, options, soft):
    logits, target, valid = data(soft)
    return value_and_gradient(get(name), logits, target, valid=valid, **options)


def work(rank: int, processes: int, port: int, folder: str) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", rank=rank, world_size=processes)
    # Uneven shares of the images: the first process holds one more, the last one less.
    bounds = torch.linspace(0, IMAGES, processes + 1).long()
    bounds[1:-1] += 1
    share = slice(int(bounds[rank]), int(bounds[rank + 1]))
    results = []
    for cases, soft in ((HARD, False), (SOFT, True)):
        logits, target, valid = data(soft)
        for name, options in cases:
            results.append(value_and_gradient(get(name), logits[share], target[share], valid=valid[share], **options))
    with switches(exchange=False):
        results.append(value_and_gradient(cross_entropy, logits[share], target[share], valid=valid[share]))
    torch.save((share.start, share.stop, results), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 4])
def test_processes_together_are_one(processes, tmp_path):
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    torch.multiprocessing.spawn(work, (processes, port, str(tmp_path)), nprocs=processes)
    shares = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(processes)]
    cases = [(*case, False) for case in HARD] + [(*case, True) for case in SOFT]
    for index, (name, options, soft) in enumerate(cases):
        value, gradient = one_process(name, options, soft)
        for start, stop, results in shares:
            share_value, share_gradient = results[index]
            torch.testing.assert_close(share_value, value, rtol=1e-9, atol=1e-9, msg=f"value of {name} {options}")
            # DDP averages: each process's gradient counts 1 / processes.
            torch.testing.assert_close(
                share_gradient / processes, gradient[start:stop], rtol=1e-9, atol=1e-9, msg=f"gradient {name} {options}"
            )
    # Without the exchange each process stands alone.
    logits, target, valid = data(True)
    for start, stop, results in shares:
        alone = cross_entropy(logits[start:stop], target[start:stop], valid=valid[start:stop])
        torch.testing.assert_close(results[-1][0], alone)
