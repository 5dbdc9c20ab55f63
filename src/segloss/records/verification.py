"""Verification of records: complete, unchanged, in their own folder, and equal to their counts. Imports no torch."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import shorten
from typing import Any

from segloss.grid import Cell, ConfigError, settings_hash
from segloss.grid.errors import validate
from segloss.metrics import Counts, summarize

RECORD_VERSION = 6
# What separates a record from its checksum, its last entry.
SEAL = ',\n "sha256": "'
# Rounding depends on the order in which images are summed.
TOLERANCE = 1e-9


class RecordError(ValueError):
    """Why records cannot be used, in one sentence."""


def check_schema(record: Any, where: str) -> None:
    """Raise ConfigError unless a record conforms to the schema."""
    validate(record, Path(__file__).with_name("record.schema.json"), where)


def record_text(record: Mapping[str, Any]) -> str:
    """The text of record.json: a record in JSON, whose last entry is the SHA-256 of all text before that entry."""
    content = {key: value for key, value in record.items() if key != "sha256"}
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False).removesuffix("\n}")
    return _sealed(text)


def _sealed(text: str) -> str:
    return f'{text}{SEAL}{hashlib.sha256(text.encode()).hexdigest()}"\n}}\n'


def load(path: Path) -> dict[str, Any]:
    """Read a record that is complete and unchanged.

    Raises:
        RecordError: if it is not.
    """
    try:
        text = path.read_text(encoding="utf-8")
        record = json.loads(text, parse_int=_whole_number, parse_constant=_no_number)
        version = record["record_version"]
        # Of the text, not of the values: these would have to be written again, for each of thousands of records.
        if version == RECORD_VERSION and text != _sealed(text.rpartition(SEAL)[0]):
            raise RecordError(
                f"{path} was changed after it was written, its checksum does not match: run its cell again"
            )
    except RecordError:
        raise
    except OSError as error:
        raise RecordError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RecordError(f"{path}: not a complete record: {type(error).__name__}: {error}") from error
    if version != RECORD_VERSION:
        raise RecordError(
            f"{path} is a record of version {version}, expected {RECORD_VERSION}: "
            "run its cell again, which trains nothing if work/weights.pt exists"
        )
    return record


def _whole_number(text: str) -> int:
    if len(text) > 19:
        raise ValueError(f"{text[:19]}... has more than 64 bits")
    return int(text)


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is not a JSON number")


def read(path: Path) -> dict[str, Any]:
    """Read a record that is complete, unchanged, consistent, and in its own cell's folder.

    Raises:
        RecordError: if it is not.
    """
    record = load(path)
    check_record(record, path)
    return record


def check_record(record: Mapping[str, Any], path: Path) -> None:
    """Raise RecordError unless a record that ``load`` returned is consistent, and in its own cell's folder."""
    try:
        check_schema(record, str(path))
    except ConfigError as error:
        raise RecordError(f"{path}: not a complete record: {error}") from error
    cell = record["cell"]
    names = [str(Cell(**record["axes"])), record["settings"].get("cell")]
    if names != [cell, cell] or settings_hash(record["settings"]) != record["config_hash"]:
        raise RecordError(f"{path} contradicts itself: its axes or its settings are not those of {cell}")
    if not f"/{path.parent.as_posix()}".endswith(f"/{cell}"):
        raise RecordError(f"{path} is the record of another cell, {cell}: delete it, it was copied there")


def check_counts(record: Mapping[str, Any], folder: Path) -> Counts:
    """Read the counts next to a record; reject counts it was not made from, or that do not give each of its metrics.

    Raises:
        RecordError: names the file and what differs.
    """
    path = folder / "counts.npz"
    again = "delete both and run the cell again"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RecordError(f"{path} of a finished cell cannot be read ({error.strerror}): {again}") from error
    if hashlib.sha256(content).hexdigest() != record["evaluation"]["counts_sha256"]:
        raise RecordError(f"{path} is not the file that the record next to it was made from: {again}")
    try:
        counts = Counts.from_bytes(content)
        metrics = summarize(counts)
    except ValueError as error:
        raise RecordError(f"{path}: {error}") from error
    except Exception as error:  # numpy raises its own errors where arrays do not match
        raise RecordError(
            f"{path} contains no counts: {type(error).__name__}: {shorten(str(error), 200)}: {again}"
        ) from error
    recorded = record["metrics"]
    if different := sorted(metrics.keys() ^ recorded.keys()):
        names = ", ".join(different)
        raise RecordError(f"{path} and the record next to it have different metrics ({names}): {again}")
    for name, value in metrics.items():
        if not math.isclose(recorded[name], value, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
            raise RecordError(f"the {name} of {path} is {value}, in the record next to it {recorded[name]}: {again}")
    return counts


def check_comparable(records: Sequence[Mapping[str, Any]]) -> None:
    """Reject records of the same data set whose data, evaluation or metrics differ, and two records of the same cell.

    Training data may differ between label scenarios: some leave images without labels.

    Raises:
        RecordError: names the data set, what differs, and two records that differ.
    """
    first: dict[tuple[str | None, ...], tuple[Any, str]] = {}
    cells: set[str] = set()
    for record in records:
        if record["cell"] in cells:
            raise RecordError(f"there are two records of {record['cell']}: a table takes one")
        cells.add(record["cell"])
        labelled = json.dumps(record["settings"]["labels"].get("labelled"))
        evaluation = record["evaluation"]
        compared = {
            "training data": (record["data"]["fingerprints"]["training"], labelled),
            "evaluation data": (record["data"]["fingerprints"]["evaluation"], None),
            "evaluation split": (record["data"]["split"], None),
            "hard truth": (evaluation["reference"], None),
            "inference protocol": (json.dumps(evaluation["protocol"], sort_keys=True), None),
            "tolerances of boundary metrics": (json.dumps(evaluation["boundaries"], sort_keys=True), None),
            "metrics version": (evaluation["metrics_version"], None),
        }
        for what, (value, among) in compared.items():
            reference, other = first.setdefault((record["axes"]["dataset"], what, among), (value, record["cell"]))
            if value != reference:
                raise RecordError(
                    f"the {what} of {record['cell']} ({value}) differs from that of {other} ({reference}): "
                    "a table never mixes them; run the older one again"
                )
