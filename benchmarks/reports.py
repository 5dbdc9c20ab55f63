"""CPU time and memory of the table, the report and the page of a large grid.

    python -m benchmarks.reports [--place FOLDER] [--out reports/perf/reports.md]

The grid has 1 000 cells: CamVid's 11 classes, 2 models, 5 label scenarios, 20 losses, 5 seeds. Each cell has counts of
500 images of 16x16 pixels with class-wise histograms, four predicted class maps, and a record with 200 logged rows;
predictions are random. `segloss collect` and `segloss report` run as a user runs them, with one thread. CPU seconds
are the user and system time of the process, which other load on the machine hardly changes; memory is the peak. If
Chromium is installed, it opens the page: milliseconds until the table is shown, the median of five.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import time
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from shutil import which
from tempfile import TemporaryDirectory

import numpy as np
import torch

from benchmarks.faults.place import BIN, copy_workflow, environment
from segloss.grid import Cell, Configs, load_grid
from segloss.metrics import Counts
from tests.written_records import write_cell

LOSSES = "ce, wce, focal, dice, dice2, jaccard, tversky, gdice, bce-dice, dice-focal, ell, lmf, jml, dml, ctl"
GRID = f"""
title: Large
datasets: [camvid]
models: [deeplabv3-r18d, pspnet-r18d]
schedule: camvid
labels: [hard, ls, bls, hard-half, hard-4th]
losses: [{LOSSES}, ce-dice, ce-jml, ce-dml, ce-ctl, jml-d]
seeds: SEEDS
"""
CLASSES, IMAGES, SIDE = 11, 500, 16
LOGGED_ROWS = 200


@dataclass(frozen=True)
class Cost:
    """The cost of one command: CPU seconds, elapsed seconds and peak memory in MiB."""

    cpu: float
    elapsed: float
    memory: float


def predicted(cell: Cell, number: int) -> Counts:
    """Counts of random predictions, better for some losses than for others; all cells have the same labels."""
    random, labels = torch.Generator().manual_seed(number), torch.Generator().manual_seed(0)
    truth = torch.randint(CLASSES, (IMAGES, SIDE, SIDE), generator=labels)
    strength = 2 + 0.1 * (sum(cell.loss.encode()) % 20)
    logits = torch.randn(IMAGES, CLASSES, SIDE, SIDE, generator=random)
    logits += strength * torch.nn.functional.one_hot(truth, CLASSES).movedim(-1, 1)
    counts = Counts(CLASSES)
    counts.update(logits.softmax(1), truth, names=[f"image{image:03}" for image in range(IMAGES)])
    return counts


def make(place: Path, seeds: int) -> None:
    """Write the grid, its records and its counts into a folder."""
    torch.set_num_threads(1)  # on tensors this small several threads mostly wait for each other
    copy_workflow(place)
    (place / "configs/grids/large.yaml").write_text(GRID.replace("SEEDS", str(seeds)))
    random = np.random.default_rng(0)
    with chdir(place):
        for number, cell in enumerate(load_grid("large", Configs()).cells):
            rows = [
                {"iteration": 50 * row, "train/loss": float(random.random()), "train/lr": 0.01 / row}
                for row in range(1, LOGGED_ROWS + 1)
            ]
            write_cell(Path("results"), cell, predicted(cell, number), data__source="camvid", training__rows=rows)
            maps = {f"image{image:03}": random.integers(0, CLASSES, (36, 48)).repeat(4, 0) for image in range(4)}
            maps = {name: values.repeat(4, 1).astype(np.uint8) for name, values in maps.items()}
            labels = {f"label/{name}": values // 2 for name, values in maps.items()}
            np.savez_compressed(Path("results") / str(cell) / "predictions.npz", **maps, **labels)


def cost(place: Path, *arguments: str) -> Cost:
    """Run a command of segloss in a folder and measure its cost."""
    started = time.monotonic()
    process = subprocess.Popen(
        [BIN / "segloss", *arguments], cwd=place, env=environment(SEGLOSS_DATA=str(place / "data"))
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"segloss {' '.join(arguments)} failed")
    return Cost(usage.ru_utime + usage.ru_stime, time.monotonic() - started, usage.ru_maxrss / 2**10)


def open_page(page: Path, chromium: str) -> float:
    """Milliseconds from the navigation to the table of results, the median of five."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as system:
        browser = system.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        measured = []
        for _ in range(5):
            tab = browser.new_page()
            started = time.monotonic()
            tab.goto(page.as_uri(), wait_until="commit")
            tab.wait_for_selector("#table tbody tr")
            measured.append(1000 * (time.monotonic() - started))
            tab.close()
        browser.close()
    return statistics.median(measured)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reports", description=__doc__.splitlines()[0])
    parser.add_argument("--place", type=Path, help="folder for the records, or one that already has them")
    parser.add_argument("--seeds", type=int, default=5, help="seeds of the grid; 200 cells each (default 5)")
    parser.add_argument("--out", type=Path, help="write the table into this Markdown file, too")
    arguments = parser.parse_args()
    with TemporaryDirectory() as temporary:
        place = arguments.place or Path(temporary)
        if not (place / "results").exists():
            place.mkdir(exist_ok=True)
            make(place, arguments.seeds)
        table = "reports/large/results.csv"
        costs = {"collect": cost(place, "collect", "large", "--output", table)}
        costs["report"] = cost(place, "report", "large", table)
        page = place / "reports/large/index.html"
        opened = f"{open_page(page, chromium):.0f} ms" if (chromium := which("chromium")) else "not measured"
        size = page.stat().st_size / 1e6
        cells = json.dumps(len(list((place / "results").rglob("record.json"))))
    targets = {"collect": "10 s", "report": "60 s, 1 GB"}
    rows = [
        f"| `segloss {name}` | {entry.cpu:.1f} | {entry.elapsed:.1f} | {entry.memory:.0f} | {targets[name]} |"
        for name, entry in costs.items()
    ]
    text = "\n".join(
        [
            "# Reports of a large grid\n",
            __doc__.split("\n\n", 2)[2],
            f"{platform.platform()}, {os.cpu_count()} cores with a load of {os.getloadavg()[0]:.1f}; {cells} cells.\n",
            "| | CPU seconds | elapsed seconds | peak MiB | target |",
            "|:--|--:|--:|--:|:--|",
            *rows,
            f"\nThe page has {size:.1f} MB (target 15) and shows its table after {opened} (target 2 s).\n",
        ]
    )
    print(text)
    if arguments.out:
        arguments.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
