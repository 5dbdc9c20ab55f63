"""A lock file that distinguishes a killed run of a cell from one that never started.

A killed process, in particular one that ran out of memory, cannot write anything. So a run writes the time into
``work/run_lock`` when it starts and empties the file when it ends, even with an error; meanwhile it holds a lock on the
file, which the kernel releases. A time without the lock therefore means that the run was killed.
"""

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from segloss.files import remove_temporaries
from segloss.records import progress


def lock_file(folder: Path) -> Path:
    """The lock file of a cell."""
    return folder / "work" / "run_lock"


@contextmanager
def run_lock(folder: Path, notify: Callable[[str], None] = lambda text: print(text, flush=True)) -> Iterator[bool]:
    """Mark a cell as running within the ``with`` block; wait while another process runs the same cell.

    Temporary files of killed runs are removed.

    Args:
        folder: The cell's folder.
        notify: Receives a sentence if the process has to wait.

    Yields:
        True if another process was running the cell, and may have finished it.
    """
    path = lock_file(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        waited = False
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waited = True
            holder = progress.read(folder) or {}
            notify(f"waiting: process {holder.get('pid', '?')} on {holder.get('host', '?')} is running this cell")
            fcntl.flock(file, fcntl.LOCK_EX)
        for directory in (folder, path.parent):
            remove_temporaries(directory)
        file.truncate(0)
        file.write(datetime.now(UTC).isoformat(timespec="seconds"))
        file.flush()
        try:
            yield waited
        finally:
            file.truncate(0)


def crash_reason(folder: Path) -> str | None:
    """The failure reason of a run that was killed; None if the run ended, never started, or is still running."""
    try:
        with lock_file(folder).open(encoding="utf-8", errors="replace") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            started = file.read()
    except OSError:  # there is no such file, or it is locked
        return None
    if not started:
        return None
    return f"started {started} and was killed: by a signal, for lack of memory, or because the machine went down"


def is_running(folder: Path) -> bool:
    """True while a process trains the cell in that folder."""
    return is_locked(lock_file(folder))


def is_locked(path: Path) -> bool:
    """True while a process holds a lock on that file."""
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # there is no such file
        return False
    return False
