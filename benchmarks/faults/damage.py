"""What can go wrong beside kills: each function does it to a finished grid and has the grid finished again."""

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.faults.kills import fork, train_command
from benchmarks.faults.place import BIN, REPORT, cells, environment, finish, record, run, snakemake

FAULTS: dict[str, Callable[[Path], str]] = {}


def fault(function: Callable[[Path], str]) -> Callable[[Path], str]:
    """Register a fault under its name; it takes the folder of a finished grid and says what was seen."""
    FAULTS[function.__name__.replace("_", " ")] = function
    return function


def half_trained(folder: Path, number: int = 0) -> Path:
    """Begin a cell anew and kill it amid its training; returns its newest state, which has one before it."""
    cell = cells(folder)[number]
    shutil.rmtree(folder / "results" / cell, ignore_errors=True)
    log = folder / "logs" / "half.log"
    process = fork(folder, log, train_command(cell))
    deadline = time.monotonic() + 120
    while "iteration 8/40" not in log.read_text():
        assert time.monotonic() < deadline, log.read_text()[-2000:]
        time.sleep(0.01)
    os.killpg(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return folder / "results" / cell / "work" / "checkpoint.pt"


def restarted_at(folder: Path) -> int:
    """The iteration at which the last attempt at the cell began."""
    return record(folder, cells(folder)[0])["training"]["started_at_iteration"]


def reported(folder: Path) -> str:
    """The table as it is, reasons of failed cells included."""
    return (folder / REPORT / "table.md").read_text()


def start_grid(folder: Path, *options: str, **variables: str) -> str:
    """Start the grid, whether it finishes or not; returns what it said."""
    done = run(snakemake(*options), folder, **variables)
    return done.stdout + done.stderr


@fault
def checkpoint_truncated(folder: Path) -> str:
    checkpoint = half_trained(folder)
    os.truncate(checkpoint, checkpoint.stat().st_size // 2)
    finish(folder)
    assert restarted_at(folder) >= 6
    return f"went on from the one before, iteration {restarted_at(folder)}"


@fault
def checkpoint_with_flipped_bit(folder: Path) -> str:
    checkpoint = half_trained(folder)
    content = bytearray(checkpoint.read_bytes())
    content[len(content) // 2] ^= 1
    checkpoint.write_bytes(content)
    finish(folder)
    assert restarted_at(folder) >= 6
    return f"went on from the one before, iteration {restarted_at(folder)}"


@fault
def both_checkpoints_damaged(folder: Path) -> str:
    checkpoint = half_trained(folder)
    for file in checkpoint.parent.glob("checkpoint*.pt"):
        file.write_bytes(b"nothing of the kind")
    finish(folder)
    assert restarted_at(folder) == 0
    return "trained from the beginning"


@fault
def checkpoint_of_another_cell(folder: Path) -> str:
    other = half_trained(folder, 1).read_bytes()
    checkpoint = half_trained(folder)
    for file in checkpoint.parent.glob("checkpoint*.pt"):
        file.write_bytes(other)
    finish(folder)
    assert restarted_at(folder) == 0
    return "not used; trained from the beginning"


@fault
def trainer_killed_amid_a_grid(folder: Path) -> str:
    for cell in cells(folder)[:2]:
        shutil.rmtree(folder / "results" / cell)
    process = subprocess.Popen(
        snakemake(), cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    logs = [folder / "results" / cell / "train.log" for cell in cells(folder)[:2]]
    while not (trained := [log for log in logs if log.exists() and "iteration 2/40" in log.read_text()]):
        assert process.poll() is None
        time.sleep(0.05)
    said = json.loads((trained[0].parent / "work/progress.json").read_text())
    os.kill(said["pid"], signal.SIGKILL)
    process.communicate()
    assert process.returncode == 1
    (other,) = set(logs) - set(trained)
    assert (other.parent / "record.json").exists()
    assert "and was killed" in reported(folder), reported(folder)
    finish(folder)
    return "the other cells went on; the table named the killed one; the next start finished it"


@contextmanager
def small_disk(folder: Path, kibibytes: int) -> Iterator[Callable[[int], object]]:
    """A file system of that size over a folder; the context is what gives it another size."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o"]
    subprocess.run([*mount, f"size={kibibytes}k", "tmpfs", str(folder)], check=True)
    try:
        yield lambda size: subprocess.run([*mount, f"remount,size={size}k", "tmpfs", str(folder)], check=True)
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@fault
def disk_full(folder: Path) -> str:
    if os.geteuid() != 0:
        return "not tried: only root may mount a small file system"
    place = folder / "results" / cells(folder)[0]
    kept = folder / "results" / cells(folder)[1]
    shutil.rmtree(place)
    seen = []
    with small_disk(place, 64) as resize:
        for size in (64, 400, 2000):
            resize(size)
            start_grid(folder)
            assert kept.exists()
            assert not (place / "record.json").exists()
            seen.append("the disk is full" in reported(folder) or "No space left" in reported(folder))
        resize(100000)
        finish(folder)
        whole = folder / "whole"
        shutil.copytree(place, whole)
    shutil.rmtree(place)
    shutil.move(whole, place)
    assert seen[-1]
    return f"reason in the table at {sum(seen)} of 3 sizes; with room, it went on"


@fault
def out_of_memory(folder: Path) -> str:
    shutil.rmtree(folder / "results" / cells(folder)[0])
    command = [str(BIN / "segloss"), *train_command(cells(folder)[0])]
    # Enough to import and to begin, too little to train.
    limited = 'ulimit -v $0; exec "$@"'
    reason = None
    for mebibytes in range(1200, 6000, 400):
        run(["bash", "-c", limited, str(mebibytes * 1024), *command], folder)
        failure = folder / "results" / cells(folder)[0] / "failure.json"
        if failure.exists():
            reason = json.loads(failure.read_text())["reason"]
            break
        if (folder / "results" / cells(folder)[0] / "record.json").exists():
            break
    finish(folder)
    return f"reason: {reason}"


@fault
def loss_not_finite(folder: Path) -> str:
    grid, losses = folder / "configs/grids/faults.yaml", folder / "configs/losses.yaml"
    kept = grid.read_text(), losses.read_text()
    grid.write_text(kept[0].replace("[ce, jml]", "[ce, jml, broken]"))
    losses.write_text(kept[1] + "broken: {title: Broken, loss: cross_entropy, class_weights: [1.0e+38, 1, 1, 1, 1]}\n")
    start_grid(folder)
    table = reported(folder)
    assert "the loss is inf at iteration" in table or "the loss is nan at iteration" in table, table
    grid.write_text(kept[0])
    losses.write_text(kept[1])
    finish(folder)
    return next(line for line in table.splitlines() if "the loss is" in line).lstrip("0123456789. ")


@fault
def caches_damaged(folder: Path) -> str:
    shutil.rmtree(folder / "results" / cells(folder)[0])
    for cache in (folder / "data/.class_counts").glob("*.json"):
        cache.write_bytes(b"\xff[1, 2")
    finish(folder)
    return "counted again"


@fault
def data_set_half_there(folder: Path) -> str:
    shutil.rmtree(folder / "results" / cells(folder)[0])
    for file in sorted((folder / "data/phantom/labels").iterdir())[::2]:
        file.unlink()
    finish(folder)
    shutil.rmtree(folder / "results" / cells(folder)[0])
    os.truncate(folder / "data/phantom/phantom.json", 20)
    finish(folder)
    return "generated again"


@fault
def results_table_truncated(folder: Path) -> str:
    table = folder / REPORT / "results.csv"
    os.truncate(table, table.stat().st_size - 100)
    said = start_grid(folder)
    assert "is not what the records say" in said, said
    finish(folder)
    return "refused, and collected anew"


@fault
def clock_set_back_and_forth(folder: Path) -> str:
    for days in (-4000, 4000):
        moved = time.time() + days * 86400
        for file in (folder / "results").rglob("*"):
            os.utime(file, (moved, moved))
        plan = start_grid(folder, "-n", "--quiet", "host")
        assert "rule train" not in plan, plan
    for file in (folder / "results").rglob("*"):
        os.utime(file)
    finish(folder)
    return "no cell was planned again"


@fault
def two_snakemakes_at_once(folder: Path) -> str:
    for cell in cells(folder)[:2]:
        shutil.rmtree(folder / "results" / cell)
    # One in the same working directory, one in another that shares the results.
    second = folder / "second"
    second.mkdir()
    for name in ("workflows", "profiles", "configs", "Snakefile", "environment.yml", "data"):
        (second / name).symlink_to(folder / name)
    commands = [(snakemake(), folder), (snakemake(), folder), ([*snakemake(), f"results={folder / 'results'}"], second)]
    processes = []
    for command, place in commands:
        processes.append(
            subprocess.Popen(
                command, cwd=place, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        )
        time.sleep(random.uniform(0, 2))
    statuses = [process.wait() for process in processes]
    finish(folder)
    shutil.rmtree(second)
    return f"exit statuses {statuses}, then one more start"


@fault
def results_read_only(folder: Path) -> str:
    if os.geteuid() == 0:
        place = folder / "readonly"
        place.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(place)], check=True)
        try:
            done = run([*snakemake(), f"results={place}"], folder)
        finally:
            subprocess.run(["umount", str(place)], check=True)
    else:
        place = folder / "readonly"
        place.mkdir(mode=0o500)
        done = run([*snakemake(), f"results={place}"], folder)
    place.rmdir()
    said = done.stdout + done.stderr
    assert done.returncode == 1
    assert "cannot write to" in said, said
    return next(line for line in said.splitlines() if "cannot write to" in line).replace(str(folder), ".")
