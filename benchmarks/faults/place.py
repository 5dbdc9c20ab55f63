"""A copy of the workflow with a grid so small that a cell takes seconds, and the outputs of a finished grid."""

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
    """Copy everything that a grid needs to run, except the code, into an existing folder."""
    for name in ("workflows", "profiles", "configs"):
        shutil.copytree(ROOT / name, folder / name)
    for name in ("Snakefile", "environment.yml"):
        shutil.copy(ROOT / name, folder / name)


def make(folder: Path, losses: Sequence[str] = LOSSES, seeds: int = SEEDS) -> Path:
    """Make a workplace in a new folder, with a grid of these losses and this many seeds."""
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
    defaults = {"OMP_NUM_THREADS": "1", "WANDB_MODE": "offline", "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    return {**os.environ, **defaults, **variables}


def snakemake(*options: str, grid: str = "faults", cores: int = 1) -> list[str]:
    """The command a user types."""
    return [str(BIN / "snakemake"), "--cores", str(cores), *options, "--config", f"grid={grid}"]


def run(command: list[str], folder: Path, **variables: str) -> subprocess.CompletedProcess:
    """Run a command in a workplace and capture its output; the caller checks the exit status."""
    return subprocess.run(
        command, cwd=folder, env=environment(**variables), capture_output=True, text=True, check=False
    )


def finish(folder: Path, **variables: str) -> str:
    """Run the grid, which must finish; return its output."""
    done = run(snakemake(), folder, **variables)
    output = done.stdout + done.stderr
    assert done.returncode == 0, output[-4000:]
    return output


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
    entry = record(folder, cell)
    losses = [(row["iteration"], row["train/loss"]) for row in entry["training"]["rows"]]
    return {**measured, "metrics": entry["metrics"], "losses": losses}


def outcome(folder: Path) -> dict[str, Any]:
    """Those outputs of a finished grid that must not depend on what happened while it ran."""
    left: dict[str, Any] = {"table.md": table(folder)}
    for name in ("results.csv", "table.csv", "table.tex", "comparisons.csv"):
        left[name] = (folder / REPORT / name).read_bytes()
    return left | {f"{cell} {name}": value for cell in cells(folder) for name, value in numbers(folder, cell).items()}


def differences(first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    """The names of the entries that differ."""
    return sorted(name for name in first.keys() | second.keys() if first.get(name) != second.get(name))
