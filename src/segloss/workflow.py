"""What the Snakefile needs to know of a grid: its files, its settings, and what stops it before the first job."""

import fcntl
import os
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snakemake.exceptions import WorkflowError

from segloss import grid
from segloss.cli import parser
from segloss.datasets import DATASETS, DatasetError, locate
from segloss.grid import Cell, Grid, configs
from segloss.grid.configs import NAME, ConfigError
from segloss.grid.resources import needs_of


def clear_stale_locks(folder: Path = Path(".snakemake")) -> None:
    """Remove the locks of Snakemake runs that were killed, so that nobody has to type ``--unlock``.

    Every run holds a shared lock of the kernel's on ``.snakemake/alive``, which dies with it however it dies. Who gets
    it alone is the only one alive, and every lock file of Snakemake's is stale.
    """
    folder.mkdir(exist_ok=True)
    file = os.open(folder / "alive", os.O_RDWR | os.O_CREAT, 0o644)  # open, and locked, as long as this process lives
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for lock in folder.glob("locks/*.lock"):
            lock.unlink(missing_ok=True)
    except BlockingIOError:
        pass
    fcntl.flock(file, fcntl.LOCK_SH)


def check_writable(key: str, folder: str) -> None:
    """Raise ConfigError unless files can be written below a folder that is there or not yet."""
    path = Path(folder).absolute()
    nearest = next(place for place in (path, *path.parents) if place.exists())
    if not nearest.is_dir():
        raise ConfigError(f"{key}={folder} must be a folder, but {nearest} is a file")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise ConfigError(f"cannot write to {nearest}; choose another place with --config {key}=<folder>")


def check_train_options(options: str) -> None:
    """Refuse what ``segloss train`` would not take, before it is asked once for each cell.

    Raises:
        ConfigError: if it does not take these options; it has said why.
    """
    try:
        parser().parse_args(["train", *shlex.split(options), "cell"])
    except SystemExit:
        raise ConfigError(f"segloss train does not take {options!r}; see segloss train --help") from None


@dataclass(frozen=True)
class Plan:
    """A checked grid as Snakemake sees it.

    Attributes:
        grid: The grid.
        grid_argument: The name or path by which ``segloss`` finds it.
        results: Folder of the cells.
        report: Folder of the grid's reports.
    """

    grid: Grid
    grid_argument: str
    results: str
    report: str

    cell_pattern = rf"(?:{NAME.pattern}/){{5}}seed\d+"

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "Plan":
        """The plan of what stands behind --config; jobs find what concerns the machine in variables.

        Raises:
            WorkflowError: one sentence, before any job.
        """
        try:
            configs.validate(dict(config), "config", "--config")
            # Jobs find ``segloss`` beside the Python that runs Snakemake, activated or not.
            os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
            if "data_root" in config:
                os.environ["SEGLOSS_DATA"] = str(config["data_root"])
            if "cells_per_gpu" in config:
                os.environ["SEGLOSS_CELLS_PER_GPU"] = str(config["cells_per_gpu"])
            if "train" in config:
                os.environ["SEGLOSS_TRAIN"] = str(config["train"])
            check_train_options(os.environ.get("SEGLOSS_TRAIN", ""))
            name = config.get("grid", "demo")
            asked = grid.load_grid(name)
            for axes in {(cell.dataset, cell.model, cell.schedule) for cell in asked.cells}:
                needs_of(*axes)
            for source in {configs.dataset_source(cell.dataset) for cell in asked.cells}:
                if not DATASETS[source].generated:
                    locate(source, Path(os.environ.get("SEGLOSS_DATA", "data")))
            folders = {key: str(config.get(key, key)) for key in ("results", "reports")}
            for key, folder in folders.items():
                check_writable(key, folder)
        except (ConfigError, DatasetError) as error:
            raise WorkflowError(str(error)) from None
        clear_stale_locks()
        return cls(asked, name, folders["results"], f"{folders['reports']}/{asked.name}")

    @property
    def records(self) -> list[str]:
        """The record of every cell."""
        return [f"{self.results}/{cell}/record.json" for cell in self.grid.cells]

    @property
    def report_files(self) -> list[str]:
        """The tables and pictures of the grid."""
        pictures = dict.fromkeys(
            f"{kind}-{cell.dataset}-{cell.model}.png"
            for kind in ("predictions", "reliability")
            for cell in self.grid.cells
        )
        texts = ("table.md", "table.tex", "table.csv", "intervals.csv", "comparisons.csv")
        return [f"{self.report}/{name}" for name in (*texts, *pictures)]

    @property
    def skipped(self) -> dict[str, str]:
        """The cells that make no sense, with the reason: the table shows them, so it changes with them."""
        return {str(cell): reason for cell, reason in self.grid.skipped.items()}

    @property
    def titles(self) -> dict[str, Any]:
        """All words of the report that come from configs/."""
        return {"grid": self.grid.title} | configs.titles()

    @property
    def partial_report(self) -> str:
        """The command that reports what is there."""
        argument, results, table = map(shlex.quote, (self.grid_argument, self.results, f"{self.report}/results.csv"))
        return (
            f"segloss collect {argument} --results {results} --output {table} --partial"
            f" && segloss report {argument} {table} --results {results}"
        )

    def teachers(self, cell: str) -> list[str]:
        """The records of the cells that must be there before this one can be taught."""
        return [f"{self.results}/{teacher}/record.json" for teacher in grid.teachers(Cell.parse(cell))]

    def needs(self, cell: str) -> dict[str, int]:
        """The GPUs, cores, memory and time that a cell needs."""
        parsed = Cell.parse(cell)
        return needs_of(parsed.dataset, parsed.model, parsed.schedule)

    def settings(self, cell: str) -> dict[str, Any]:
        """All that decides a cell's result; where it changes, the cell runs again."""
        return grid.settings(Cell.parse(cell))

    def shown_table(self) -> str:
        """The table of the grid, to be read in the terminal, and where it lies."""
        file = Path(self.report) / "table.md"
        return f"\n{file.read_text(encoding='utf-8')}\n{file}" if file.exists() else ""
