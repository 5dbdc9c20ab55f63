"""The status of the cells of a grid while real ones train, end, fail and are killed."""

import hashlib
import json
import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from segloss.datasets import DATASETS, fingerprints
from segloss.files import sha256_of
from segloss.records import CellStatus, progress, record_text
from segloss.records.run_lock import is_running, run_lock
from segloss.records.status import format_grid, grid_status, outlook
from segloss.records.verification import RECORD_VERSION
from tests.conftest import BIN, TINY_GRID, TINY_SCHEDULE, grid_of, run

CELL = "phantom/unet-tiny/tiny/hard/ce/seed0"
ONE_LOSS = TINY_GRID.replace("losses: [ce, lovasz]", "losses: [ce]").replace("labels: [hard, raters]", "labels: [hard]")


@pytest.fixture
def start(workplace: Path) -> Iterator[Callable[..., subprocess.Popen]]:
    """Start `segloss train` of a longer tiny cell in the background, with its output in a file."""
    (workplace / "configs/grids/tiny.yaml").write_text(ONE_LOSS)
    (workplace / "configs/mmseg/schedules/tiny.py").write_text(TINY_SCHEDULE.replace("= 16", "= 60"))
    started = []

    def start_training(log: str) -> subprocess.Popen:
        environment = {**os.environ, "WANDB_MODE": "disabled", "OMP_NUM_THREADS": "1"}
        with (workplace / log).open("wb") as file:
            command = [str(BIN / "segloss"), "train", CELL, "--checkpoint-seconds", "0"]
            started.append(subprocess.Popen(command, cwd=workplace, env=environment, stdout=file, stderr=file))
        return started[-1]

    yield start_training
    for process in started:
        process.kill()
        process.wait()


def status(workplace: Path) -> str:
    return run("segloss", "status", "tiny", cwd=workplace).stdout


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def in_state(folder: Path, state: str) -> bool:
    current = progress.read(folder)
    return bool(current) and current["state"] == state


@pytest.mark.slow
def test_a_cell_is_missing_running_stopped_and_done(workplace: Path, start) -> None:
    folder = workplace / "results" / CELL
    assert "0/2: 2 missing" in status(workplace)
    process = start("first")
    wait_for(lambda: in_state(folder, "training"))
    text = status(workplace)
    assert "0/2: 1 running, 1 missing" in text
    assert f":{process.pid}  " in text
    assert " images/s  " in text
    assert "s left with 1 at a time" in text
    process.send_signal(signal.SIGKILL)
    process.wait()
    text = status(workplace)
    assert "0/2: 1 stopped, 1 missing" in text
    assert "/60 (" in text
    assert "none of it running" not in text  # how long such a cell takes is not known yet
    assert start("second").wait(120) == 0
    assert "1/2: 1 done, 1 missing" in status(workplace)
    # Other settings: stale.
    (workplace / "configs/mmseg/schedules/tiny.py").write_text(TINY_SCHEDULE.replace("= 16", "= 61"))
    text = status(workplace)
    assert "0/2: 1 stale, 1 missing" in text
    assert "it was trained with settings other than those in configs/" in text


@pytest.mark.slow
def test_two_processes_never_train_one_cell(workplace: Path, start) -> None:
    folder = workplace / "results" / CELL
    first = start("first")
    wait_for(lambda: in_state(folder, "training"))
    second = start("second")
    wait_for(lambda: f"waiting: process {first.pid} on " in (workplace / "second").read_text())
    # When the first is killed its lock is released; the one that waited goes on from the last state.
    first.kill()
    assert second.wait(120) == 0
    assert "resuming from iteration" in (workplace / "second").read_text()
    # What another process has finished meanwhile is left as it is.
    written = (folder / "record.json").stat().st_mtime_ns
    with run_lock(folder):
        third = start("third")
        wait_for(lambda: "waiting: process" in (workplace / "third").read_text())
    assert third.wait(60) == 0
    assert f"{CELL}  another process has finished it" in (workplace / "third").read_text()
    assert (folder / "record.json").stat().st_mtime_ns == written


def test_a_failed_cell_shows_its_reason(in_workplace: Path) -> None:
    folder = in_workplace / "results" / CELL
    folder.mkdir(parents=True)
    (folder / "failure.json").write_text(json.dumps({"cell": CELL, "reason": "the loss is nan"}))
    grid = grid_of("tiny")
    text = format_grid(grid, grid_status(grid, in_workplace / "results"))
    assert "0/6: 5 missing, 1 failed, 2 skipped" in text
    assert f"failed    {CELL}  the loss is nan" in text
    assert "lovasz_softmax" not in text
    assert "lovasz_softmax is defined on hard labels only" in format_grid(
        grid, grid_status(grid, Path("results")), every=True
    )


