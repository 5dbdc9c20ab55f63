"""record.json: the complete description of a finished cell. Imports no torch."""

import importlib.metadata
import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from segloss import __version__
from segloss.files import write_json, write_text
from segloss.grid import Cell, Experiment
from segloss.records.verification import RECORD_VERSION, check_schema, record_text

PACKAGES = ("torch", "mmsegmentation", "mmengine", "mmcv-lite", "mmcv", "numpy", "opencv-python", "snakemake", "wandb")
# Files that determine a result; a changed report or note does not make the code dirty.
SOURCES = ("src", "configs", "workflows", "Snakefile", "requirements.txt")


def git(*arguments: str) -> str | None:
    """The output of a git command, None outside a git checkout."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    except OSError:  # no git on this machine
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def versions() -> dict[str, str]:
    """The versions of Python, of segloss and of those packages a result depends on that are installed."""
    installed = {"python": platform.python_version(), "segloss": __version__}
    for package in PACKAGES:
        try:
            installed[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return installed


def machine() -> dict[str, Any]:
    """The machine without its name."""
    return {"platform": platform.platform(), "processor": processor(), "cores": os.cpu_count()}


def processor() -> str:
    """The kind of CPU, such as "x86_64, Intel(R) Xeon(R) Processor, cpu family 6, model 85, stepping 7".

    Libraries choose their kernels by it, so results are bit-identical only on the same kind.
    """
    try:
        first = Path("/proc/cpuinfo").read_text(encoding="utf-8").partition("\n\n")[0]
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    known = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in first.splitlines())}
    numbers = [f"{name} {known[name]}" for name in ("cpu family", "model", "stepping") if name in known]
    return ", ".join([platform.machine(), *([known["model name"]] if "model name" in known else []), *numbers])


def command() -> str:
    """The command line of this process, whether it runs as ``segloss`` or as ``python -m segloss``."""
    program = Path(sys.argv[0]).name
    return shlex.join(["segloss" if program == "__main__.py" else program, *sys.argv[1:]])


def identity_entry(experiment: Experiment, data: dict[str, Any]) -> dict[str, Any]:
    """The part of a record that is known without training."""
    status = git("status", "--porcelain", "--", *SOURCES)
    return {
        "record_version": RECORD_VERSION,
        "cell": str(experiment.cell),
        "axes": asdict(experiment.cell),
        "config_hash": experiment.config_hash,
        "data": data,
        "settings": experiment.settings,
        "code": {"commit": git("rev-parse", "HEAD"), "dirty": bool(status) if status is not None else None},
        "versions": versions(),
        "command": command(),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def write(folder: Path, record: dict[str, Any]) -> None:
    """Check a record against its schema and write it, with its checksum, as record.json."""
    text = record_text(record)
    check_schema(json.loads(text), f"record of {record['cell']}")
    write_text(folder / "record.json", text)


def headline(record: Mapping[str, Any]) -> str:
    """The metrics of the paper's tables, for one line of text."""
    return "  ".join(f"{name} {record['metrics'][name]:.2f}" for name in ("mIoU", "ECE"))


def write_failure(folder: Path, cell: Cell, reason: str, traceback: str = "") -> None:
    """Write the reason of a failed cell, in one line, as failure.json; the results table shows it."""
    with suppress(OSError):  # on a full disk only the log remains
        write_json(folder / "failure.json", {"cell": str(cell), "reason": reason, "traceback": traceback})
