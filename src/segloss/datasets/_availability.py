"""Which data sets are ready, and how to get the others."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from segloss.datasets._dataset import Dataset
from segloss.datasets._read import DatasetError


@dataclass(frozen=True)
class Availability:
    """The state of a data set on this machine.

    Attributes:
        name: Its name.
        state: ``ready``, ``incomplete`` or ``missing``. Ready: the lists can be read and the first and last files of
            each exist; ``prepare`` verifies all of them.
        place: Its folder.
        note: What is wrong with an incomplete data set, the instructions for a missing one.
        terms: The terms of use.
        size: The download size, "" if unknown.
    """

    name: str
    state: str
    place: Path
    note: str
    terms: str
    size: str


def availability(dataset: Dataset, folder: Path) -> Availability:
    """The state of a data set whose folder is, or would be, ``folder``."""
    if not folder.is_dir():
        state, note = "missing", dataset.instructions
    else:
        problem = _problem(dataset, folder)
        state, note = ("incomplete", problem) if problem else ("ready", "")
    size = "" if dataset.megabytes is None else _size(dataset.megabytes)
    return Availability(dataset.name, state, folder, note, dataset.terms, size)


def _problem(dataset: Dataset, folder: Path) -> str | None:
    try:
        for split in dataset.splits:
            entries = dataset.read_list(folder, split)
            for entry in (entries[:1] + entries[-1:]) or [()]:
                missing = next((path for path in entry if path and not (folder / path).is_file()), None)
                if missing or not entry:
                    return f"{folder / missing} is missing" if missing else f"{split} lists no image"
    except DatasetError as error:
        return str(error)
    return None


def _size(megabytes: int) -> str:
    return f"{megabytes / 1000:.0f} GB" if megabytes >= 1000 else f"{megabytes} MB"


def format_availability(entries: Iterable[Availability]) -> str:
    """A table of names, states, sizes and terms, and below it the notes."""
    entries = list(entries)
    rows = [("data set", "state", "download", "terms")]
    rows += [(entry.name, entry.state, entry.size or "-", entry.terms or "-") for entry in entries]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]) for row in rows
    ]
    notes: dict[str, list[str]] = {}
    for entry in entries:
        if entry.note:
            notes.setdefault(entry.note, []).append(entry.name)
    return "\n".join([*lines, "", *(f"{', '.join(names)}: {note}" for note, names in notes.items())]).rstrip()
