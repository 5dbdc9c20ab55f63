"""Several processes give the value and, after DDP's averaging, the gradient of one process with all the data."""

import os

import pytest
import torch
import torch.distributed
import torch.multiprocessing
from loss_cases import HARD, SOFT, WEIGHTS, inputs, value_and_gradient

from segloss import losses
from segloss.losses import cross_entropy, get, switches

IMAGES = 8


def data(soft: bool):
    """Eight images: the last two void, class 2 in the first two only; so some processes have none of either."""
    logits, target, probabilities, valid = inputs(0, images=IMAGES)
    valid[-2:] = False
    target[2:] = torch.where(target[2:] == 2, 0, target[2:])
    return logits, (probabilities if soft else target), valid


def pixel_weights():
    return torch.rand(IMAGES, 6, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


def without_exchange():
    """Modules and terms whose sums are not exchanged between processes."""
    term = {"loss": "jaccard_metric", "exchange": False}
    return [losses.JaccardMetricLoss(exchange=False), losses.CompoundLoss(terms=[term])]


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
    mine = (logits[share], target[share])
    weighted = {"class_weights": WEIGHTS, "pixel_weights": pixel_weights()[share]}
    results.append(value_and_gradient(cross_entropy, *mine, valid=valid[share], **weighted))
    with switches(exchange=False):
        results.append(value_and_gradient(cross_entropy, *mine, valid=valid[share]))
    for module in without_exchange():
        results.append(value_and_gradient(module, *mine, valid=valid[share]))
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
    logits, target, valid = data(True)
    weighted = {"class_weights": WEIGHTS, "pixel_weights": pixel_weights()}
    value, gradient = value_and_gradient(cross_entropy, logits, target, valid=valid, **weighted)
    for start, stop, results in shares:
        torch.testing.assert_close(results[len(cases)][0], value)
        torch.testing.assert_close(results[len(cases)][1] / processes, gradient[start:stop])
        # Without the exchange each process computes the loss of its own images.
        here = slice(start, stop)
        for result, loss in zip(results[len(cases) + 1 :], (cross_entropy, *without_exchange()), strict=True):
            alone = value_and_gradient(loss, logits[here], target[here], valid=valid[here])
            torch.testing.assert_close(result, alone)
            assert loss is cross_entropy or result[0] != value_and_gradient(loss, logits, target, valid=valid)[0]
