"""The view of ``segloss status``: the state of a grid's cells, their speed, and the time left. Imports no torch."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from segloss.grid import Experiment, Grid
from segloss.records.states import STATES, CellStatus, cell_status

# States with a line per cell in the short view, and the number of lines of each.
LISTED = ("running", "waiting", "stopped", "stale", "failed", "blocked")
LINES = 20
# Records read for each data set, model and schedule to estimate the run time of such a cell.
SAMPLE = 5
BAR = 40  # characters


def kind(status: CellStatus) -> tuple[str, str, str]:
    """The axes on which a cell's run time depends."""
    return status.cell.dataset, status.cell.model, status.cell.schedule


def run_time(record: Mapping[str, Any]) -> float | None:
    """The run time of a finished cell in seconds; None if it was resumed."""
    return record["seconds"] if record["training"]["started_at_iteration"] == 0 else None


Fingerprints = Mapping[tuple[str, ...], Mapping[str, str]]


def sampled_statuses(
    experiments: Iterable[Experiment], results: Path, fingerprints: Fingerprints | None = None
) -> list[CellStatus]:
    """The status of each experiment, with the run time of some finished ones of each kind."""
    statuses = []
    sampled: Counter[tuple[str, str, str]] = Counter()
    for experiment in experiments:
        status = cell_status(experiment, results, (fingerprints or {}).get(experiment.data_key))
        seconds = None
        if status.record is not None and sampled[kind(status)] < SAMPLE:
            sampled[kind(status)] += 1
            seconds = run_time(status.record)
        # Without its record: thousands of them would fill the memory.
        statuses.append(CellStatus(status.cell, status.state, status.reason, status.progress, seconds))
    return statuses


def grid_status(grid: Grid, results: Path, fingerprints: Fingerprints | None = None) -> list[CellStatus]:
    """The status of every cell of a grid, skipped ones included."""
    skipped = [CellStatus(cell, "skipped", reason) for cell, reason in grid.skipped.items()]
    folds = [fold for experiment in grid.evaluated for fold in experiment.folds]
    return sampled_statuses([*folds, *grid.evaluated], results, fingerprints) + skipped


def fraction_done(status: CellStatus) -> float:
    """The fraction of a cell's iterations that is done, according to its progress file."""
    progress = status.progress or {}
    return progress["iteration"] / progress.get("iterations", 1) if "iteration" in progress else 0.0


def seconds_left(statuses: Iterable[CellStatus]) -> tuple[float, int]:
    """Seconds of work left, and the number of cells whose run time cannot be estimated.

    The estimate is the mean run time of finished cells of the same data set, model and schedule, else of running ones.
    """
    statuses = list(statuses)
    known: defaultdict[tuple[str, str, str], list[float]] = defaultdict(list)
    estimated: defaultdict[tuple[str, str, str], list[float]] = defaultdict(list)
    for status in statuses:
        if status.seconds is not None:
            known[kind(status)].append(status.seconds)
        elif status.state == "running" and fraction_done(status) < 1 and "seconds_left" in status.progress:
            estimated[kind(status)].append(status.progress["seconds_left"] / (1 - fraction_done(status)))
    total, unknown = 0.0, 0
    for status in statuses:
        if status.state in ("done", "failed", "blocked", "skipped"):
            continue
        run_times = known[kind(status)] or estimated[kind(status)]
        if status.state == "running" and "seconds_left" in status.progress:
            total += status.progress["seconds_left"]
        elif run_times:
            total += (1 - fraction_done(status)) * sum(run_times) / len(run_times)
        else:
            unknown += 1
    return total, unknown


def format_duration(seconds: float) -> str:
    """Seconds in the two largest units."""
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{seconds:.0f} s"
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"


def format_cell(status: CellStatus, width: int) -> str:
    """One line for a cell: its process, progress, speed and time left, or the reason for its state."""
    progress, name = status.progress or {}, f"{status.cell!s:{width}}"
    columns = [f"{progress['host']}:{progress['pid']}"] if status.state in ("running", "waiting") else []
    if status.state == "running" and progress["state"] != "training":
        columns.append(progress["state"])
    if "iteration" in progress:
        columns.append(f"{progress['iteration']}/{progress.get('iterations', '?')} ({fraction_done(status):.0%})")
    if status.state == "running" and {"seconds_left", "images_per_second"} <= progress.keys():
        left = format_duration(progress["seconds_left"])
        columns += [f"{progress['images_per_second']:.1f} images/s", f"{left} left"]
    return "  ".join([f"  {status.state:8}", name, *columns, status.reason]).rstrip()


def outlook(statuses: Sequence[CellStatus]) -> str:
    """The total speed of the running cells and the time left, in one sentence."""
    running = [status for status in statuses if status.state == "running"]
    speeds = [status.progress["images_per_second"] for status in running if "images_per_second" in status.progress]
    left, unknown = seconds_left(statuses)
    sentences = []
    if speeds:
        sentences.append(f"{sum(speeds):.1f} images/s by {len(speeds)} cells")
    if left and running:
        sentences.append(f"about {format_duration(left / len(running))} left with {len(running)} at a time")
    elif left:
        sentences.append(f"about {format_duration(left)} of work left, none of it running")
    if unknown:
        sentences.append(f"{unknown} cells of unknown run time")
    return "; ".join(sentences)


def format_grid(grid: Grid, statuses: Sequence[CellStatus], every: bool = False) -> str:
    """The view of a grid: counts, the cells that need attention, and the outlook.

    Args:
        grid: The grid.
        statuses: Those of ``grid_status``.
        every: List every cell.
    """
    counts = Counter(status.state for status in statuses)
    cells = len(statuses) - counts["skipped"]
    filled = round(BAR * counts["done"] / cells)
    summary = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
    text = [
        f"{grid.name}: {grid.title}",
        f"{'█' * filled}{'░' * (BAR - filled)} {counts['done']}/{cells}: {summary}",
    ]
    states = STATES if every else LISTED
    width = max((len(str(status.cell)) for status in statuses if status.state in states), default=0)
    for state in states:
        rows = [status for status in statuses if status.state == state]
        listed = rows if every else rows[:LINES]
        text += [format_cell(status, width) for status in listed]
        if len(listed) < len(rows):
            text.append(f"  {state:8}  and {len(rows) - len(listed)} more, which --cells lists")
    return "\n".join([*text, outlook(statuses)]).rstrip()
