"""What the cells of a grid say of themselves, seen while real ones train, end, fail and are killed."""

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

from segloss import grid
from segloss.records import progress
from segloss.records.run_lock import attempt, running
from segloss.records.status import Seen, look, outlook, show
from tests.conftest import BIN, TINY_GRID, TINY_SCHEDULE, run, grid_of

CELL = "phantom/unet-tiny/tiny/hard/ce/seed0"
ONE_LOSS = TINY_GRID.replace("losses: [ce, lovasz]", "losses: [ce]").replace("labels: [hard, raters]", "labels: [hard]")


@pytest.fixture
def start(workplace: Path) -> Iterator[Callable[..., subprocess.Popen]]:
    """Start `segloss train` of a longer tiny cell in the background, with what it says in a file."""
    (workplace / "configs/grids/tiny.yaml").write_text(ONE_LOSS)
    (workplace / "configs/mmseg/schedules/tiny.py").write_text(TINY_SCHEDULE.replace("= 16", "= 60"))
    started = []

    def one(says: str) -> subprocess.Popen:
        environment = {**os.environ, "WANDB_MODE": "disabled", "OMP_NUM_THREADS": "1"}
        with (workplace / says).open("wb") as file:
            command = [str(BIN / "segloss"), "train", CELL, "--checkpoint-seconds", "0"]
            started.append(subprocess.Popen(command, cwd=workplace, env=environment, stdout=file, stderr=file))
        return started[-1]

    yield one
    for process in started:
        process.kill()
        process.wait()


def status(workplace: Path) -> str:
    return run("segloss", "status", "tiny", cwd=workplace).stdout


def wait_for(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def says(folder: Path, state: str) -> bool:
    said = progress.read(folder)
    return bool(said) and said["state"] == state


@pytest.mark.slow
def test_a_cell_is_missing_running_stopped_and_done(workplace: Path, start) -> None:
    folder = workplace / "results" / CELL
    assert "0/2: 2 missing" in status(workplace)
    process = start("first")
    wait_for(lambda: says(folder, "training"))
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
    assert "none of it running" not in text  # what such a cell takes is not known yet
    assert start("second").wait(120) == 0
    assert "1/2: 1 done, 1 missing" in status(workplace)
    # Other settings: not done any more.
    (workplace / "configs/mmseg/schedules/tiny.py").write_text(TINY_SCHEDULE.replace("= 16", "= 61"))
    assert "0/2: 1 stopped, 1 missing" in status(workplace)


@pytest.mark.slow
def test_two_processes_never_train_one_cell(workplace: Path, start) -> None:
    folder = workplace / "results" / CELL
    first = start("first")
    wait_for(lambda: says(folder, "training"))
    second = start("second")
    wait_for(lambda: f"waiting: process {first.pid} on " in (workplace / "second").read_text())
    # Killed, the first one's lock means nothing; the one that waited goes on from the last state.
    first.kill()
    assert second.wait(120) == 0
    assert "going on from iteration" in (workplace / "second").read_text()
    # What another process has finished meanwhile is left as it is.
    written = (folder / "record.json").stat().st_mtime_ns
    with attempt(folder):
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
    text = show(grid, look(grid, in_workplace / "results"))
    assert "0/6: 5 missing, 1 failed, 2 skipped" in text
    assert f"failed    {CELL}  the loss is nan" in text
    assert "lovasz_softmax" not in text
    assert "lovasz_softmax is defined on hard labels only" in show(grid, look(grid, Path("results")), every=True)


def test_who_holds_a_cell_is_told_from_who_left_it(tmp_path: Path) -> None:
    assert not running(tmp_path)
    assert progress.read(tmp_path) is None
    code = f"""
import sys
from pathlib import Path
from segloss.records import progress
from segloss.records.run_lock import attempt
with attempt(Path({str(tmp_path)!r})):
    progress.tell(Path({str(tmp_path)!r}), "training", iteration=1, iterations=4)
    print("holds", flush=True)
    sys.stdin.read()
"""
    command = [str(BIN / "python"), "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "holds\n"
        assert running(tmp_path)
        process.kill()
    assert not running(tmp_path)
    assert progress.read(tmp_path)["pid"] == process.pid
    (tmp_path / "work/progress.json").write_text('{"state": "trai')
    assert progress.read(tmp_path) is None


def test_time_left_is_that_of_cells_of_the_same_kind(in_workplace: Path) -> None:
    cells = grid_of("tiny").cells
    said = {"state": "training", "host": "h", "pid": 1, "iteration": 30, "iterations": 40}
    running = Seen(cells[0], "running", said={**said, "images_per_second": 8.0, "seconds_left": 25.0})
    # 25 s are the last quarter of a cell of 100 s; a second one has not begun, a third stopped at three quarters.
    stopped = Seen(cells[2], "stopped", said=said)
    found = [running, Seen(cells[1], "missing"), stopped, Seen(cells[3], "failed")]
    assert outlook(found) == "8.0 images/s by 1 cells; about 2 min left with 1 at a time"
    done = Seen(cells[3], "done", seconds=60.0)
    assert outlook([running, Seen(cells[1], "missing"), stopped, done]).endswith("about 2 min left with 1 at a time")
    assert outlook([Seen(cells[1], "missing"), done]) == "about 60 s of work left, none of it running"
    assert outlook([Seen(cells[1], "missing")]) == "1 cells of a kind that has not run yet"


@pytest.mark.slow
def test_five_thousand_cells_are_shown_in_two_seconds(in_workplace: Path) -> None:
    demo = yaml.safe_load((in_workplace / "configs/grids/demo.yaml").read_text())
    (in_workplace / "configs/grids/large.yaml").write_text(yaml.safe_dump({**demo, "seeds": 313}))
    for index, cell in enumerate(grid_of("large").cells):
        folder = in_workplace / "results" / str(cell)
        (folder / "work").mkdir(parents=True)
        if index % 10:
            record = {"cell": str(cell), "config_hash": grid.config_hash(cell), "config": "x" * 20_000}
            record |= {"training": {"started_at_iteration": 0}, "seconds": 10.0}
            (folder / "record.json").write_text(json.dumps(record, indent=1))
        else:
            progress.tell(folder, "training", iteration=1, iterations=4)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    text = run("segloss", "status", "large", cwd=in_workplace).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "4507/5008: 4507 done, 501 stopped, 626 skipped" in text
    assert "and 481 more" in text
    # Time on the processor, since other tests may be running beside this one.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2
