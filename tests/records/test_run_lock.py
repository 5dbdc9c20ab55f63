"""What a killed cell and a full disk leave behind, which locks are stale, and a short campaign of kills."""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from segloss import records
from segloss.files import write_atomic, write_json
from segloss.grid import ConfigError
from segloss.records import progress
from segloss.records.run_lock import is_running, run_lock
from segloss.workflow import clear_stale_locks, folder_option
from tests.conftest import ROOT, grid_of

# Takes a lock in a folder or clears stale ones there, prints 1, and stays.
RUN = """
import sys, time
from pathlib import Path
from segloss.records.run_lock import run_lock
with run_lock(Path(sys.argv[1])):
    print(1, flush=True)
    time.sleep(99)
"""
SNAKEMAKE = """
import sys, time
from pathlib import Path
from segloss.workflow import clear_stale_locks
clear_stale_locks(Path(sys.argv[1]))
print(1, flush=True)
time.sleep(float(sys.argv[2]) if sys.argv[2:] else 99)
"""


@contextmanager
def process(code: str, folder: Path) -> Iterator[subprocess.Popen]:
    """A process that has reached its last line; it is killed at the end."""
    command = [sys.executable, "-c", code, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        try:
            assert running.stdout.readline() == "1\n"
            yield running
        finally:
            running.kill()


def test_a_killed_cell_a_running_one_and_one_that_never_started_are_distinguished(in_workplace: Path) -> None:
    grid = grid_of("tiny")
    cell, results = grid.cells[0], in_workplace / "results"
    folder = results / str(cell)

    def status() -> tuple[str, str]:
        row = records.collect(grid, results).iloc[0]
        return row.status, row.reason

    assert status() == ("missing", "not trained yet")
    with process(RUN, folder) as running:
        assert is_running(folder)
        assert status() == ("missing", "not trained yet")  # it has written no progress
        progress.write(folder, "training", iteration=1, iterations=2)
        assert status()[0] == "running"
        progress.progress_file(folder).unlink()
        running.send_signal(signal.SIGKILL)
        running.wait()
        assert not is_running(folder)
        assert status()[0] == "stopped"
        assert "and was killed" in status()[1]
    (folder / "work" / ".checkpoint.new.pt.abc.partial").write_bytes(b"half")
    with run_lock(folder):
        assert not list(folder.glob("**/*.partial"))
    assert status() == ("missing", "not trained yet")
    with pytest.raises(ValueError, match="any"), run_lock(folder):
        raise ValueError("any error")
    assert status() == ("missing", "not trained yet")
    write_json(folder / "failure.json", {"reason": "the loss is nan"})
    assert status() == ("failed", "the loss is nan")
    (folder / "failure.json").write_text("{")
    assert status()[0] == "failed"
    assert "failure.json is damaged" in status()[1]


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """Limit the size of files, as a full disk would: writing more fails."""
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("size", [0, 1, 1000])
def test_a_file_that_does_not_fit_leaves_the_old_one_and_nothing_else(tmp_path: Path, size: int) -> None:
    file = tmp_path / "file"
    write_atomic(file, lambda open_file: open_file.write(b"old"))
    with files_up_to(size), pytest.raises(OSError, match="File too large"):
        write_atomic(file, lambda open_file: open_file.write(b"x" * 5000))
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("size", [0, 100, 20_000, 60_000])
def test_a_state_that_does_not_fit_leaves_the_older_ones(tmp_path: Path, size: int) -> None:
    import torch

    from segloss.engine.checkpoints import load_checkpoint, save_checkpoint

    path = tmp_path / "checkpoint.pt"
    states = [{"config_hash": "mine", "iteration": number, "w": torch.ones(20_000)} for number in range(3)]
    for state in states[:2]:
        save_checkpoint(path, state)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with files_up_to(size), pytest.raises(OSError, match="File too large"):
        save_checkpoint(path, states[2])
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    assert load_checkpoint(path, "mine")["iteration"] == 1


def test_locks_of_a_dead_snakemake_are_removed_and_those_of_a_living_one_kept(tmp_path: Path) -> None:
    lock = tmp_path / "locks" / "0.output.lock"
    lock.parent.mkdir()
    with process(SNAKEMAKE, tmp_path) as running:
        lock.write_text("results/x\n")
        clear_stale_locks(tmp_path)
        assert lock.exists()
        running.send_signal(signal.SIGKILL)
        running.wait()
    # By now this process holds a shared lock, as a running Snakemake does: the next one gets another folder.
    other = tmp_path / "other"
    (other / "locks").mkdir(parents=True)
    (other / "locks" / "0.input.lock").write_text("x\n")
    subprocess.run([sys.executable, "-c", SNAKEMAKE, str(other), "0"], check=True)
    assert list((other / "locks").iterdir()) == []


def test_a_place_that_cannot_be_written_to_is_refused(tmp_path: Path) -> None:
    folder_option("results", str(tmp_path / "not" / "there"))
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"results=.*/file/x must be a folder, but .*/file is a file"):
        folder_option("results", str(tmp_path / "file" / "x"))
    if os.geteuid() != 0:
        tmp_path.chmod(0o500)
        with pytest.raises(ConfigError, match=r"cannot write to .*; choose another place with --config results="):
            folder_option("results", str(tmp_path / "x"))
        tmp_path.chmod(0o700)


@pytest.mark.slow
def test_a_short_campaign_of_kills_ends_with_the_undisturbed_tables(tmp_path: Path) -> None:
    counts = ["--trainers", "6", "--reports", "2", "--snakemakes", "0"]
    options = ["--losses", "ce", "--seeds", "1", *counts, "--faults"]
    summary = tmp_path / "summary.md"
    command = [sys.executable, "-m", "benchmarks.faults", *options, "--out", str(summary)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "**8 kills.**" in summary.read_text()
