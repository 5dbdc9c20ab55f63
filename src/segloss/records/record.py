"""Records: what each finished cell says of itself, and how they make one results table. Imports no torch."""

import hashlib
import importlib.metadata
import json
import os
import platform
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from segloss import __version__, grid
from segloss.files import write_json
from segloss.grid import Cell, Grid, configs
from segloss.records.run_lock import killed
from segloss.records.verification import RECORD_VERSION, check_comparable, check_counts, checksum, read

HEAD = 4096  # bytes of a record that hold its identity
PACKAGES = ("torch", "mmsegmentation", "mmengine", "mmcv-lite", "mmcv", "numpy", "opencv-python", "snakemake", "wandb")
# What decides a result; a changed report or note does not make the code dirty.
SOURCES = ("src", "configs", "workflows", "Snakefile", "requirements.txt")


def git(*arguments: str) -> str | None:
    """The output of a git command, None where this is no git checkout."""
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def versions() -> dict[str, str]:
    """The versions of Python, of segloss and of the packages a result depends on, as far as they are installed."""
    found = {"python": platform.python_version(), "segloss": __version__}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, Any]:
    """The machine without its name."""
    return {"platform": platform.platform(), "processor": platform.machine(), "cores": os.cpu_count()}


def about(cell: Cell, command: Sequence[str]) -> dict[str, Any]:
    """The part of a record that is known without training: identity, code, versions."""
    status = git("status", "--porcelain", "--", *SOURCES)
    return {
        "record_version": RECORD_VERSION,
        "cell": str(cell),
        "axes": asdict(cell),
        "config_hash": grid.config_hash(cell),
        "settings": grid.settings(cell),
        "code": {"commit": git("rev-parse", "HEAD"), "dirty": bool(status) if status is not None else None},
        "versions": versions(),
        "command": shlex.join(command),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def digest_of(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write(folder: Path, record: dict[str, Any]) -> None:
    """Seal a record with its checksum, check it against its schema and write it as record.json."""
    record = {**record, "sha256": checksum(record)}
    configs.validate(record, "record", f"record of {record['cell']}")
    write_json(folder / "record.json", record)


def is_done(cell: Cell, folder: Path) -> bool:
    """Whether a cell has a record of the settings that now stand in configs/, told from the head of the file."""
    try:
        with (folder / "record.json").open("rb") as file:
            head = file.read(HEAD)
    except FileNotFoundError:
        return False
    return f'"config_hash": "{grid.config_hash(cell)}"'.encode() in head


def why_failed(cell: Cell, results: Path) -> str | None:
    """The reason a cell left when it failed, or that it was killed; None if neither."""
    folder = results / str(cell)
    if reason := killed(folder):
        return reason
    try:
        return json.loads((folder / "failure.json").read_text(encoding="utf-8"))["reason"]
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        return f"failed, and its failure.json is damaged ({error})"


def why_blocked(cell: Cell, results: Path) -> str | None:
    """Why a cell cannot be trained before another is mended; None if it can."""
    for teacher in grid.teachers(cell):
        if not (results / str(teacher) / "record.json").exists() and (reason := why_failed(teacher, results)):
            return f"its teacher {teacher} failed: {reason}"
    return None


def measured(record: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Names and values of all metrics of a record; those after temperature scaling end in ``_scaled``."""
    found = list(record["metrics"].items())
    if scaling := record["temperature_scaling"]:
        found += [(f"{name}_scaled", value) for name, value in scaling["metrics"].items()]
        found.append(("temperature", scaling["temperature"]))
    return found


def collect(asked: Grid, results: Path) -> pd.DataFrame:
    """The results table of a grid: a row for each cell and metric, a row with the reason for each cell without.

    Columns: dataset, model, schedule, labels, loss, seed, status (done, skipped, ...), metric, value, reason.

    Raises:
        RecordError: if records are broken or cannot be compared.
    """
    rows, records = [], []
    for cell in asked.cells:
        axes, folder = asdict(cell), results / str(cell)
        if (folder / "record.json").exists():
            record = read(folder / "record.json")
            if record["config_hash"] != grid.config_hash(cell):
                rows.append(
                    {**axes, "status": "missing", "reason": "trained with other settings than now stand in configs/"}
                )
                continue
            check_counts(record, folder)
            records.append(record)
            rows += [{**axes, "status": "done", "metric": name, "value": value} for name, value in measured(record)]
        elif reason := why_failed(cell, results):
            rows.append({**axes, "status": "failed", "reason": reason})
        elif blocked := why_blocked(cell, results):
            rows.append({**axes, "status": "blocked", "reason": blocked})
        else:
            rows.append({**axes, "status": "missing", "reason": "not trained yet"})
    rows += [{**asdict(cell), "status": "skipped", "reason": reason} for cell, reason in asked.skipped.items()]
    check_comparable(records)
    columns = [*Cell.__dataclass_fields__, "status", "metric", "value", "reason"]
    return pd.DataFrame(rows, columns=columns)


def weights_sentence(record: Mapping[str, Any]) -> str:
    """Which weights of a training were evaluated."""
    iterations = record["training"]["iterations"]
    if record["training"]["checkpoint"]["rule"] == "last":
        return f"last (of {iterations} iterations)"
    return f"best validation mIoU (every {record['config']['validation_interval']} of {iterations} iterations)"


def protocol_sentence(record: Mapping[str, Any]) -> str:
    """How the predictions of a record were made and what they were compared with."""
    protocol = record["evaluation"]["protocol"]
    parts = ["whole images"]
    if protocol["mode"] == "slide":
        size, stride = ("x".join(map(str, protocol[key])) for key in ("crop_size", "stride"))
        parts = [f"windows of {size} every {stride} pixels"]
    if protocol["scales"] != [1.0]:
        parts.append(f"scales {', '.join(map(str, protocol['scales']))}")
    if protocol["flip"]:
        parts.append("mirrored too")
    if len(parts) > 1 or protocol["mode"] == "slide":
        parts.append("probabilities averaged")
    if record["evaluation"]["reference"] == "majority":
        parts.append("against the majority of raters")
    return f"{record['data']['split']} split, {', '.join(parts)}"


def teacher_sentence(teacher: dict[str, Any]) -> str:
    """Which trained cell taught, and why that one."""
    scores = teacher["candidates"]
    return f"{teacher['cell']}, with a validation mIoU of {scores[teacher['cell']]:.2f} the best of {len(scores)} seeds"


def provenance(asked: Grid, results: Path) -> dict[str, Any]:
    """What the finished cells of a grid share or differ in: commits, versions, machines, and their summed seconds."""
    found = [read(path) for cell in asked.cells if (path := results / str(cell) / "record.json").exists()]
    return {
        "cells": len(found),
        "commits": sorted(
            {f"{record['code']['commit']}{' (dirty)' if record['code']['dirty'] else ''}" for record in found}
        ),
        "versions": {
            package: sorted({record["versions"][package] for record in found if package in record["versions"]})
            for package in ("python", "torch", "mmsegmentation", "mmengine")
        },
        "devices": sorted(
            {f"{record['machine']['device']}, {record['machine']['threads']} threads" for record in found}
        ),
        "weights": sorted({weights_sentence(record) for record in found}),
        "teachers": sorted({teacher_sentence(record["teacher"]) for record in found if "teacher" in record}),
        "protocols": {record["axes"]["dataset"]: protocol_sentence(record) for record in found},
        "hours": sum(record["seconds"] for record in found) / 3600,
        "peak_memory_bytes": max((record["peak_memory_bytes"] for record in found), default=0),
    }
