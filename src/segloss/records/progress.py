"""What a cell's process says of itself while it trains: where it runs and how far it is. Imports no torch."""

import json
import os
import socket
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from segloss.files import PARTIAL


def file_of(folder: Path) -> Path:
    """Where the cell says how far it is."""
    return folder / "work" / "progress.json"


def tell(folder: Path, state: str, **numbers: float | None) -> None:
    """Write down what the cell's process is doing; never an obstacle, since nothing depends on it.

    Args:
        folder: The cell's folder.
        state: ``waiting``, ``starting``, ``training`` or ``evaluating``.
        numbers: What is known: iteration, iterations, images_per_second, seconds_left.
    """
    said = {"state": state, "host": socket.gethostname(), "pid": os.getpid()}
    said |= {"time": datetime.now(UTC).isoformat(timespec="seconds"), **numbers}
    part = file_of(folder).with_name(f".progress.{os.getpid()}{PARTIAL}")
    try:
        # Not flushed to the disk: after a power loss there is no progress to show.
        part.write_text(json.dumps(said), encoding="utf-8")
        part.replace(file_of(folder))
    except OSError:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def read(folder: Path) -> dict[str, Any] | None:
    """What the cell said last, None if nothing."""
    try:
        return json.loads(file_of(folder).read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        return None
