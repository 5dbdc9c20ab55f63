"""What can go wrong besides kills: each function injects a fault into a finished grid and finishes the grid again."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.faults.disks import disk_with_a_plug, read_only_disk, small_disk
from benchmarks.faults.kills import ended, fork, reached, train_command
from benchmarks.faults.place import BIN, ITERATIONS, REPORT, cells, environment, finish, record, run, snakemake
from segloss.engine.checkpoints import read_checkpoint
from segloss.grid import Cell
from segloss.records import failure_reason
from segloss.records.run_lock import is_locked
from tests.wandb_server import serving

FAULTS: dict[str, Callable[[Path], str]] = {}


def fault(function: Callable[[Path], str]) -> Callable[[Path], str]:
    """Register a fault under its name; it takes the folder of a finished grid and returns what was observed."""
    FAULTS[function.__name__.replace("_", " ")] = function
    return function


def half_trained(folder: Path, number: int = 0) -> Path:
    """Start a cell over and kill it during its training; return its newest checkpoint, which has a predecessor."""
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


def goes_on_from_the_one_before(folder: Path) -> str:
    """Finish a grid whose first cell has a damaged newest checkpoint: it resumes from the checkpoint before."""
    finish(folder)
    iteration = record(folder, cells(folder)[0])["training"]["started_at_iteration"]
    assert iteration >= 6
    return f"went on from the one before, iteration {iteration}"


def trains_from_the_beginning(folder: Path) -> None:
    """Finish a grid whose first cell has no usable checkpoint."""
    finish(folder)
    assert record(folder, cells(folder)[0])["training"]["started_at_iteration"] == 0


def reported(folder: Path) -> str:
    """The table as it is, reasons of failed cells included."""
    return (folder / REPORT / "table.md").read_text()


def start_grid(folder: Path, *options: str, **variables: str) -> str:
    """Run the grid, whether it finishes or not; return its output."""
    done = run(snakemake(*options), folder, **variables)
    return done.stdout + done.stderr


@fault
def checkpoint_truncated(folder: Path) -> str:
    checkpoint = half_trained(folder)
    os.truncate(checkpoint, checkpoint.stat().st_size // 2)
    return goes_on_from_the_one_before(folder)


@fault
def checkpoint_with_flipped_bit(folder: Path) -> str:
    checkpoint = half_trained(folder)
    content = bytearray(checkpoint.read_bytes())
    content[len(content) // 2] ^= 1
    checkpoint.write_bytes(content)
    return goes_on_from_the_one_before(folder)


@fault
def both_checkpoints_damaged(folder: Path) -> str:
    checkpoint = half_trained(folder)
    for file in checkpoint.parent.glob("checkpoint*.pt"):
        file.write_bytes(b"nothing of the kind")
    trains_from_the_beginning(folder)
    return "trained from the beginning"


@fault
def checkpoint_of_another_cell(folder: Path) -> str:
    other = half_trained(folder, 1).read_bytes()
    checkpoint = half_trained(folder)
    for file in checkpoint.parent.glob("checkpoint*.pt"):
        file.write_bytes(other)
    trains_from_the_beginning(folder)
    return "not used; trained from the beginning"


def begun(folder: Path, chosen: list[str], **variables: str) -> tuple[subprocess.Popen, str]:
    """Start cells of the grid over; return the Snakemake process and the first of these cells that trains."""
    for cell in chosen:
        shutil.rmtree(folder / "results" / cell)
    process = subprocess.Popen(
        snakemake(),
        cwd=folder,
        env=environment(**variables),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    logs = {cell: folder / "results" / cell / "train.log" for cell in chosen}
    while True:
        for cell, log in logs.items():
            if log.exists() and f"iteration 2/{ITERATIONS}" in log.read_text():
                return process, cell
        assert process.poll() is None
        time.sleep(0.05)


@fault
def trainer_killed_amid_a_grid(folder: Path) -> str:
    chosen = cells(folder)[:2]
    process, trained = begun(folder, chosen)
    entry = json.loads((folder / "results" / trained / "work/progress.json").read_text())
    os.kill(entry["pid"], signal.SIGKILL)
    assert process.wait() == 1
    (other,) = set(chosen) - {trained}
    assert (folder / "results" / other / "record.json").exists()
    assert "and was killed" in reported(folder), reported(folder)
    finish(folder)
    return "the other cells went on; the table named the killed one; the next start finished it"


@fault
def locks_left_behind(folder: Path) -> str:
    # Those of Snakemake, of the cell, and of a GPU, which SEGLOSS_DEVICES declares.
    device = {"SEGLOSS_DEVICES": "0", "SEGLOSS_LEASES": str(folder / "leases")}
    process, cell = begun(folder, cells(folder)[:1], **device)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    snakemakes = list(folder.glob(".snakemake/locks/*.lock"))
    left = [*snakemakes, folder / "leases" / "0", folder / "results" / cell / "work" / "run_lock"]
    assert snakemakes
    assert all(file.exists() for file in left)
    finish(folder, **device)
    return f"{len(left)} files, of Snakemake, the cell and its GPU; they held up nothing"


def moved_off(place: Path, aside: Path) -> None:
    """Copy the content of a disk to a folder, from which it is restored when the disk is gone."""
    shutil.copytree(place, aside, ignore=shutil.ignore_patterns("lost+found"))


@fault
def disk_full(folder: Path) -> str:
    place, whole = folder / "results" / cells(folder)[0], folder / "whole"
    shutil.rmtree(place)
    seen = []
    with small_disk(place, 64) as resize:
        for size in (64, 300, 560):  # a finished cell takes 670 KiB, 480 of them for its weights
            resize(size)
            start_grid(folder)
            assert all((folder / "results" / cell / "record.json").exists() for cell in cells(folder)[1:])
            assert not (place / "record.json").exists()
            seen.append("the disk is full" in reported(folder) or "No space left" in reported(folder))
        resize(100000)
        finish(folder)
        moved_off(place, whole)
    place.rmdir()
    whole.rename(place)
    assert seen[-1]
    return f"reason in the table at {sum(seen)} of 3 sizes; with room, it went on"


def flushed(work: Path) -> int:
    """The iteration up to which a training need not be repeated."""
    if read_checkpoint(work / "weights.pt"):
        return ITERATIONS
    states = [read_checkpoint(work / name) for name in ("checkpoint.pt", "checkpoint.previous.pt")]
    return max((state["iteration"] for state in states if state), default=0)


@fault
def power_lost(folder: Path) -> str:
    cell, log, chance = cells(folder)[0], folder / "logs" / "power.log", random.Random(0)
    place, whole, kept = folder / "results" / cell, folder / "whole", []
    shutil.rmtree(place)
    with disk_with_a_plug(place, folder / "disk.img") as pull:
        for aim in (2, 8, 14, 20, 26, 32, ITERATIONS, ITERATIONS):
            process = fork(folder, log, train_command(cell))
            while not reached(place, log, process, aim):
                assert not ended(process)
                time.sleep(0.002)
            time.sleep(chance.uniform(0, 0.1 if aim < ITERATIONS else 1))
            pull(process)
            kept.append(flushed(place / "work"))
            # The previous iteration's checkpoint was flushed; the newest may not have been renamed into place.
            assert kept[-1] >= aim - 2, (aim, kept)
        finish(folder)
        moved_off(place, whole)
    place.rmdir()
    whole.rename(place)
    return f"{len(kept)} times; the next start went on from iteration {', '.join(map(str, kept))}"


@fault
def out_of_memory(folder: Path) -> str:
    cell, seen = cells(folder)[0], {}
    place = folder / "results" / cell
    # In addition to the memory of the imports: too little to start, to train, to evaluate, and in the end enough.
    for mebibytes in range(20, 300, 20):
        shutil.rmtree(place)
        _, status = os.waitpid(fork(folder, folder / "logs" / "memory.log", train_command(cell), mebibytes), 0)
        if not status:
            break
        seen[mebibytes] = failure_reason(Cell.parse(cell), folder / "results")
    assert not status
    assert all(seen.values()), seen
    (named, *_) = [reason for reason in seen.values() if reason.startswith("out of memory")]
    finish(folder)
    return f"failed with a reason at {', '.join(map(str, seen))} MiB; one: {named[:100]}"


@fault
def loss_not_finite(folder: Path) -> str:
    losses = folder / "configs/losses.yaml"
    kept = losses.read_text()
    losses.write_text(kept + "broken: {title: Broken, loss: cross_entropy, class_weights: [1.0e+38, 1, 1, 1, 1]}\n")
    grid = (folder / "configs/grids/faults.yaml").read_text()
    (folder / "configs/grids/broken.yaml").write_text(re.sub(r"losses: \[", "losses: [broken, ", grid))
    run(snakemake(grid="broken"), folder)
    table = (folder / "reports/broken/table.md").read_text()
    losses.write_text(kept)
    finish(folder)
    (reason,) = {line for line in table.splitlines() if re.search("the loss is (inf|nan) at iteration", line)}
    return reason.lstrip("0123456789. ")


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
    output = start_grid(folder)
    assert "differs from the records" in output, output
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
    # A second one in the same working directory, a third in another one that shares the results.
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
    place = folder / "readonly"
    with read_only_disk(place):
        done = run([*snakemake(), f"results={place}"], folder)
    place.rmdir()
    output = done.stdout + done.stderr
    assert done.returncode == 1
    assert "cannot write to" in output, output
    return next(line for line in output.splitlines() if "cannot write to" in line).replace(str(folder), ".")


@fault
def tracking_server_at_fault(folder: Path) -> str:
    results = folder / "results"
    with serving() as server:
        online = {"WANDB_MODE": "online", "WANDB_BASE_URL": server.url, "WANDB_API_KEY": "0" * 40}
        sync = [str(BIN / "segloss"), "sync"]
        for kind, cell in zip(("hang", "fail", "drop"), cells(folder), strict=False):
            shutil.rmtree(results / cell)
            server.fault = kind
            finish(folder, **online)
        server.fault = None
        while any(is_locked(file) for file in results.rglob("sender.log")):
            time.sleep(0.2)
        first = run(sync, folder, **online)
        assert first.returncode == 0, first.stdout + first.stderr
        records = [record(folder, cell) for cell in cells(folder)]
        rows = {entry["config_hash"][:16]: [row["iteration"] for row in entry["training"]["rows"]] for entry in records}
        sent = {name: [row["iteration"] for row in history] for name, history in server.history.items()}
        assert sent == rows, sent
        requests = server.requests
        assert run(sync, folder, **online).returncode == 0
        assert (server.requests, server.received) == (requests, sum(map(len, rows.values())))
    return f"it hung, failed and dropped; later all {server.received} rows of {len(rows)} runs were sent, each once"
