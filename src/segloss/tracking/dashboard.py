"""A grid as one W&B run: its results table, and its report as an artifact; and the description of its workspace."""

import csv
import os
import re
from pathlib import Path
from typing import Any

from segloss.files import sha256_of
from segloss.grid import Grid
from segloss.tracking.sending import connect, forget_foreign_runs

AXES = ("dataset", "model", "schedule", "labels", "loss", "seed")
WORKSPACE = """In W&B, in the project {project}, open a workspace and save this view:
  group by      dataset, labels, loss: keys of the config; the seeds are then one line with its spread
  filter        config.dataset is one of {datasets}; job_type is train
  line plots    train/loss, val/mIoU, train/lr, train/images_per_second, train/memory_gb; the x axis is iteration
  scatter plot  summary mIoU over summary ECE, coloured by loss
  bar chart     summary mIoU, grouped by loss
  of one run    evaluation/per_class, evaluation/confusion, evaluation/reliability, evaluation/predictions
  of the grid   the run "{name}" of job type report: results (a table), and the artifact report-{artifact}"""


def wide_rows(table: Path) -> tuple[list[str], list[list[Any]]]:
    """The columns and rows of results.csv in wide format: a row for each cell and a column for each metric.

    Args:
        table: results.csv, which is in long format: a row for each cell and metric.
    """
    cells: dict[tuple[str, ...], dict[str, Any]] = {}
    metrics: dict[str, None] = {}
    with table.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            cell = cells.setdefault(
                tuple(row[axis] for axis in AXES), {"status": row["status"], "reason": row["reason"]}
            )
            if row["metric"]:
                metrics[row["metric"]] = None
                cell[row["metric"]] = float(row["value"])
    columns = ["status", *metrics, "reason"]
    rows = [[*axes[:-1], int(axes[-1]), *(cell.get(column) for column in columns)] for axes, cell in cells.items()]
    return [*AXES, *columns], rows


def artifact_name(grid: Grid) -> str:
    """The grid's name with only the characters that W&B allows in names of artifacts."""
    return re.sub(r"[^\w.-]", "-", grid.name)


def write_dashboard(grid: Grid, report: Path, results: Path, project: str = "segloss") -> Path:
    """Write the summary run of a grid to disk, where ``segloss sync`` finds it.

    Args:
        grid: The grid.
        report: Its report, the folder of results.csv.
        results: Folder of the cells; the run is written below its ``.dashboard``.
        project: W&B's project; ``WANDB_PROJECT`` overrides it.

    Returns:
        The run's folder.
    """
    import wandb

    forget_foreign_runs()
    table = report / "results.csv"
    columns, rows = wide_rows(table)
    folder = results / ".dashboard" / grid.name / "work"
    folder.mkdir(parents=True, exist_ok=True)
    run = connect(
        {},
        project=os.environ.get("WANDB_PROJECT", project),
        id=sha256_of(table)[:16],  # an unchanged table is the same run
        name=f"report of {grid.name}",
        group=grid.name,
        job_type="report",
        tags=[grid.name] if len(grid.name) <= 64 else [],
        config={"grid": grid.name, "title": grid.title, "cells": len(grid.cells)},
        dir=str(folder),
        mode="offline",
    )
    run.log({"iteration": 0, "results": wandb.Table(columns=columns, data=rows)}, step=0)
    artifact = wandb.Artifact(f"report-{artifact_name(grid)}", "report")
    artifact.add_dir(str(report), policy="immutable", skip_cache=True)
    run.log_artifact(artifact)
    path = Path(run.dir).parent
    run.finish()
    return path


def format_dashboard(grid: Grid, project: str = "segloss") -> str:
    """Describe the view of the grid to save as a workspace."""
    return WORKSPACE.format(
        project=os.environ.get("WANDB_PROJECT", project),
        datasets=", ".join(dict.fromkeys(cell.dataset for cell in grid.cells)),
        name=f"report of {grid.name}",
        artifact=artifact_name(grid),
    )
