"""A copy of the workflow with a grid so small that a cell takes seconds, and what it leaves when it has finished."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent

ITERATIONS = 40
SCHEDULE = f"""
iterations = {ITERATIONS}
batch_size = 4
optimizer = dict(type="AdamW", lr=1e-2, weight_decay=0.01)
param_scheduler = [dict(type="PolyLR", power=0.9, eta_min=0.0, begin=0, end=iterations, by_epoch=False)]
"""

GRID = """
title: Faults
datasets: [phantom]
models: [unet-tiny]
schedule: faults
labels: [hard]
losses: [LOSSES]
seeds: SEEDS
"""

LOSSES = ("ce", "jml")
SEEDS = 2
REPORT = "reports/faults"


def copy_workflow(folder: Path) -> None:
    """Everything but the code, into a folder that is there: what a grid runs in."""
    for name in ("workflows", "profiles", "configs"):
        shutil.copytree(ROOT / name, folder / name)
    for name in ("Snakefile", "environment.yml"):
        shutil.copy(ROOT / name, folder / name)


def make(folder: Path, losses: Sequence[str] = LOSSES, seeds: int = SEEDS) -> Path:
    """A workplace in an empty folder, with a grid of those losses and so many seeds."""
    folder.mkdir(parents=True)
    copy_workflow(folder)
    (folder / "configs/mmseg/schedules/faults.py").write_text(SCHEDULE)
    grid = GRID.replace("LOSSES", ", ".join(losses)).replace("SEEDS", str(seeds))
    (folder / "configs/grids/faults.yaml").write_text(grid)
    names = [f"phantom/unet-tiny/faults/hard/{loss}/seed{seed}" for loss in losses for seed in range(seeds)]
    (folder / "cells.txt").write_text("\n".join(names))
    return folder


def cells(folder: Path) -> list[str]:
    """The cells of a workplace's grid."""
    return (folder / "cells.txt").read_text().split()


def environment(**variables: str) -> dict[str, str]:
    """The environment of a command: one thread, W&B offline."""
    own = {"OMP_NUM_THREADS": "1", "WANDB_MODE": "offline", "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    return {**os.environ, **own, **variables}


def snakemake(*options: str, grid: str = "faults", cores: int = 1) -> list[str]:
    """The command a user types."""
    return [str(BIN / "snakemake"), "--cores", str(cores), *options, "--config", f"grid={grid}"]


def run(command: list[str], folder: Path, **variables: str) -> subprocess.CompletedProcess:
    """Run a command in a workplace; its output is kept, its exit status is for the caller to judge."""
    return subprocess.run(
        command, cwd=folder, env=environment(**variables), capture_output=True, text=True, check=False
    )


def finish(folder: Path, **variables: str) -> str:
    """Start the grid and expect it to finish; returns what it said."""
    done = run(snakemake(), folder, **variables)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-4000:]
    return said


def table(folder: Path) -> str:
    """table.md without the paragraph of hours, memory and commit."""
    text = (folder / REPORT / "table.md").read_text(encoding="utf-8")
    return re.sub(r"^Made by .*$", "", text, flags=re.MULTILINE)


def record(folder: Path, cell: str) -> dict[str, Any]:
    """The record of a cell."""
    return json.loads((folder / "results" / cell / "record.json").read_text(encoding="utf-8"))


def numbers(folder: Path, cell: str) -> dict[str, Any]:
    """Everything a cell measured, to the last bit: counts, predicted maps, metrics, the losses of its training."""
    measured: dict[str, Any] = {}
    for name in ("counts.npz", "predictions.npz"):
        with np.load(folder / "results" / cell / name) as arrays:
            measured |= {f"{name}/{key}": (arrays[key].dtype.str, arrays[key].tobytes()) for key in arrays}
    told = record(folder, cell)
    losses = [(row["iteration"], row["train/loss"]) for row in told["training"]["rows"]]
    return {**measured, "metrics": told["metrics"], "losses": losses}


def outcome(folder: Path) -> dict[str, Any]:
    """What a finished grid leaves, as far as it must not depend on what happened on the way."""
    left: dict[str, Any] = {"table.md": table(folder)}
    for name in ("results.csv", "table.csv", "table.tex", "comparisons.csv"):
        left[name] = (folder / REPORT / name).read_bytes()
    return left | {f"{cell} {name}": value for cell in cells(folder) for name, value in numbers(folder, cell).items()}


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """The names of what differs."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
