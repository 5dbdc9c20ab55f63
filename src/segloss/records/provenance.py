"""The origin of a grid's numbers: commits, versions, machines, protocols and run time. Imports no torch."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from segloss.grid import Grid
from segloss.records.states import cell_status
from segloss.records.verification import read


def weights_sentence(record: Mapping[str, Any]) -> str:
    """Which weights of a training were evaluated, in words."""
    iterations = record["training"]["iterations"]
    if record["training"]["checkpoint"]["rule"] == "last":
        return f"last (of {iterations} iterations)"
    return f"best validation mIoU (every {record['config']['validation_interval']} of {iterations} iterations)"


def protocol_sentence(record: Mapping[str, Any]) -> str:
    """The inference protocol of a record and its hard truth, in words."""
    protocol = record["evaluation"]["protocol"]
    parts = ["whole images"]
    if protocol["mode"] == "slide":
        size, stride = ("x".join(map(str, protocol[key])) for key in ("crop_size", "stride"))
        parts = [f"windows of {size} every {stride} pixels"]
    if protocol["scales"] != [1.0]:
        parts.append(f"scales {', '.join(map(str, protocol['scales']))}")
    if protocol["flip"]:
        parts.append("also flipped")
    if len(parts) > 1 or protocol["mode"] == "slide":
        parts.append("probabilities averaged")
    if record["evaluation"]["reference"] == "majority":
        parts.append("against the majority of raters")
    return f"{record['data']['split']} split, {', '.join(parts)}"


def teacher_sentence(teacher: dict[str, Any]) -> str:
    """The cell whose model is the teacher, and the rule by which it was chosen."""
    scores = teacher["candidates"]
    return f"{teacher['cell']}, with a validation mIoU of {scores[teacher['cell']]:.2f} the best of {len(scores)} seeds"


def provenance(grid: Grid, results: Path) -> dict[str, Any]:
    """Commits, versions and machines of the finished cells of a grid, and their summed run time."""
    done = (experiment.cell for experiment in grid.experiments if cell_status(experiment, results).state == "done")
    return records_provenance([read(results / str(cell) / "record.json") for cell in done])


def records_provenance(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Commits, versions and machines of verified records, and their summed run time."""
    return {
        "cells": len(records),
        "commits": sorted(
            {f"{record['code']['commit']}{' (dirty)' if record['code']['dirty'] else ''}" for record in records}
        ),
        "versions": {
            package: sorted({record["versions"][package] for record in records if package in record["versions"]})
            for package in ("python", "torch", "mmsegmentation", "mmengine")
        },
        "devices": sorted(
            {f"{record['machine']['device']}, {record['machine']['threads']} threads" for record in records}
        ),
        "weights": sorted({weights_sentence(record) for record in records}),
        "teachers": sorted({teacher_sentence(record["teacher"]) for record in records if "teacher" in record}),
        "protocols": {record["axes"]["dataset"]: protocol_sentence(record) for record in records},
        "hours": sum(record["seconds"] for record in records) / 3600,
        "peak_memory_bytes": max((record["peak_memory_bytes"] for record in records), default=0),
    }
