"""The progress file of a running cell: its host, its process, and the iteration it has reached. Imports no torch."""

import json
import os
import socket
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from segloss.files import TEMPORARY

NUMBERS = ("iteration", "iterations", "images_per_second", "seconds_left")


def progress_file(folder: Path) -> Path:
    """The progress file of a cell."""
    return folder / "work" / "progress.json"


def write(folder: Path, state: str, **numbers: float | None) -> None:
    """Write the current state. Best effort: I/O errors are ignored, since nothing depends on it.

    Args:
        folder: The cell's folder.
        state: ``waiting``, ``starting``, ``training`` or ``evaluating``.
        numbers: Those of ``NUMBERS`` that are known.
    """
    content = {"state": state, "host": socket.gethostname(), "pid": os.getpid()}
    content |= {"time": datetime.now(UTC).isoformat(timespec="seconds"), **numbers}
    temporary = progress_file(folder).with_name(f".progress.{os.getpid()}{TEMPORARY}")
    try:
        # Not flushed to the disk: after a power loss there is no progress to show.
        temporary.write_text(json.dumps(content), encoding="utf-8")
        temporary.replace(progress_file(folder))
    except OSError:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def read(folder: Path) -> dict[str, Any] | None:
    """The last progress written for a cell; None if there is none or it is incomplete."""
    try:
        content = json.loads(progress_file(folder).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    whole = isinstance(content, dict) and all(isinstance(content.get(key), str) for key in ("state", "host"))
    numbers = whole and all(isinstance(content[key], int | float) for key in NUMBERS if key in content)
    return content if numbers and isinstance(content.get("pid"), int) and content.get("iterations", 1) > 0 else None
