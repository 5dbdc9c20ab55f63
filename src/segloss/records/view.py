"""The view of a running grid: a line for each cell that ends and, on a terminal, the cells that are training.

Imports no torch.
"""

import json
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from segloss.grid import Cell
from segloss.records import progress
from segloss.records.record import headline
from segloss.records.states import failure_reason
from segloss.records.status import format_duration

SHOWN = 20  # training cells with a line of their own


class GridView:
    """Human-readable lines; on a terminal the last ones are updated in place.

    Attributes:
        total: Cells that this run trains.
    """

    def __init__(self, stderr: bool = True, plain: bool = False) -> None:
        """An empty view.

        Args:
            stderr: Write to standard error, else to standard output.
            plain: Use no colours.
        """
        self.console = Console(stderr=stderr, no_color=plain, highlight=False, soft_wrap=True)
        self.total = self.done = self.failed = 0
        self.running: dict[str, Path] = {}
        self.live: Live | None = None

    def start(self, cell: str, folder: Path) -> None:
        """A cell was submitted to the executor."""
        self.running[cell] = folder
        if self.console.is_terminal and self.live is None:
            self.live = Live(get_renderable=self.picture, console=self.console, refresh_per_second=1, transient=True)
            self.live.start()

    def finish(self, cell: str, folder: Path) -> None:
        """A cell is done."""
        self.done += 1
        self.end(cell, "done", "green", measured(folder))

    def fail(self, cell: str, folder: Path) -> None:
        """A cell failed."""
        self.failed += 1
        reason = failure_reason(Cell.parse(cell), folder.parents[cell.count("/")]) or "no reason was recorded"
        self.end(cell, "failed", "red", f"{reason} (log: {folder / 'train.log'})")

    def end(self, cell: str, state: str, colour: str, words: str) -> None:
        """Print the line of a cell that has ended."""
        self.running.pop(cell, None)
        place = f"{self.done + self.failed:{len(str(self.total))}}/{self.total}"
        self.show(Text.assemble(f"{place}  ", (f"{state:6}", colour), f"  {cell}  {words}"))
        if not self.running:
            self.close()

    def show(self, line: str | Text) -> None:
        """Print a line that stays."""
        self.console.print(line, markup=False)

    def close(self) -> None:
        """Remove the lines that change."""
        if self.live is not None:
            self.live.stop()
            self.live = None

    def picture(self) -> Group:
        """The overall progress, and the cells that are training."""
        ended = self.done + self.failed
        failed = f", {self.failed} failed" if self.failed else ""
        head = Table.grid(padding=(0, 1))
        head.add_row(ProgressBar(max(1, self.total), ended, width=40), f"{ended}/{self.total} cells{failed}")
        rows = Table.grid(padding=(0, 2))
        for cell, folder in list(self.running.items())[:SHOWN]:
            rows.add_row(cell, *running_columns(folder))
        more = [Text(f"and {len(self.running) - SHOWN} more")] if len(self.running) > SHOWN else []
        return Group(head, rows, *more)


def running_columns(folder: Path) -> tuple[str, str, str]:
    """State or iteration of a running cell, its speed, and the time left."""
    numbers = progress.read(folder)
    if numbers is None:
        return "queued", "", ""
    if numbers["state"] != "training" or "iteration" not in numbers:
        return numbers["state"], "", ""
    speed, left = numbers.get("images_per_second"), numbers.get("seconds_left")
    return (
        f"{numbers['iteration']}/{numbers.get('iterations', '?')}",
        "" if speed is None else f"{speed:.1f} images/s",
        "" if left is None else f"{format_duration(left)} left",
    )


def measured(folder: Path) -> str:
    """The metrics of the tables and the run time in a record."""
    try:
        record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
        return f"{headline(record)}  {format_duration(record['seconds'])}"
    except (OSError, ValueError, KeyError, TypeError):  # the results table shows what is wrong with it
        return ""
