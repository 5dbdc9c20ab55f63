"""What the cells of a grid are doing, how fast, and how long the rest will take. Imports no torch."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segloss import records
from segloss.grid import Cell, Grid
from segloss.records import progress
from segloss.records.run_lock import killed, running

# In the order in which they are shown. A stopped cell goes on where its process ended; a missing one has not started,
# or was trained with other settings than now stand in configs/. A blocked one waits for a teacher that failed.
STATES = ("done", "running", "waiting", "stopped", "missing", "failed", "blocked", "skipped")
# Those with a line per cell in the short form, of which that many are shown.
LISTED = ("running", "waiting", "stopped", "failed", "blocked")
LINES = 20
# Records that are read of each data set, model and schedule, to learn what such a cell takes.
SAMPLE = 5


@dataclass(frozen=True)
class Seen:
    """What is known of one cell.

    Attributes:
        cell: The cell.
        state: One of ``STATES``.
        reason: Why it was killed, failed, is blocked or was skipped.
        said: What its process said last: state, host, pid, iteration, iterations, images_per_second, seconds_left.
        seconds: What it took, of some of the cells that are done.
    """

    cell: Cell
    state: str
    reason: str = ""
    said: Mapping[str, Any] | None = None
    seconds: float | None = None

    @property
    def kind(self) -> tuple[str, str, str]:
        """What decides how long a cell takes."""
        return self.cell.dataset, self.cell.model, self.cell.schedule


def look_at(cell: Cell, results: Path) -> Seen:
    """The state of one cell, from the files in its folder."""
    folder = results / str(cell)
    if records.is_done(cell, folder):
        return Seen(cell, "done")
    said = progress.read(folder)
    if said and running(folder):
        return Seen(cell, "waiting" if said["state"] == "waiting" else "running", said=said)
    if reason := killed(folder):
        return Seen(cell, "stopped", reason, said)
    if reason := records.why_failed(cell, results):
        return Seen(cell, "failed", reason)
    if reason := records.why_blocked(cell, results):
        return Seen(cell, "blocked", reason)
    return Seen(cell, "stopped" if said else "missing", said=said)


def look(asked: Grid, results: Path) -> list[Seen]:
    """The state of every cell of a grid, those that were skipped included."""
    found = []
    sampled: Counter[tuple[str, str, str]] = Counter()
    for cell in asked.cells:
        seen = look_at(cell, results)
        if seen.state == "done" and sampled[seen.kind] < SAMPLE:
            sampled[seen.kind] += 1
            record = json.loads((results / str(cell) / "record.json").read_text(encoding="utf-8"))
            whole = record["training"]["started_at_iteration"] == 0
            seen = Seen(cell, "done", seconds=record["seconds"] if whole else None)
        found.append(seen)
    return found + [Seen(cell, "skipped", reason) for cell, reason in asked.skipped.items()]


def part_done(seen: Seen) -> float:
    """The part of a cell's iterations that is done, as far as it has said."""
    said = seen.said or {}
    return said["iteration"] / said["iterations"] if "iteration" in said else 0.0


def seconds_left(found: Iterable[Seen]) -> tuple[float, int]:
    """Seconds of work that are left, and the number of cells of which nothing is known.

    A cell takes what those of its data set, model and schedule took on average, or what a running one promises.
    """
    found = list(found)
    known: defaultdict[tuple[str, str, str], list[float]] = defaultdict(list)
    promised: defaultdict[tuple[str, str, str], list[float]] = defaultdict(list)
    for seen in found:
        if seen.seconds is not None:
            known[seen.kind].append(seen.seconds)
        elif seen.state == "running" and part_done(seen) < 1 and "seconds_left" in seen.said:
            promised[seen.kind].append(seen.said["seconds_left"] / (1 - part_done(seen)))
    total, unknown = 0.0, 0
    for seen in found:
        if seen.state in ("done", "failed", "blocked", "skipped"):
            continue
        takes = known[seen.kind] or promised[seen.kind]
        if seen.state == "running" and "seconds_left" in seen.said:
            total += seen.said["seconds_left"]
        elif takes:
            total += (1 - part_done(seen)) * sum(takes) / len(takes)
        else:
            unknown += 1
    return total, unknown


def duration(seconds: float) -> str:
    """Seconds in the two units that tell most."""
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{seconds:.0f} s"
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"


def line(seen: Seen, width: int) -> str:
    """One cell in one line: where it runs, how far, how fast, how long; or why not."""
    said, name = seen.said or {}, f"{seen.cell!s:{width}}"
    parts = [f"{said['host']}:{said['pid']}"] if seen.state in ("running", "waiting") else []
    if seen.state == "running" and said["state"] != "training":
        parts.append(said["state"])
    if "iteration" in said:
        parts.append(f"{said['iteration']}/{said['iterations']} ({part_done(seen):.0%})")
    if seen.state == "running" and "seconds_left" in said:
        parts += [f"{said['images_per_second']:.1f} images/s", f"{duration(said['seconds_left'])} left"]
    return "  ".join([f"  {seen.state:8}", name, *parts, seen.reason]).rstrip()


def outlook(found: Sequence[Seen]) -> str:
    """The speed of all cells together and the time that is left, in one sentence."""
    running = [seen for seen in found if seen.state == "running"]
    speeds = [seen.said["images_per_second"] for seen in running if "images_per_second" in seen.said]
    left, unknown = seconds_left(found)
    sentences = []
    if speeds:
        sentences.append(f"{sum(speeds):.1f} images/s by {len(speeds)} cells")
    if left and running:
        sentences.append(f"about {duration(left / len(running))} left with {len(running)} at a time")
    elif left:
        sentences.append(f"about {duration(left)} of work left, none of it running")
    if unknown:
        sentences.append(f"{unknown} cells of a kind that has not run yet")
    return "; ".join(sentences)


def show(asked: Grid, found: Sequence[Seen], every: bool = False) -> str:
    """The state of a grid to be looked at: counts, what needs attention cell by cell, and the outlook.

    Args:
        asked: The grid.
        found: What ``look`` found.
        every: A line for every cell.
    """
    counts = Counter(seen.state for seen in found)
    cells = len(asked.cells)
    filled = round(40 * counts["done"] / cells)
    said = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
    text = [f"{asked.name}: {asked.title}", f"{'█' * filled}{'░' * (40 - filled)} {counts['done']}/{cells}: {said}"]
    states = STATES if every else LISTED
    width = max((len(str(seen.cell)) for seen in found if seen.state in states), default=0)
    for state in states:
        rows = [seen for seen in found if seen.state == state]
        shown = rows if every else rows[:LINES]
        text += [line(seen, width) for seen in shown]
        if len(shown) < len(rows):
            text.append(f"  {state:8}  and {len(rows) - len(shown)} more, which --cells lists")
    return "\n".join([*text, outlook(found)]).rstrip()
