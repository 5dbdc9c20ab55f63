"""The page of a grid: one HTML file that needs no network, made from the records alone. Imports no torch.

The table, the charts' specifications and the provenance are plain JSON in the page. Data that are
shown only when a cell is opened, above all its record, are packed: records of a grid are similar, so 1 000 of them take
a few megabytes.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from segloss import records
from segloss.datasets import find
from segloss.files import write_text
from segloss.grid import Cell, Grid
from segloss.grid.controls import MEANING
from segloss.reports.controls import without_controls
from segloss.reports.page.charts import specifications
from segloss.reports.page.counts import compare_points
from segloss.reports.page.details import Pictures, cell_details, failure_traceback, read_record
from segloss.reports.page.points import control_entries, metric_entry, point_entries
from segloss.reports.page.render import pack, read_summary, render
from segloss.reports.points import Point, PointStatistics, read_statistics
from segloss.reports.summary import AXES

__all__ = ["write_index", "write_page"]


def write_page(
    grid: Grid,
    table: pd.DataFrame,
    results: Path,
    folder: Path,
    *,
    statistics: Mapping[Point, PointStatistics] | None = None,
    controls: Mapping[Point, PointStatistics] | None = None,
    provenance: Mapping[str, Any] | None = None,
    published: Iterable[Mapping[str, Any]] = (),
) -> Path:
    """Write the page of a grid.

    Args:
        grid: The grid.
        table: Its results table, as `segloss.records.collect` returns it.
        results: Folder of the cells.
        folder: Folder of the grid's report.
        statistics: Statistics of the trained points if already known; else the counts are read.
        controls: Statistics of the controls, likewise.
        provenance: What `segloss.records.provenance` returns, if already known.
        published: Published numbers to show next to the measured ones: rows of dataset, model, labels, loss, metric,
            value and source.

    Returns:
        Path of ``index.html`` in the folder.

    Raises:
        RecordError: if seeds of one point, or points that are compared, were evaluated on different images.
    """
    trained = without_controls(table)
    counts = read_statistics(trained, results) if statistics is None else statistics
    untrained = read_statistics(table.drop(trained.index), results) if controls is None else controls
    points = point_entries(grid, trained, counts, published)
    rows = [*points, *control_entries(grid, table)]
    made = dict(provenance or records.provenance(grid, results))
    data = {
        "grid": {"name": grid.name, "title": grid.title},
        "titles": titles_of(grid, points, rows),
        "metrics": [metric_entry(name) for name in dict.fromkeys(name for entry in points for name in entry["values"])],
        "points": rows,
        "comparisons": compare_points(counts),
        "provenance": made,
        "charts": specifications(),
        **({"controls": MEANING} if len(rows) > len(points) else {}),
    }
    path = folder / "index.html"
    details = pack(gather_details(rows, {**counts, **untrained}, results))
    write_text(path, render("page.html.j2", summary=summarise(grid, points, made), data=data, details=details))
    return path


def write_index(reports: Path) -> Path:
    """Write ``index.html`` over the pages of all grids in a folder of reports, and return its path.

    A folder without a page of this kind is left out.
    """
    entries = [(page.parent.name, read_summary(page)) for page in sorted(reports.glob("*/index.html"))]
    grids = [{"folder": folder, **summary} for folder, summary in entries if summary]
    path = reports / "index.html"
    write_text(path, render("index.html.j2", summary=None, grids=grids))
    return path


def titles_of(
    grid: Grid, points: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]
) -> dict[str, dict[str, str]]:
    """Titles of the losses of all rows, controls included, and of the label scenarios of the trained points."""
    return {
        "loss": {entry["loss"]: grid.titles["losses"][entry["loss"]] for entry in rows},
        "labels": {entry["labels"]: grid.titles["labels"][entry["labels"]] for entry in points},
    }


def summarise(grid: Grid, points: Sequence[Mapping[str, Any]], provenance: Mapping[str, Any]) -> dict[str, Any]:
    """A grid in a few numbers, for the head of its page and for the index."""
    titles = titles_of(grid, points, points)
    states = Counter(seed["status"] for entry in points for seed in entry["seeds"])
    best = {}
    for metric, better in (("mIoU", max), ("ECE", min)):
        for entry in points:
            if metric in entry["values"]:
                mean = entry["values"][metric][0]
                place = best.setdefault((entry["dataset"], entry["model"]), {})
                name = f"{titles['loss'][entry['loss']]}, {titles['labels'][entry['labels']]}"
                place[metric] = better((mean, name), place.get(metric, (mean, name)), key=lambda pair: pair[0])
    return {
        "name": grid.name,
        "title": grid.title,
        "datasets": list(dict.fromkeys(entry["dataset"] for entry in points)),
        "models": list(dict.fromkeys(entry["model"] for entry in points)),
        "labels": list(titles["labels"].values()),
        "losses": list(titles["loss"].values()),
        "cells": sum(states.values()),
        "states": {state: states[state] for state in records.STATES if states[state]},
        "hours": provenance["hours"],
        "commits": provenance["commits"],
        "best": [
            {"dataset": dataset, "model": model, **{name: list(pair) for name, pair in metrics.items()}}
            for (dataset, model), metrics in best.items()
        ],
    }


def gather_details(
    points: Sequence[Mapping[str, Any]], counts: Mapping[Point, PointStatistics], results: Path
) -> dict[str, Any]:
    """What the page shows when a point is opened: the seeds of each entry of `points`, and all pictures."""
    pictures = Pictures(sum(len(point.cells) for point in counts.values()))
    seeds: list[list[dict[str, Any]]] = []
    bins: list[list[list[float]] | None] = []
    sources: dict[str, dict[str, Any]] = {}
    for entry in points:
        point = counts.get(tuple(entry[axis] for axis in AXES))
        places = {cell.seed: place for place, cell in enumerate(point.cells)} if point else {}
        bins.append(point and [[float(f"{number:.8g}") for number in row] for row in point.calibration.sum(0).tolist()])
        seeds.append([])
        for seed in entry["seeds"]:
            cell = Cell(*(entry[axis] for axis in AXES), seed["seed"])
            if seed["seed"] not in places:
                seeds[-1].append({"seed": cell.seed, "traceback": failure_traceback(results, cell)})
                continue
            record = read_record(results, cell)
            source = record["data"]["source"]
            sources.setdefault(source, {"classes": find(source).classes, "palette": find(source).palette})
            shown = cell_details(record, places[cell.seed], point)
            shown |= {"seed": cell.seed, "source": source, "pictures": pictures.of_cell(results, cell, source)}
            seeds[-1].append(shown)
    return {"points": seeds, "bins": bins, "sources": sources, "pictures": pictures.encoded()}
