"""The plan of a grid before anything runs: cells, dependencies, hours, disk and downloads. Imports no torch."""

from collections import Counter, defaultdict
from pathlib import Path

from segloss.datasets import DatasetError, find, locate
from segloss.grid import Experiment, Grid
from segloss.grid.data import sources
from segloss.grid.weights import describe, find_weights
from segloss.records.states import CellStatus
from segloss.records.status import format_duration, kind, sampled_statuses

# Bytes of a model's weights and of two checkpoints with Adam's moments, if none was measured: 40 million float32.
ASSUMED_WEIGHTS, ASSUMED_CHECKPOINTS = 160e6, 2 * 3 * 160e6


def all_experiments(grid: Grid) -> list[Experiment]:
    """The experiments of a grid and all that must be finished before them, each once, dependencies first."""
    ordered: dict[str, Experiment] = {}

    def add(experiment: Experiment) -> None:
        for needed in experiment.dependencies:
            add(needed)
        ordered.setdefault(str(experiment.cell), experiment)

    for experiment in grid.evaluated:
        add(experiment)
    return list(ordered.values())


def hours(experiments: list[Experiment], statuses: list[CellStatus]) -> tuple[float, int, float]:
    """Hours of work left: measured on finished cells of the same kind, their number of cells, and those assumed.

    Assumed is the time limit that the configs request for a cell of which no run time is known.
    """
    known: defaultdict[tuple[str, str, str], list[float]] = defaultdict(list)
    for status in statuses:
        if status.seconds is not None:
            known[kind(status)].append(status.seconds)
    left = [
        (kind(status), entry) for entry, status in zip(experiments, statuses, strict=True) if status.state != "done"
    ]
    measured = [sum(known[axes]) / len(known[axes]) / 3600 for axes, _ in left if known[axes]]
    assumed = [experiment.resources["minutes"] / 60 for axes, experiment in left if not known[axes]]
    return sum(measured), len(measured), sum(assumed)


def disk(experiments: list[Experiment], results: Path) -> tuple[float, bool]:
    """Bytes of the finished grid's weights and of a running cell's checkpoints; False if they are assumed."""
    files = [results / str(experiment.cell) / "work" / "weights.pt" for experiment in experiments]
    sizes = [file.stat().st_size for file in files if file.is_file()]
    if sizes:
        mean = sum(sizes) / len(sizes)
        return mean * len(experiments) + 6 * mean, True
    return ASSUMED_WEIGHTS * len(experiments) + ASSUMED_CHECKPOINTS, False


def downloads(experiments: list[Experiment], data_root: Path) -> list[str]:
    """A line for each data set and each weights file that is not on this machine."""
    lines = []
    for source in dict.fromkeys(source for experiment in experiments for source in sources(experiment)):
        try:
            if not find(source).generated:
                locate(source, data_root)
        except DatasetError as error:
            lines.append(str(error))
    weights = {experiment.pretrained: None for experiment in experiments if experiment.pretrained}
    return lines + [f"weights {describe(entry)}" for entry in weights if find_weights(entry) is None]


def format_plan(grid: Grid, results: Path, data_root: Path) -> str:
    """The plan in a few lines."""
    experiments = all_experiments(grid)
    statuses = sampled_statuses(experiments, results)
    states = Counter(status.state for status in statuses)
    measured, cells, assumed = hours(experiments, statuses)
    size, known = disk(experiments, results)
    requests = Counter(tuple(sorted(experiment.resources.items())) for experiment in experiments)
    dependencies = len(experiments) - len(grid.evaluated)
    controls = f", {len(grid.controls)} controls" if grid.controls else ""
    lines = [
        f"{grid.name}: {grid.title}",
        f"cells: {len(grid.experiments)}{controls} and {dependencies} that they depend on; {len(grid.skipped)} skipped",
        f"states: {', '.join(f'{number} {state}' for state, number in states.items())}",
        f"work left: {format_duration(measured * 3600)} by the run time of finished cells of the same kind "
        f"({cells} cells); at most {format_duration(assumed * 3600)} by the time limits of the configs (all others)",
        f"disk: {size / 1e9:.1f} GB of weights and checkpoints, {'measured' if known else 'assumed: 160 MB a model'}",
    ]
    for request, number in requests.most_common():
        lines.append(f"resources: {', '.join(f'{key} {value}' for key, value in request)} ({number} cells)")
    for reason, number in Counter(grid.skipped.values()).most_common():
        lines.append(f"skipped: {number} cells: {reason}")
    missing = downloads(experiments, data_root)
    return "\n".join([*lines, *(f"to get: {line}" for line in missing)])
