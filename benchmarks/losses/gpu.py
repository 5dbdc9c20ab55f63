"""Print what losses cost on a GPU, relative to the fewest bytes they can move: ``python -m benchmarks.losses.gpu``."""

import argparse
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
import triton  # pyright: ignore[reportMissingImports]
from torch import Tensor

from benchmarks.losses.__main__ import data, machine
from benchmarks.losses.measure import memory
from segloss.losses import get, switches
from segloss.records.record import git

SHAPES = [(8, 19, 512, 1024), (4, 150, 512, 512)]
HARD = ["cross_entropy", "focal", "dice", "jaccard_metric", "compound", "lovasz_softmax"]
SOFT = ["cross_entropy", "focal", "jaccard_metric", "compound"]
COMPOUND = [{"loss": "cross_entropy", "weight": 0.25}, {"loss": "jaccard_metric", "weight": 0.75}]
HEADER = "| loss | ms | x floor | x F.cross_entropy | peak | error |\n|---|--:|--:|--:|--:|--:|"
LEGEND = """\
Forward and backward, checks off. *Floor*: the logits and the target read twice and the gradient written once, at the
speed of a large copy on the same card. *Peak*: memory beyond the inputs, the gradient included, in units of the logits.
*Error*: the largest difference of the gradient from that of float64 logits on the CPU, relative to the largest entry of
that, on a small input of the same type. Medians of events around each of the repeats, after three warm-ups.
"""


def milliseconds(call: Callable[[], object], repeats: int) -> float:
    """The median time of a call on the device."""
    times = []
    for turn in range(repeats + 3):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        call()
        end.record()
        end.synchronize()
        if turn >= 3:
            times.append(start.elapsed_time(end))
    return statistics.median(times)


def copy_speed(repeats: int) -> float:
    """Bytes that a large copy reads and writes in a millisecond."""
    source = torch.randn(2**28, device="cuda")
    target = torch.empty_like(source)
    return 2 * source.nbytes / milliseconds(lambda: target.copy_(source), repeats)


def backward_of(loss: Callable[..., Tensor], logits: Tensor, target: Tensor) -> Tensor:
    """The gradient of a loss."""
    logits.grad = None
    loss(logits, target).backward()
    return logits.grad


def error(loss: Callable[..., Tensor], shape: tuple[int, ...], soft: bool, dtype: torch.dtype) -> float:
    """How far the gradient is from that in float64 on the CPU."""
    logits, target, _ = data((2, shape[1], 96, 128), soft, 2.0 if not soft else 0.0, "cpu")
    logits = logits.detach().to(dtype)
    exact = backward_of(loss, logits.double().requires_grad_(), target)
    ours = backward_of(loss, logits.cuda().requires_grad_(), target.cuda()).cpu().double()
    return float((ours - exact).abs().max() / exact.abs().max())


def rows(shape: tuple[int, ...], soft: bool, dtype: torch.dtype, speed: float, repeats: int) -> list[str]:
    """The table's rows for one kind of input."""
    logits, target, _ = data(shape, soft, 0.0, "cuda")
    logits = logits.detach().to(dtype).requires_grad_()
    floor = (3 * logits.nbytes + 2 * target.nbytes) / speed
    calls = {name: get(name) for name in (SOFT if soft else HARD)}
    calls["compound"] = lambda z, y: get("compound")(z, y, terms=COMPOUND)
    timed = {"F.cross_entropy": lambda z, y: F.cross_entropy(z, y.to(z.dtype) if soft else y), **calls}
    lines, baseline = [], None
    for name, loss in timed.items():
        time = milliseconds(lambda loss=loss: backward_of(loss, logits, target), repeats)
        baseline = baseline or time
        _, peak = memory(lambda z, loss=loss: loss(z, target), logits)
        off = f"{error(loss, shape, soft, dtype):.0e}" if name in calls else ""
        lines.append(f"| {name} | {time:.3f} | {time / floor:.2f} | {time / baseline:.2f} | {peak:.2f} | {off} |")
        print(lines[-1], flush=True)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.losses.gpu", description=__doc__)
    parser.add_argument("--out", type=Path, help="write the tables into this Markdown file, too")
    parser.add_argument("--repeats", type=int, default=20, help="timed calls of each loss (default 20)")
    arguments = parser.parse_args()
    speed = copy_speed(arguments.repeats)
    command = " ".join(["python -m benchmarks.losses.gpu", *sys.argv[1:]])
    versions = f"Triton {triton.__version__}; commit {git('rev-parse', '--short', 'HEAD')}"
    title = f"# What losses cost on a GPU\n\n`{command}`\n\n{machine(torch.get_num_threads())}; {versions}"
    text = [f"{title}\n\n{LEGEND}"]
    text.append(f"A copy of 1 GiB moved {speed / 1e9:.2f} TB/s, bytes read and written.\n")
    print(text[-1])
    for shape in SHAPES:
        for soft in (False, True):
            for dtype in (torch.float32, torch.float16, torch.bfloat16):
                kind = f"{'soft' if soft else 'hard'} labels, {str(dtype).removeprefix('torch.')}"
                title = f"## {shape}, {kind}\n"
                print(f"\n{title}\n{HEADER}", flush=True)
                with switches(checks=False):
                    lines = rows(shape, soft, dtype, speed, arguments.repeats)
                text.append("\n".join([title, HEADER, *lines, ""]))
                if arguments.out:  # after every table: time on a GPU is often lent by the minute
                    arguments.out.parent.mkdir(parents=True, exist_ok=True)
                    arguments.out.write_text("\n".join(text))


if __name__ == "__main__":
    main()
