"""Print what every loss and its peers cost: ``python -m benchmarks.losses``; ``--out FILE`` writes it there, too."""

import argparse
import os
import platform
import sys
import warnings
from importlib import metadata
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.losses.measure import disagreement, memory, operators, times
from benchmarks.losses.peers import VOID, Entry, entries, soft_entries
from segloss.losses import get, switches
from segloss.records.record import processor

SHAPES = [(4, 19, 256, 256), (2, 150, 128, 128)]
HEADER = (
    "| loss | by | ms | x F.cross_entropy | ours / peer | kept | peak | value differs by | gradient differs by |\n"
    "|---|---|--:|--:|--:|--:|--:|--:|--:|"
)
LEGEND = """\
Forward and backward of float32 logits. *ms*: median of repeats in which all rows of a table take turns; *x
F.cross_entropy*: to `torch.nn.functional.cross_entropy` in the same table; *kept*: memory held between forward and
backward, *peak*: at most over both (the logits' gradient included), in units of the logits; *differs by*: ours from the
peer's, relative to its value and to its largest gradient. Checks that wait for the device are off, as in training.
"""


def data(shape: tuple[int, ...], soft: bool, spread: float, device: str) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, target and valid. A spread above 0 raises the true class's logits, as training does."""
    generator = torch.Generator().manual_seed(0)
    images, classes, *spatial = shape
    logits = torch.randn(shape, generator=generator)
    # Blocks of one class, as in segmentation, and every class at least once.
    blocks = [images, *(side // 8 for side in spatial)]
    number = blocks[0] * blocks[1] * blocks[2]
    target = (torch.randperm(number, generator=generator) % classes).view(blocks)
    target = target.repeat_interleave(8, 1).repeat_interleave(8, 2)
    if spread:
        logits = 2 * logits + spread * torch.nn.functional.one_hot(target, classes).movedim(-1, 1)
    valid = torch.rand(images, *spatial, generator=generator) > 0.1
    if soft:
        target = torch.randn(shape, generator=generator).mul(2).softmax(1)
    return logits.to(device).requires_grad_(), target.to(device), valid.to(device)


def calls_of(entry: Entry, target: Tensor, valid: Tensor) -> dict[str, object]:
    """Ours first, then the peers, as functions of the logits."""
    valid = valid if entry.void else None
    if valid is not None:
        target = torch.where(valid, target, VOID)
    loss = get(entry.loss)
    calls = {"segloss": lambda z: loss(z, target, valid=valid, **entry.options)}
    return calls | {name: (lambda z, peer=peer: peer(z, target)) for name, peer in entry.peers.items()}


def rows(shape, soft: bool, spread: float, device: str, repeats: int, only: str, shares: bool = False) -> list[str]:
    logits, target, valid = data(shape, soft, spread, device)
    baseline = None
    lines = []
    for entry in soft_entries() if soft else entries(shape[1]):
        if only not in entry.loss and entry.loss != "cross_entropy":
            continue
        calls = calls_of(entry, target, valid)
        hidden = torch.where(valid, target, VOID) if entry.void else target
        timed = dict(calls)
        timed.setdefault(
            "torch", lambda z, y=hidden: torch.nn.functional.cross_entropy(z, y, ignore_index=-100 if soft else VOID)
        )
        seconds = times(timed, logits, repeats, seconds=4.0)
        baseline = seconds["torch"]
        for name, call in calls.items():
            kept, peak = memory(call, logits)
            cells = [f"{1e3 * seconds[name]:.1f}", f"{seconds[name] / baseline:.2f}"]
            cells += ["", f"{kept:.2f}", f"{peak:.2f}", "", ""]
            if name != "segloss":
                value, gradient = disagreement(calls["segloss"], call, logits)
                cells[2], cells[5], cells[6] = (
                    f"{seconds['segloss'] / seconds[name]:.2f}",
                    f"{value:.0e}",
                    f"{gradient:.0e}",
                )
            lines.append(f"| {entry.title if name == 'segloss' else ''} | {name} | {' | '.join(cells)} |")
            print(lines[-1], flush=True)
        if shares:
            taken = [f"{name} {share:.0%}" for name, share in operators(calls["segloss"], logits).items()]
            lines.append(f"| {entry.title}: operators | {', '.join(taken)} {7 * '| '}|")
            print(lines[-1], flush=True)
    return lines


def machine(threads: int) -> str:
    packages = [f"torch {torch.__version__}"]
    for name in ("mmsegmentation", "monai", "segmentation-models-pytorch", "kornia"):
        try:
            packages.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            packages.append(f"{name} not installed")
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    load = f"{os.cpu_count()} cores with a load of {os.getloadavg()[0]:.1f} before this run"
    python = platform.python_version()
    return f"CPU {processor()}, {load}, {threads} threads used; GPU {gpu}; Python {python}; {', '.join(packages)}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.losses", description=__doc__)
    parser.add_argument("--out", type=Path, help="write the tables into this Markdown file, too")
    parser.add_argument("--repeats", type=int, default=15, help="rounds in which each loss is measured (default 15)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default 2)")
    parser.add_argument("--only", default="", help="only losses whose name contains this, and cross_entropy")
    parser.add_argument("--operators", action="store_true", help="also the shares of the operators in the CPU time")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    warnings.simplefilter("ignore")  # the peers'
    policy = os.environ.get("OMP_WAIT_POLICY")
    command = " ".join([*([f"OMP_WAIT_POLICY={policy}"] * bool(policy)), "python -m benchmarks.losses", *sys.argv[1:]])
    text = [f"# What the losses cost\n\n`{command}`\n\n{machine(arguments.threads)}\n\n{LEGEND}"]
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    for device in devices:
        for shape in SHAPES:
            for soft, spread, kind in (
                (False, 0.0, "hard labels, a tenth of the pixels void where the peers support void, random logits"),
                (False, 8.0, "the same with logits as after training (the right class's raised by 8)"),
                (True, 0.0, "soft labels, no void"),
            ):
                if spread and arguments.only not in ("", "lovasz"):
                    continue
                title = f"## {shape}, {kind}, {device}\n"
                print(f"\n{title}\n{HEADER}", flush=True)
                only = "lovasz" if spread else arguments.only
                with switches(checks=False):
                    lines = rows(shape, soft, spread, device, arguments.repeats, only, arguments.operators)
                text.append("\n".join([title, HEADER, *lines, ""]))
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text("\n".join(text))


if __name__ == "__main__":
    main()
