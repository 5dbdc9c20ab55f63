"""The saved state of a training: the newest one and, should that be damaged, the one before."""

import logging
import os
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import torch

from segloss.files import write_atomic

logger = logging.getLogger(__name__)


def previous(path: Path) -> Path:
    """Where the state before the one in ``path`` is kept."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def write_state(path: Path, state: dict[str, Any]) -> None:
    """Write a state, whole or not at all.

    Raises:
        OSError: if the disk does not take it.
    """

    def write(file: BinaryIO) -> None:
        try:
            torch.save(state, file)
        except RuntimeError as error:
            # Closing its archive, torch covers the error of a full disk with one of its own.
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise

    write_atomic(path, write)


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write a state; the one it replaces stays beside it until the next.

    Whenever this is cut off, a whole state lies under one of the two names.

    Raises:
        OSError: if the disk does not take it; the older states are as they were.
    """
    newest = path.with_name(f"{path.stem}.new{path.suffix}")
    write_state(newest, state)
    if path.exists():
        os.replace(path, previous(path))
    os.replace(newest, path)


def read_state(path: Path) -> dict[str, Any] | None:
    """The state in a file, or None where there is none that is whole.

    Tensors lie uncompressed in a zip archive whose checksums torch writes but does not compare: without comparing them
    a flipped bit would become a wrong weight.
    """
    if not path.exists():
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is None:
            state = torch.load(path, map_location="cpu", weights_only=True)
            return state if isinstance(state, dict) else None
        logger.warning("%s is damaged (%s) and is not used", path, damaged)
    except Exception as error:  # zipfile and torch raise anything when they read a damaged file
        logger.warning("%s is damaged (%s: %s) and is not used", path, type(error).__name__, error)
    return None


def load_state(path: Path, config_hash: str) -> dict[str, Any] | None:
    """The newest whole state of a training with these settings, or None: then it starts from the beginning."""
    for file in (path, previous(path)):
        state = read_state(file)
        if state is not None and state.get("config_hash") == config_hash:
            return state
    return None


def remove_states(path: Path) -> None:
    """Remove the state and the one before."""
    for file in (path, previous(path)):
        file.unlink(missing_ok=True)
