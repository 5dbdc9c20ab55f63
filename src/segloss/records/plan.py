"""The plan of a grid before anything runs: cells, dependencies, hours, disk and downloads. Imports no torch."""

from collections import Counter, defaultdict
from pathlib import Path

from segloss.datasets import DatasetError, find, locate
from segloss.grid import Configs, Experiment, Grid
from segloss.grid.data import sources
from segloss.grid.weights import describe, find_weights
from segloss.records.states import CellStatus
from segloss.records.status import format_duration, kind, sampled_statuses
from segloss.records.throughput import ASSUMPTION, estimated_hours, model_costs

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
    """Hours of work left: those estimated from finished cells of the same kind, for how many cells, and those assumed.

    For a cell whose run time cannot be estimated, the time limit requested in the configs is assumed.
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
    experiments = [entry for entry in experiments if not entry.control and not entry.folds]  # those have no weights
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


def gpu_hours(experiments: list[Experiment], configs: Configs) -> str:
    """The estimated GPU-hours of these trainings, with the underlying assumption."""
    costs = model_costs(configs)
    estimates = [estimated_hours(experiment, configs, costs) for experiment in experiments]
    unknown = estimates.count(None)
    rest = f"; without an estimate: {unknown} cells" if unknown else ""
    return f"GPU-hours of all cells: {sum(filter(None, estimates)):.0f}, {ASSUMPTION}{rest}"


def cells_line(grid: Grid, experiments: list[Experiment]) -> str:
    """The numbers of cells of a grid."""
    controls = f", {len(grid.controls)} controls" if grid.controls else ""
    dependencies = len(experiments) - len(grid.evaluated)
    cells = f"{len(grid.experiments)}{controls} and {dependencies} that they depend on"
    return f"cells: {cells}; {len(grid.skipped)} skipped"


def disk_line(experiments: list[Experiment], results: Path) -> str:
    """The disk space that weights and checkpoints take."""
    size, known = disk(experiments, results)
    return f"disk: {size / 1e9:.1f} GB of weights and checkpoints, {'measured' if known else 'assumed: 160 MB a model'}"


def requests_lines(grid: Grid, experiments: list[Experiment]) -> list[str]:
    """What the cells request from a scheduler, and why others are skipped."""
    requests = Counter(tuple(sorted(experiment.resources.items())) for experiment in experiments)
    lines = [
        f"resources: {', '.join(f'{key} {value}' for key, value in request)} ({number} cells)"
        for request, number in requests.most_common()
    ]
    return lines + [
        f"skipped: {number} cells: {reason}" for reason, number in Counter(grid.skipped.values()).most_common()
    ]


def format_plan(grid: Grid, configs: Configs, results: Path, data_root: Path) -> str:
    """The plan in a few lines."""
    experiments = all_experiments(grid)
    statuses = sampled_statuses(experiments, results)
    states = Counter(status.state for status in statuses)
    measured, cells, assumed = hours(experiments, statuses)
    lines = [
        f"{grid.name}: {grid.title}",
        cells_line(grid, experiments),
        f"states: {', '.join(f'{number} {state}' for state, number in states.items())}",
        f"work left: {format_duration(measured * 3600)} by the run time of finished cells of the same kind "
        f"({cells} cells); at most {format_duration(assumed * 3600)} by the time limits of the configs (all others)",
        gpu_hours(experiments, configs),
        disk_line(experiments, results),
        *requests_lines(grid, experiments),
    ]
    return "\n".join([*lines, *(f"to download: {line}" for line in downloads(experiments, data_root))])


def format_outline(grid: Grid, configs: Configs) -> str:
    """The plan of a grid from scratch: the same on every machine, whatever results, data and weights it has."""
    experiments = all_experiments(grid)
    datasets = {find(source) for experiment in experiments for source in sources(experiment)}
    folders = sorted({dataset.folder or dataset.name for dataset in datasets})
    weights = sorted({entry.pretrained.files[0] for entry in experiments if entry.pretrained})
    lines = [
        f"{grid.name}: {grid.title}",
        cells_line(grid, experiments),
        gpu_hours(experiments, configs),
        disk_line(experiments, Path("/dev/null")),
        *requests_lines(grid, experiments),
        f"data: {', '.join(folders)}",
        f"pretrained weights: {', '.join(weights) or 'none'}",
    ]
    return "\n".join(lines)
