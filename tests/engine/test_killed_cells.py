"""A real tiny grid with folds, four channels, evaluation on another data set and controls: killed and resumed."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from segloss.records import cell_status, progress
from segloss.records.run_lock import is_running
from tests.conftest import BIN, TINY_SCHEDULE, experiment_of, run
from tests.datasets.made_miniatures import MINIATURES
from tests.datasets.test_qubiq import make_brain_tumours

GRID = """
title: Kinds of cells
datasets: [qubiq-brain-tumour-2@folds0+1, nighttime-driving@cityscapes]
models: [unet-tiny]
schedule: tiny
labels: [hard]
losses: [ce]
seeds: 1
controls: true
"""
FOLD = "qubiq-brain-tumour-2@fold0/unet-tiny/tiny/hard/ce/seed0"
POOLED = "qubiq-brain-tumour-2@folds0+1/control/none/hard/majority-class/seed0"
ELSEWHERE = "nighttime-driving@cityscapes/unet-tiny/tiny/hard/ce/seed0"
CONTROL = "nighttime-driving@cityscapes/control/none/hard/class-frequencies/seed0"
# Cells and the state in which they are killed; a cell that pools folds has only its first.
KILLED = {FOLD: "training", POOLED: "starting", ELSEWHERE: "evaluating", CONTROL: "evaluating"}
FILES = ("results.csv", "table.csv", "table.tex", "intervals.csv", "comparisons.csv", "table.md", "details.md")
OPTIONS = ("--cores", "2", "--config", "grid=kinds", "data_root=data")


def make_grid(workplace: Path) -> None:
    """The grid, its data sets in miniature, and their configs with small sizes and one core."""
    MINIATURES["cityscapes"].make(workplace / "data")
    MINIATURES["nighttime-driving"].make(workplace / "data")
    make_brain_tumours(workplace / "data")
    resources = '{"gpus": 0, "cpus": 1, "memory_gb": 3, "minutes": 20}'
    for name in ("_base_/crops-512x1024.py", "qubiq-kidney.py"):
        file = workplace / "configs/mmseg/datasets" / name
        text = file.read_text().replace("512, 1024", "32, 64").replace("256, 256", "32, 32")
        file.write_text(re.sub(r"^resources = .*$", "", text, flags=re.MULTILINE) + f"\nresources = {resources}\n")
    (workplace / "configs/mmseg/schedules/tiny.py").write_text(TINY_SCHEDULE)
    (workplace / "configs/grids/kinds.yaml").write_text(GRID)


def tables(report: Path) -> dict[str, str]:
    """The tables of a report without the line that has hours, memory and command."""
    texts = {name: (report / name).read_text() for name in FILES}
    return {name: re.sub(r"^Made by .*$", "", text, flags=re.MULTILINE) for name, text in texts.items()}


def kill_cells(process: subprocess.Popen, results: Path) -> set[str]:
    """Kill the process of each cell of KILLED in its state while the grid runs; returns the killed cells."""
    killed_cells: set[str] = set()
    deadline = time.monotonic() + 300
    while process.poll() is None:
        assert time.monotonic() < deadline
        for cell in KILLED.keys() - killed_cells:
            current = progress.read(results / cell)
            in_state = current and current["state"] == KILLED[cell] and current.get("iteration", 9) > 5
            if in_state and is_running(results / cell):
                os.kill(current["pid"], signal.SIGKILL)
                killed_cells.add(cell)
        time.sleep(0.001)
    return killed_cells


@pytest.mark.slow
@pytest.mark.usefixtures("forked")
def test_killed_cells_of_every_kind_end_with_the_undisturbed_tables(in_workplace: Path) -> None:
    make_grid(in_workplace)
    run("snakemake", *OPTIONS, cwd=in_workplace, WANDB_MODE="disabled")
    expected = tables(in_workplace / "reports/kinds")
    for name in ("qubiq-brain-tumour-2@folds0+1", "nighttime-driving@cityscapes"):
        assert f"{name}, unet-tiny" in expected["table.md"]
    assert expected["table.md"].count("| Class frequencies |") == 2
    record = json.loads((in_workplace / "results" / FOLD / "record.json").read_text())
    assert record["config"]["model"]["backbone"]["in_channels"] == 4

    # The same grid; cells of every kind are killed while they run.
    results = in_workplace / "again"
    shutil.copytree(in_workplace / "results", results)
    for cell in KILLED:
        shutil.rmtree(results / cell)
    again = (*OPTIONS, "train=--checkpoint-seconds 0", "results=again", "reports=reports-again")
    environment = {**os.environ, "WANDB_MODE": "disabled", "OMP_NUM_THREADS": "1"}
    environment["PATH"] = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([BIN / "snakemake", *again], cwd=in_workplace, env=environment, **quiet) as process:
        assert kill_cells(process, results) == KILLED.keys()
    assert process.returncode != 0
    for cell in KILLED:
        status = cell_status(experiment_of(cell), results)
        assert (status.state, "and was killed" in status.reason) == ("stopped", True), cell
        assert not (results / cell / "record.json").exists()
    run("snakemake", *again, cwd=in_workplace, WANDB_MODE="disabled")
    assert tables(in_workplace / "reports-again/kinds") == expected
    resumed = json.loads((results / FOLD / "record.json").read_text())["training"]["started_at_iteration"]
    assert 0 < resumed < 16
