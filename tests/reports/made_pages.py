"""A page of made records with a cell in every state, and with titles and reasons that have to be escaped."""

import json
from contextlib import chdir
from pathlib import Path

import numpy as np

from benchmarks.faults.place import copy_workflow
from segloss import records
from segloss.reports.page import write_index, write_page
from tests.conftest import TINY_SCHEDULE, grid_of
from tests.written_records import write_cell

HOSTILE = "=1+1 </script><script>alert(1)</script><img src=x onerror=\"window.hacked=1\"> _ & % $ # { } ~ ^ \\ | 'x'"
LOSS = "Focal <img src=x onerror='window.hacked=1'>"
GRID = f"""
title: {json.dumps(HOSTILE)}
datasets: [phantom]
models: [unet-tiny]
schedule: tiny
labels: [hard, bls, raters]
losses: [ce, focal, lovasz, ce-jml]
seeds: 2
"""
ROWS = [{"iteration": 4 * number, "train/loss": 1 / number, "train/lr": 0.01} for number in range(1, 5)]


def make_page(root: Path) -> Path:
    """Make the records in <root>/results and the page in <root>/reports/made, and return the page.

    One cell failed, one is missing, Lovász is skipped on soft labels; everything else is done.
    """
    copy_workflow(root)
    (root / "configs/mmseg/schedules/tiny.py").write_text(TINY_SCHEDULE)
    (root / "configs/grids/made.yaml").write_text(GRID)
    losses = root / "configs/losses.yaml"
    line = next(line for line in losses.read_text().splitlines() if line.startswith("focal:"))
    losses.write_text(
        losses.read_text().replace(line, f"focal: {{title: {json.dumps(LOSS)}, loss: focal, gamma: 2.0}}")
    )
    random = np.random.default_rng(0)
    with chdir(root):
        grid, results = grid_of("made"), root / "results"
        failed, _, *done = grid.cells
        for number, cell in enumerate(done):
            validations = [{"iteration": 8 * step, "mIoU": 20.0 + step + number} for step in (1, 2)]
            checkpoint = {"rule": "best", "iteration": 16, "validations": validations}
            config = {"a": HOSTILE, "validation_interval": 8}
            write_cell(results, cell, training__rows=ROWS, training__checkpoint=checkpoint, config=config)
            maps = {f"image{place}": random.integers(0, 5, (12, 16)).astype(np.uint8) for place in range(2)}
            maps |= {f"label/{name}": random.integers(0, 5, (12, 16)).astype(np.uint8) for name in list(maps)}
            np.savez(results / str(cell) / "predictions.npz", **maps)
        (results / str(failed)).mkdir(parents=True)
        failure = {"cell": str(failed), "reason": HOSTILE, "traceback": f"Traceback: {HOSTILE}"}
        (results / str(failed) / "failure.json").write_text(json.dumps(failure))
        page = write_page(grid, records.collect(grid, results), results, root / "reports/made")
        write_index(root / "reports")
    return page


def make_control_page(root: Path) -> Path:
    """Make records of two losses, two label scenarios and phantom's three controls, and return their page.

    The control of the majority class has failed.
    """
    copy_workflow(root)
    (root / "configs/mmseg/schedules/tiny.py").write_text(TINY_SCHEDULE)
    losses = GRID.replace("hard, bls, raters", "hard, bls").replace("ce, focal, lovasz, ce-jml", "ce, focal")
    (root / "configs/grids/controls.yaml").write_text(losses + "controls: true\n")
    with chdir(root):
        grid, results = grid_of("controls"), root / "results"
        *done, failed = (experiment.cell for experiment in grid.evaluated)
        for cell in done:
            write_cell(results, cell)
        (results / str(failed)).mkdir(parents=True)
        (results / str(failed) / "failure.json").write_text(json.dumps({"cell": str(failed), "reason": "no label"}))
        return write_page(grid, records.collect(grid, results), results, root / "reports/controls")
