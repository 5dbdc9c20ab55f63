"""A grid through a real Slurm with two simulated GPUs: jobs that are cancelled or time out, and the local table."""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from segloss.records import progress
from tests.conftest import BIN, TINY_GRID, TINY_SCHEDULE
from tests.slurm_node import NoSlurm, slurm

# Two minutes, most of them spent waiting for Slurm.
pytestmark = pytest.mark.slow(waits=True)

RESOURCES = 'resources = {"gpus": 1, "cpus": 1, "memory_gb": 1, "minutes": 20}\n'
CELLS = [f"phantom/unet-tiny/tiny/hard/{loss}/seed{seed}" for loss in ("ce", "dice") for seed in (0, 1)]


@pytest.fixture
def variables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment variables of a Slurm that runs as long as the test."""
    try:
        with slurm(tmp_path_factory.mktemp("slurm")) as settings:
            yield settings
    except NoSlurm as error:
        pytest.skip(f"no Slurm here: {error}")


def jobs(variables: dict[str, str]) -> dict[str, dict[str, str]]:
    """Cell, state and device of every job, by its number; the cell is a part of the path of its log."""
    output = run_tool(variables, "scontrol", "show", "job", "--details", "--oneliner")
    entries = {}
    for line in output.splitlines():
        if log := re.search(r"StdOut=\S*/([^/]+)/(\d+)\.log", line):
            device = re.search(r"GRES=gpu\S*\(IDX:(\d+)\)", line)
            state = re.search(r"JobState=(\w+)", line)[1]
            entries[log[2]] = {"cell": log[1], "state": state, "device": device[1] if device else ""}
    return entries


def job_of(running: dict[str, dict[str, str]], cell: str) -> str:
    """The job in which a cell runs."""
    return next(job for job, entry in running.items() if entry["cell"] == cell.replace("/", "_"))


def run_tool(variables: dict[str, str], *command: str) -> str:
    environment = {**os.environ, **variables}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout


def training_progress(workplace: Path, cell: str) -> dict | None:
    """The progress of a cell that is training now."""
    current = progress.read(workplace / "results" / cell)
    return current if current and current["state"] == "training" else None


def test_a_grid_through_slurm_gives_the_local_table(workplace: Path, variables: dict[str, str]) -> None:
    grid = TINY_GRID.replace("losses: [ce, lovasz]", "losses: [ce, dice]").replace(
        "labels: [hard, raters]", "labels: [hard]"
    )
    (workplace / "configs/grids/tiny.yaml").write_text(grid)
    (workplace / "configs/mmseg/schedules/tiny.py").write_text(TINY_SCHEDULE.replace("= 16", "= 60") + RESOURCES)
    options = ("--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "3")
    command = [str(BIN / "snakemake"), "--profile", "profiles/slurm", *options, "--config", "grid=tiny"]
    environment = {**os.environ, "WANDB_MODE": "disabled", "OMP_NUM_THREADS": "1", **variables}
    limited = cancelled = None
    seen: dict[str, dict[str, str]] = {}
    used: set[str] = set()  # Slurm does not show the device of a job that has ended
    with (workplace / "output").open("wb") as output:
        snakemake = subprocess.Popen(command, cwd=workplace, env=environment, stdout=output, stderr=output)
        local = None
        try:
            deadline = time.monotonic() + 900  # a minute or two on an idle machine
            while snakemake.poll() is None and time.monotonic() < deadline:
                time.sleep(0.3)
                now = jobs(variables)
                seen |= now
                running = {job: entry for job, entry in now.items() if entry["state"] == "RUNNING"}
                devices = [entry["device"] for entry in running.values()]
                assert len(devices) == len(set(devices)) <= 2
                used |= set(devices)
                training = [cell for cell in CELLS if training_progress(workplace, cell)]
                if training and limited is None:
                    # It is stopped until its time is over, which is soon; Slurm wakes it to terminate it.
                    limited = training[0]
                    run_tool(variables, "scontrol", "update", f"JobId={job_of(running, limited)}", "TimeLimit=1")
                    os.kill(training_progress(workplace, limited)["pid"], signal.SIGSTOP)
                others = [cell for cell in training if cell != limited]
                if others and cancelled is None:
                    cancelled = others[0]
                    run_tool(variables, "scancel", job_of(running, cancelled))
                    local = subprocess.Popen(
                        [
                            *(str(BIN / "snakemake"), "--cores", "1", "--nolock", "--quiet", "all", "--config"),
                            *("grid=tiny", "results=local", "reports=local-reports"),
                        ],
                        cwd=workplace,
                        env={**os.environ, "WANDB_MODE": "disabled", "OMP_NUM_THREADS": "1"},
                        stdout=subprocess.DEVNULL,
                        stderr=subprocess.DEVNULL,
                    )
            assert local.wait(600) == 0
        finally:
            for process in filter(None, (snakemake, local)):
                process.kill()
                process.wait()
    assert snakemake.returncode == 0, (workplace / "output").read_text()[-6000:]
    states = {entry["cell"]: set() for entry in seen.values()}
    for entry in seen.values():
        states[entry["cell"]].add(entry["state"])
    assert "TIMEOUT" in states[limited.replace("/", "_")]
    assert "CANCELLED" in states[cancelled.replace("/", "_")]
    assert used == {"0", "1"}
    records = {cell: json.loads((workplace / "results" / cell / "record.json").read_text()) for cell in CELLS}
    began = {cell: record["training"]["started_at_iteration"] for cell, record in records.items()}
    assert all((0 < began[cell] <= 60) == (cell in (limited, cancelled)) for cell in CELLS), began
    here, there = (workplace / f"{reports}/tiny/results.csv" for reports in ("local-reports", "reports"))
    assert there.read_text() == here.read_text()
    assert there.read_text().count("done") > len(CELLS)
