"""``python -m benchmarks.faults.tracking``: what a W&B server that hangs, fails, drops or refuses costs.

It is measured on a grid of four cells, run by Snakemake on two cores, in wall-clock time from start to end; and on one
cell, in forks of one process, since imports, which no server delays, would only make a difference look smaller. For the
cell, time spent waiting for the processor is left out. Each round measures all kinds of server.
"""

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.faults import place
from benchmarks.faults.kills import fork
from segloss.runtime import forkserver
from segloss.workflow import PRELOAD
from tests.wandb_server import serving

FAULTS = ("hang", "fail", "drop")
KINDS = ("well", *FAULTS, "hang amid", "drop amid", "refuse", "offline")


@contextmanager
def server(kind: str) -> Iterator[dict[str, str]]:
    """The environment variables that point a training to a server of this kind; ``amid``: it works at first."""
    with serving() as made:
        fault, *amid = kind.split()
        made.fault = fault if fault in FAULTS else None
        made.faults_after = 4 if amid else 0
        url = "http://127.0.0.1:9" if kind == "refuse" else made.url
        mode = "offline" if kind == "offline" else "online"
        yield {"WANDB_MODE": mode, "WANDB_BASE_URL": url, "WANDB_API_KEY": "0" * 40}


def cell_seconds(folder: Path, kind: str) -> float:
    """Seconds of one cell's training and evaluation with this kind of server."""
    shutil.rmtree(folder / "results", ignore_errors=True)
    with server(kind) as variables:
        process = fork(folder, folder / "log", ["train", place.cells(folder)[0]], **variables)
        _, status = os.waitpid(process, 0)
    log = (folder / "log").read_text()
    assert status == 0, log[-2000:]
    return float(log.rsplit("lived for ", 1)[1])


def grid_seconds(folder: Path, kind: str) -> float:
    """Wall-clock seconds from the start of Snakemake to its end."""
    for name in ("results", "reports"):
        shutil.rmtree(folder / name, ignore_errors=True)
    with server(kind) as variables:
        started = time.monotonic()
        done = place.run(place.snakemake(cores=2), folder, **variables)
        seconds = time.monotonic() - started
    assert done.returncode == 0, done.stderr[-2000:]
    return seconds


def rounds(
    measure: Callable[[Path, str], float], folder: Path, kinds: Sequence[str], number: int, title: str
) -> list[str]:
    """Measure each kind of server in every round, starting each round with the next kind; return a Markdown table."""
    measure(folder, kinds[0])  # makes the data set
    taken: dict[str, list[float]] = {kind: [] for kind in kinds}
    for turn in range(number):
        first = turn % len(kinds)
        for kind in (*kinds[first:], *kinds[:first]):
            taken[kind].append(measure(folder, kind))
    lines = [f"| W&B server | {title}, median | Ratio to a well server in the same round, median (quartiles) |"]
    lines.append("|:--|--:|--:|")
    for kind, values in taken.items():
        ratios = [value / well for value, well in zip(values, taken[kinds[0]], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        lines.append(f"| {kind} | {statistics.median(values):.2f} | {middle:.3f} ({low:.3f} to {high:.3f}) |")
    print("\n".join(lines), flush=True)
    return lines


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9, help="of cells (default: 9)")
    parser.add_argument("--grid-rounds", type=int, default=7, help="of grids (default: 7)")
    parser.add_argument("--out", type=Path, help="where the tables go (default: printed only)")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    lines = ["# What a W&B server at fault costs", "", *__doc__.split("\n\n")[1].strip().splitlines(), ""]
    command = f"--rounds {arguments.rounds} --grid-rounds {arguments.grid_rounds}"
    lines += [f"`python -m benchmarks.faults.tracking {command}`", ""]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        grid = place.make(Path(temporary) / "grid")
        lines += rounds(grid_seconds, grid, KINDS[:4], arguments.grid_rounds, "Seconds of a grid")
        forkserver.preload_modules(PRELOAD)  # only now, for the forks: Snakemake must not inherit it
        lines += ["", *rounds(cell_seconds, grid, KINDS, arguments.rounds, "Seconds of a cell")]
    if arguments.out:
        arguments.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
