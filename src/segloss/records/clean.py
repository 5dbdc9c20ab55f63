"""Weights and checkpoints of finished cells that nothing needs any more. Imports no torch."""

from dataclasses import dataclass
from pathlib import Path

from segloss.grid import Configs, Grid, load_grid
from segloss.records.plan import all_experiments
from segloss.records.results import Fingerprints
from segloss.records.run_lock import is_running
from segloss.records.states import cell_status

WEIGHTS, CHECKPOINTS = "weights.pt", ("checkpoint.pt", "checkpoint.previous.pt", "checkpoint.new.pt")


@dataclass(frozen=True)
class Removable:
    """A file that nothing needs.

    Attributes:
        path: The file.
        size: Its bytes.
    """

    path: Path
    size: int


def needed_weights(grid: Grid, configs: Configs) -> set[str]:
    """The cells whose weights a cell of this or any grid in configs/ needs: its teachers, and those it only evaluates.

    Raises:
        ConfigError: if a grid of configs/ cannot be read: the cells that it needs are then unknown.
    """
    grids = [grid, *(load_grid(name, configs) for name in configs.names("grids"))]  # grids share cells
    return {
        str(needed.cell)
        for grid in grids
        for entry in all_experiments(grid)
        for needed in entry.dependencies
        if not entry.folds
    }


def remove_weights(folder: Path) -> None:
    """Delete the weights and checkpoints of a cell in this folder."""
    for name in (*CHECKPOINTS, WEIGHTS):
        (folder / "work" / name).unlink(missing_ok=True)


def removable(
    grid: Grid, configs: Configs, results: Path, fingerprints: Fingerprints | None = None
) -> tuple[list[Removable], list[str]]:
    """The files of a grid's finished cells that nothing needs, and the cells whose weights other cells need.

    A cell is left alone unless it is done and no process runs it. Weights are kept if any grid of configs/ needs them,
    since grids share cells.

    Args:
        grid: The grid.
        configs: The configs; all their grids are read.
        results: Folder of the cells.
        fingerprints: Those of the data at hand, by ``Experiment.data_key``.

    Raises:
        ConfigError: if a grid of configs/ cannot be read: the cells that it needs are then unknown.
    """
    needed = needed_weights(grid, configs)
    files, kept = [], []
    for experiment in all_experiments(grid):
        cell, folder = str(experiment.cell), results / str(experiment.cell)
        prints = (fingerprints or {}).get(experiment.data_key)
        if cell_status(experiment, results, prints).state != "done" or is_running(folder):
            continue
        names = [*CHECKPOINTS]
        if cell not in needed:
            names.append(WEIGHTS)
        elif (folder / "work" / WEIGHTS).is_file():
            kept.append(cell)
        paths = (folder / "work" / name for name in names)
        files += [Removable(path, path.stat().st_size) for path in paths if path.is_file()]
    return files, kept


def format_removable(files: list[Removable], kept: list[str], removed: bool) -> str:
    """A line for each file, and the sum."""
    lines = [f"{entry.size / 1e6:8.1f} MB  {entry.path}" for entry in files]
    lines += [f"     kept  {cell}: another cell needs its weights" for cell in kept]
    total = f"{sum(entry.size for entry in files) / 1e6:.1f} MB in {len(files)} files"
    if not files:
        return "\n".join([*lines, "nothing to remove"])
    if removed:
        return "\n".join([*lines, f"removed {total}"])
    consequence = "records, counts and tables stay, but a cell must be trained again before it can be evaluated again"
    return "\n".join([*lines, f"{total}; --yes removes them: {consequence}"])


def remove(files: list[Removable]) -> None:
    """Delete the files; one that is already gone is not an error."""
    for entry in files:
        entry.path.unlink(missing_ok=True)
