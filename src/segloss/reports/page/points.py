"""The rows of the page's table: every point of the grid with what was measured, or why nothing was."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd

from segloss.grid import Grid
from segloss.grid.controls import CONTROL
from segloss.metrics import find_metric
from segloss.reports.points import Point, PointStatistics, point_of
from segloss.reports.summary import AXES

# The taxonomy of Ma et al., 2021, https://doi.org/10.1016/j.media.2021.102035
DISTRIBUTION_BASED = (
    *("cross_entropy", "focal", "ldam", "poly_cross_entropy", "poly_focal", "asymmetric_focal"),
    *("confidence_penalty", "margin_label_smoothing", "neighbor_aware_calibration"),
    *("topk_cross_entropy", "ohem_cross_entropy"),
)
BOUNDARY_BASED = ("boundary", "hausdorff")
COMPOUND = ("bce_dice", "dice_focal", "exponential_logarithmic", "lmf", "unified_focal")


def loss_family(terms: Sequence[Mapping[str, Any]]) -> str:
    """The family of a loss by its terms: distribution-based, region-based, boundary-based or compound."""
    if len(terms) > 1 or terms[0]["loss"] in COMPOUND:
        return "compound"
    if terms[0]["loss"] in DISTRIBUTION_BASED:
        return "distribution-based"
    return "boundary-based" if terms[0]["loss"] in BOUNDARY_BASED else "region-based"


def metric_entry(name: str) -> dict[str, Any]:
    """Name, heading, direction, unit, meaning, source and decimals of a metric, as the page shows it."""
    try:
        metric = asdict(find_metric(name))
    except ValueError:  # not a metric of the predictions but a further number, such as the temperature
        return {
            "name": name,
            "heading": name,
            "direction": None,
            "unit": "1",
            "meaning": "",
            "source": "",
            "decimals": 3,
        }
    return {**metric, "heading": metric["heading"] or name}


def point_entries(
    grid: Grid, table: pd.DataFrame, counts: Mapping[Point, PointStatistics], published: Iterable[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """One entry for each point of the grid: axes, seeds and their states, values, intervals, published numbers.

    ``compared`` is the point's place in the lists of `compare_points`, None where nothing was measured.

    Args:
        grid: The grid.
        table: Its results table.
        counts: As returned by `segloss.reports.points.read_statistics`.
        published: Rows of dataset, model, labels, loss, metric, value and source.
    """
    statistics, seeds = values_of(table), seeds_of(table)
    families = {experiment.cell.loss: loss_family(experiment.loss) for experiment in grid.experiments}
    places = {point: place for place, point in enumerate(counts)}
    numbers: dict[tuple[str, ...], dict[str, Any]] = {}
    for row in published:
        place = tuple(row[axis] for axis in ("dataset", "model", "labels", "loss"))
        numbers.setdefault(place, {})[row["metric"]] = [float(row["value"]), str(row["source"])]
    return [
        {
            **dict(zip(AXES, point, strict=True)),
            "family": families.get(point[-1], "–"),
            "seeds": sorted(seeds[point], key=lambda entry: entry["seed"]),
            "values": statistics.get(point, {}),
            "intervals": counts[point].intervals if point in counts else {},
            "published": numbers.get((*point[:2], *point[3:]), {}),
            "compared": places.get(point),
        }
        for point in ordered(grid)
        if point in seeds
    ]


def values_of(table: pd.DataFrame) -> dict[Point, dict[str, list[float | None]]]:
    """Mean, sample standard deviation over seeds (None for one seed) and number of seeds of each point and metric."""
    done = table[table.status == "done"]
    values: dict[Point, dict[str, list[float | None]]] = {}
    for key, row in done.groupby([*AXES, "metric"], sort=False).value.agg(["mean", "std", "count"]).iterrows():
        deviation = None if pd.isna(row["std"]) else float(row["std"])
        values.setdefault(key[:-1], {})[key[-1]] = [float(row["mean"]), deviation, int(row["count"])]
    return values


def seeds_of(table: pd.DataFrame) -> dict[Point, list[dict[str, Any]]]:
    """Seed, state and reason of each cell of each point."""
    seeds: dict[Point, list[dict[str, Any]]] = {}
    for row in table[[*AXES, "seed", "status", "reason"]].drop_duplicates(["seed", *AXES]).itertuples(index=False):
        reason = None if pd.isna(row.reason) else str(row.reason)
        seeds.setdefault(tuple(row[:5]), []).append({"seed": int(row.seed), "status": row.status, "reason": reason})
    return seeds


def control_entries(grid: Grid, table: pd.DataFrame) -> list[dict[str, Any]]:
    """One entry for each control of the grid, like those of `point_entries` but never compared."""
    controls = table[table.model == CONTROL]
    statistics, seeds = values_of(controls), seeds_of(controls)
    nothing = {"intervals": {}, "published": {}, "compared": None}
    return [
        {
            **dict(zip(AXES, point, strict=True)),
            "family": CONTROL,
            "control": True,
            "seeds": seeds[point],
            "values": statistics.get(point, {}),
            **nothing,
        }
        for point in (point_of(experiment.cell) for experiment in grid.controls)
        if point in seeds
    ]


def ordered(grid: Grid) -> list[Point]:
    """The points of a grid in its order, with the skipped ones in their places."""
    points = dict.fromkeys(point_of(cell) for cell in (*grid.cells, *grid.skipped))
    places = [{name: place for place, name in enumerate(dict.fromkeys(column))} for column in zip(*points, strict=True)]
    return sorted(points, key=lambda point: [names[name] for names, name in zip(places, point, strict=True)])
