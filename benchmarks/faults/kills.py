"""SIGKILL at random instants to trainers, to whole Snakemake runs, and to the commands that make reports."""

import math
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence, Set
from functools import partial
from pathlib import Path

from benchmarks.faults.place import ITERATIONS, REPORT, cells, environment, numbers, outcome, snakemake
from segloss.records import progress

WRITTEN = ("checkpoint", "weights", "counts", "predictions", "record", "results", "table", "comparisons")


def queued_seconds() -> float:
    """Seconds that this process has spent waiting in a run queue for a processor."""
    return int(Path("/proc/self/schedstat").read_text().split()[1]) / 1e9


def fork(folder: Path, log: Path, arguments: Sequence[str], mebibytes: int | None = None, **variables: str) -> int:
    """Start ``segloss <arguments>`` in a fork of this process, which has already imported torch and MMSegmentation.

    The last line of its output is the number of seconds it ran, without those spent waiting for a processor. Its memory
    can be limited to ``mebibytes`` more than the imports have taken.

    A kill thus costs only the second that the command itself has run, not the many that the imports take.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    process = os.fork()
    if process:
        os.close(output)
        return process
    status = 70
    try:
        os.setsid()
        os.chdir(folder)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.environ.update(environment(**variables))
        sys.argv = ["segloss", *arguments]
        from segloss.cli import main

        if mebibytes is not None:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            resource.setrlimit(resource.RLIMIT_AS, 2 * (pages * resource.getpagesize() + mebibytes * 2**20,))
            resource.setrlimit(resource.RLIMIT_CPU, (60, 60))  # Python's own imports may then loop forever
        started, queued = time.monotonic(), queued_seconds()
        main()
        print("lived for", time.monotonic() - started - (queued_seconds() - queued), flush=True)
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except BaseException as error:
        os.write(2, repr(error).encode())
    finally:
        os._exit(status)


def ended(process: int) -> bool:
    """Whether a child has ended on its own; if so, it is reaped.

    Raises:
        AssertionError: if it ended with an error.
    """
    pid, status = os.waitpid(process, os.WNOHANG)
    assert not pid or status == 0, f"ended with status {os.waitstatus_to_exitcode(status)} though nobody killed it"
    return bool(pid)


def killed_after(process: int, seconds: float, begins: Callable[[], bool] = lambda: True) -> bool:
    """Kill a child's whole session ``seconds`` after ``begins`` returns True; False if the child ended before."""
    while not begins():
        if ended(process):
            return False
        time.sleep(0.005)
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        if ended(process):
            return False
        time.sleep(min(left, 0.01))
    os.killpg(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return True


def evaluates(cell_folder: Path, process: int) -> bool:
    """Whether the process has reported that it is evaluating the cell."""
    entry = progress.read(cell_folder) or {}
    return entry.get("pid") == process and entry["state"] == "evaluating"


def reached(cell_folder: Path, log: Path, process: int, iteration: int) -> bool:
    """Whether a training has reached an iteration; for the last one, whether it has reached its evaluation."""
    done = re.findall(rf"iteration (\d+)/{ITERATIONS}", log.read_text(errors="replace"))
    last = int(done[-1]) if done else 0
    return evaluates(cell_folder, process) if iteration == ITERATIONS else last >= iteration


def partial_files(folder: Path) -> set[Path]:
    """The files that kills have left half-written or not yet renamed into place."""
    return {*folder.glob("**/.*.partial"), *folder.glob("**/checkpoint.new.pt")}


def half_written(folder: Path, before: Set[Path] = frozenset()) -> str | None:
    """Which file a kill left half-written, ignoring those that earlier kills had left."""
    names = [file.name.lstrip(".") for file in partial_files(folder) - before]
    return next((f"writing {name}" for name in WRITTEN if any(half.startswith(name) for half in names)), None)


def trainer_phase(folder: Path, log: Path, process: int, before: Set[Path]) -> str:
    """What a trainer was doing when it was killed, from its log and its files."""
    if phase := half_written(folder, before):
        return phase
    if evaluates(folder, process):
        return "evaluating"
    return "training" if "INFO - iteration " in log.read_text(errors="replace") else "setting up or restoring"


def train_command(cell: str) -> list[str]:
    """The arguments that train a cell with a checkpoint after every iteration."""
    return ["train", cell, "--checkpoint-seconds", "0"]


def kill_trainers(folder: Path, expected: dict, kills: int, chance: random.Random) -> tuple[Counter, int]:
    """Kill the training of the grid's cells ``kills`` times, cell by cell; each is restarted until it ends on its own.

    A quarter of the instants is uniform over the life of the process, most of which is set-up; the others fall shortly
    after a random iteration, or within the seconds of evaluation and writing after the last one. A cell that was killed
    there is then left alone every other time, so it ends. It is compared with the undisturbed one and started over.

    Returns:
        The phases that were hit and the number of cells that ended and were identical.
    """
    phases, same, life = Counter(), 0, 8.0
    while phases.total() < kills:
        cell = cells(folder)[same % len(cells(folder))]
        log, cell_folder = folder / "logs" / f"{same}.log", folder / "results" / cell
        started, before = time.monotonic(), partial_files(cell_folder)
        process = fork(folder, log, train_command(cell))
        aim = min(ITERATIONS, chance.randint(1, ITERATIONS * 5 // 4))
        if (cell_folder / "work/weights.pt").exists() and chance.random() < 0.5:
            was_killed = killed_after(process, math.inf)
        elif chance.random() < 0.25:
            was_killed = killed_after(process, chance.uniform(0, life))
        else:
            delay = chance.uniform(0, 0.1 if aim < ITERATIONS else 2)
            was_killed = killed_after(process, delay, partial(reached, cell_folder, log, process, aim))
        if was_killed:
            phases[trainer_phase(cell_folder, log, process, before)] += 1
            continue
        life = time.monotonic() - started + 1
        assert_same_cell(folder, cell, expected)
        same += 1
        shutil.rmtree(cell_folder)
    return phases, same


def assert_same_cell(folder: Path, cell: str, expected: dict) -> None:
    """Assert that a finished cell equals the undisturbed one, with each iteration's loss once, nothing half-written."""
    for name, value in numbers(folder, cell).items():
        assert value == expected[f"{cell} {name}"], f"{cell}: {name} differs"
    assert half_written(folder / "results" / cell) is None


def kill_reports(folder: Path, expected: dict, kills: int, chance: random.Random) -> tuple[Counter, int]:
    """Kill the commands that make results.csv and the tables of a finished grid ``kills`` times."""
    phases, same, life = Counter(), 0, dict.fromkeys(("collect", "report"), 4.0)
    results = f"{REPORT}/results.csv"
    commands = {"collect": ["collect", "faults", "--output", results], "report": ["report", "faults", results]}
    while phases.total() < kills:
        for verb, command in commands.items():
            started, before = time.monotonic(), partial_files(folder / "reports")
            process = fork(folder, folder / "logs" / f"{verb}.log", command)
            if killed_after(process, chance.uniform(0, life[verb])):
                phases[half_written(folder / "reports", before) or f"making the {verb}"] += 1
                break
            life[verb] = time.monotonic() - started + 0.2
        else:
            assert outcome(folder) == expected
            same += 1
    return phases, same


def running_verb(session: int) -> str:
    """Which segloss command runs in a session."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if os.getsid(int(entry.name)) != session:
                continue
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except (OSError, ProcessLookupError):
            continue
        if len(words) > 2 and words[1].endswith("/segloss"):
            return f"running segloss {words[2]}"
    return "planning, between jobs or ending"


def kill_snakemake(folder: Path, expected: dict, kills: int, chance: random.Random) -> tuple[Counter, int]:
    """Kill whole Snakemake runs, with all they started, ``kills`` times; each is restarted until the grid is done.

    No lock is removed by hand. A finished grid is compared, then its reports and one cell are deleted and made again.
    """
    phases, same, life = Counter(), 0, 20.0
    while phases.total() < kills:
        started, before = time.monotonic(), partial_files(folder)
        with (folder / "snakemake.log").open("w") as log:
            process = subprocess.Popen(
                snakemake(), cwd=folder, env=environment(), stdout=log, stderr=log, start_new_session=True
            )
        try:
            process.wait(chance.uniform(0, life))
        except subprocess.TimeoutExpired:
            verb = running_verb(process.pid)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            phases[half_written(folder, before) or verb] += 1
            continue
        assert process.returncode == 0, (folder / "snakemake.log").read_text()[-4000:]
        life = time.monotonic() - started + 5
        assert outcome(folder) == expected
        shutil.rmtree(folder / "results" / cells(folder)[same % len(cells(folder))])
        shutil.rmtree(folder / REPORT)
        same += 1
    return phases, same
