"""What a cell that runs leaves behind until it has ended, so that one that was killed is not taken for one never begun.

A killed process, one that ran out of memory above all, can write nothing. So a cell writes the time into
``work/attempt`` when it begins and empties the file however it ends; while it runs it holds a lock on the file, which
the kernel gives back. A time without the lock says: this one was killed.
"""

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from segloss.files import remove_leftovers
from segloss.records import progress


def attempt_file(folder: Path) -> Path:
    """The file of a cell's attempt."""
    return folder / "work" / "attempt"


@contextmanager
def attempt(folder: Path, say: Callable[[str], None] = lambda text: print(text, flush=True)) -> Iterator[bool]:
    """Mark the cell in that folder as begun until the block ends; waits while another process trains the same cell.

    What killed attempts left half written is taken away.

    Args:
        folder: The cell's folder.
        say: Takes a sentence when there is something to wait for.

    Yields:
        Whether another process had the cell: it may have finished it.
    """
    path = attempt_file(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        waited = False
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waited = True
            holder = progress.read(folder) or {}
            say(f"waiting: process {holder.get('pid', '?')} on {holder.get('host', '?')} has this cell")
            fcntl.flock(file, fcntl.LOCK_EX)
        for place in (folder, path.parent):
            remove_leftovers(place)
        file.truncate(0)
        file.write(datetime.now(UTC).isoformat(timespec="seconds"))
        file.flush()
        try:
            yield waited
        finally:
            file.truncate(0)


def killed(folder: Path) -> str | None:
    """Why a cell that began has not ended, or None if it has ended, never begun, or is running."""
    try:
        with attempt_file(folder).open(encoding="utf-8", errors="replace") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            began = file.read()
    except OSError:  # there is no such file, or it is locked
        return None
    if not began:
        return None
    return f"began {began} and was killed: from outside, by a full memory, or with the machine"


def running(folder: Path) -> bool:
    """Whether a process trains the cell in that folder now."""
    return locked(attempt_file(folder))


def locked(path: Path) -> bool:
    """Whether a process holds a lock on that file now."""
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # there is no such file
        return False
    return False