def test_a_cell_that_is_held_differs_from_one_that_was_left(tmp_path: Path) -> None:
    assert not is_running(tmp_path)
    assert progress.read(tmp_path) is None
    code = f"""
import sys
from pathlib import Path
from segloss.records import progress
from segloss.records.run_lock import run_lock
with run_lock(Path({str(tmp_path)!r})):
    progress.write(Path({str(tmp_path)!r}), "training", iteration=1, iterations=4)
    print("holds", flush=True)
    sys.stdin.read()
"""
    command = [str(BIN / "python"), "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "holds\n"
        assert is_running(tmp_path)
        process.kill()
    assert not is_running(tmp_path)
    assert progress.read(tmp_path)["pid"] == process.pid
    (tmp_path / "work/progress.json").write_text('{"state": "trai')
    assert progress.read(tmp_path) is None


def test_time_left_is_that_of_cells_of_the_same_kind(in_workplace: Path) -> None:
    cells = grid_of("tiny").cells
    current = {"state": "training", "host": "h", "pid": 1, "iteration": 30, "iterations": 40}
    running = CellStatus(cells[0], "running", progress={**current, "images_per_second": 8.0, "seconds_left": 25.0})
    # 25 s are the last quarter of a cell of 100 s; a second one has not begun, a third stopped at three quarters.
    stopped = CellStatus(cells[2], "stopped", progress=current)
    statuses = [running, CellStatus(cells[1], "missing"), stopped, CellStatus(cells[3], "failed")]
    assert outlook(statuses) == "8.0 images/s by 1 cells; about 2 min left with 1 at a time"
    done = CellStatus(cells[3], "done", seconds=60.0)
    assert outlook([running, CellStatus(cells[1], "missing"), stopped, done]).endswith(
        "about 2 min left with 1 at a time"
    )
    assert outlook([CellStatus(cells[1], "missing"), done]) == "about 60 s of work left, none of it running"
    assert outlook([CellStatus(cells[1], "missing")]) == "1 cells of unknown run time"


def processor_seconds(grid: str, folder: Path) -> tuple[float, str]:
    """The time on the processor that the status of a grid takes, since other tests may run beside it, and its text."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    text = run("segloss", "status", grid, cwd=folder, own_process=True).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, text


def seconds_to_read(records: list[Path]) -> float:
    """The time on the processor for what cannot be saved: reading and hashing records and counts, parsing records."""
    started = time.process_time()
    for path in records:
        content = path.read_bytes()
        hashlib.sha256(content).hexdigest()
        json.loads(content)
        hashlib.sha256(path.with_name("counts.npz").read_bytes()).hexdigest()
    return time.process_time() - started


@pytest.mark.slow
@pytest.mark.alone
def test_five_thousand_cells_are_shown_in_about_twice_the_time_that_reading_them_takes(in_workplace: Path) -> None:
    """Two seconds, start included, where nothing else runs; a bound in seconds would depend on the machine."""
    demo = yaml.safe_load((in_workplace / "configs/grids/demo.yaml").read_text())
    (in_workplace / "configs/grids/large.yaml").write_text(yaml.safe_dump({**demo, "seeds": 313}))
    prints = fingerprints(DATASETS["phantom"], in_workplace / "data/phantom", None)
    records = []
    for index, experiment in enumerate(grid_of("large").experiments):
        folder = in_workplace / "results" / str(experiment)
        (folder / "work").mkdir(parents=True)
        if index % 10:
            (folder / "counts.npz").write_bytes(b"counts")
            record = {"record_version": RECORD_VERSION, "cell": str(experiment), "config_hash": experiment.config_hash}
            record |= {"training": {"started_at_iteration": 0}, "seconds": 10.0, "config": "x" * 20_000}
            record |= {"data": {"fingerprints": prints}}
            record |= {"evaluation": {"counts_sha256": sha256_of(folder / "counts.npz")}}
            records.append(folder / "record.json")
            records[-1].write_text(record_text(record))
        else:
            progress.write(folder, "training", iteration=1, iterations=4)
    of_large, of_tiny, floor = [], [], []
    for _ in range(3):
        seconds, text = processor_seconds("large", in_workplace)
        of_large.append(seconds)
        of_tiny.append(processor_seconds("tiny", in_workplace)[0])
        floor.append(seconds_to_read(records))
    assert "4507/5008: 4507 done, 501 stopped, 626 skipped" in text
    assert "and 481 more" in text
    print(f"5 008 cells {min(of_large):.2f} s, 8 cells {min(of_tiny):.2f} s, reading alone {min(floor):.2f} s")
    assert min(of_large) - min(of_tiny) < 3 * min(floor)
