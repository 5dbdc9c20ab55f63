"""The interface to Snakemake: a grid's files, parameters and resources, and all checks before the first job."""

import fcntl
import os
import re
import shlex
import sys
from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snakemake.exceptions import WorkflowError

from segloss.cli import build_parser
from segloss.cli.paths import check_folder, default_data_root, typed_path
from segloss.datasets import DatasetError, find, locate
from segloss.grid import Cell, ConfigError, Configs, Experiment, Grid, load_grid, resolve
from segloss.grid.cells import AXIS
from segloss.grid.configs import SCHEMAS
from segloss.grid.data import known_fingerprints, sources
from segloss.grid.errors import validate
from segloss.grid.weights import require_weights
from segloss.records.clean import needed_weights
from segloss.records.plan import all_experiments
from segloss.records.states import stale_reason
from segloss.runtime import forkserver

# Modules that a training imports; the last ones it would otherwise import lazily.
PRELOAD = (
    "segloss.tracking",
    "segloss.engine.cell",
    "matplotlib.backends.backend_agg",
    "matplotlib.pyplot",
    "mmseg.engine",
    "mmseg.evaluation",
    "mmseg.visualization",
    "pkg_resources",
    "torch._dynamo",
    "wandb.sdk.launch.inputs.internal",
)
# Characters that have a special meaning for Snakemake in a path: wildcards, globs and flags.
NOT_IN_PATHS = re.compile(r"[{}*?\[\]\x00-\x1f]")


def start_forkserver() -> None:
    """Start the fork server from which the cells of this Snakemake run are forked."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as in cli.main, for the server's own import of torch
    forkserver.start("segloss.cli:main", PRELOAD)


def clear_stale_locks(folder: Path = Path(".snakemake")) -> None:
    """Remove the locks of Snakemake runs that were killed, so that nobody has to type ``--unlock``.

    Every run holds a shared kernel lock on ``.snakemake/alive``, which is released when it ends, however it ends. A run
    that acquires the lock exclusively is the only one alive, so every Snakemake lock file is stale.
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


def folder_option(key: str, value: str) -> str:
    """A folder named by --config, ``~`` expanded.

    Raises:
        ConfigError: if files cannot be written below it, or Snakemake cannot handle its name.
    """
    path = typed_path(key, value)
    if str(path).startswith("-"):
        raise ConfigError(f"{key}={value!r} looks like a command-line option; choose another name")
    if match := NOT_IN_PATHS.search(str(path)):
        raise ConfigError(
            f"{key}={value!r} contains {match[0]!r}, which Snakemake does not allow in a path; rename the folder"
        )
    check_folder(key, path)
    nearest = next(place for place in (path.absolute(), *path.absolute().parents) if place.exists())
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise ConfigError(f"cannot write to {nearest}; choose another place with --config {key}=<folder>")
    return str(path)


def check_train_options(options: str) -> None:
    """Raise ConfigError unless ``segloss train`` takes these options."""
    try:
        build_parser().parse_args(["train", *shlex.split(options), "cell"])
    except ValueError as error:
        raise ConfigError(f"train={options!r} is not a list of options: {error}") from None
    except SystemExit:
        raise ConfigError(f"segloss train does not accept {options!r}; see segloss train --help") from None


def check_data_and_weights(grid: Grid) -> None:
    """Raise DatasetError or ConfigError unless all data sets and pretrained weights of a grid are on this machine."""
    for source in dict.fromkeys(source for experiment in grid.experiments for source in sources(experiment)):
        if not find(source).generated:
            locate(source, default_data_root())
    needed = {entry.cell.model: entry.pretrained for entry in all_experiments(grid) if entry.pretrained}
    for model, weights in needed.items():
        require_weights(weights, model)


def export_machine_options(config: Mapping[str, Any]) -> None:
    """Export the options that concern the machine; jobs read them from the environment."""
    # Jobs find ``segloss`` next to the Python that runs Snakemake, whether its environment is activated or not.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    variables = {"data_root": "SEGLOSS_DATA", "cells_per_gpu": "SEGLOSS_CELLS_PER_GPU", "train": "SEGLOSS_TRAIN"}
    for key, variable in variables.items():
        if key in config:
            os.environ[variable] = str(config[key])
    check_train_options(os.environ.get("SEGLOSS_TRAIN", ""))


@dataclass(frozen=True)
class Plan:
    """A checked grid as Snakemake uses it.

    Attributes:
        grid: The grid.
        configs: The configs it was resolved against.
        results: Folder of the cells.
        report: Folder of the grid's reports.
        stale: Records that must be made again, with the reason.
        kept: The cells that keep their weights; None: all of them.
    """

    grid: Grid
    configs: Configs
    results: str
    report: str
    stale: Mapping[str, str]
    kept: Set[str] | None

    cell_pattern = rf"(?:{AXIS.pattern}/){{5}}seed\d+"

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Plan":
        """The plan from the values of --config.

        Raises:
            WorkflowError: with one sentence, before any job.
        """
        try:
            validate(dict(config), SCHEMAS / "config.schema.json", "--config")
            export_machine_options(config)
            configs = Configs()
            grid = load_grid(config.get("grid", "demo"), configs)
            check_data_and_weights(grid)
            results, reports = (folder_option(key, str(config.get(key, key))) for key in ("results", "reports"))
            stale = stale_records(grid, Path(results))
            kept = needed_weights(grid, configs) if config.get("keep_weights") == "needed" else None
        except (ConfigError, DatasetError) as error:
            raise WorkflowError(str(error)) from None
        clear_stale_locks()
        return cls(grid, configs, results, f"{reports}/{grid.name}", stale, kept)

    def experiment(self, cell: str) -> Experiment:
        """The experiment of a cell of the grid, or of a teacher."""
        return resolve(Cell.parse(cell), self.configs)

    @property
    def records(self) -> list[str]:
        """The record of every cell, controls included."""
        return [f"{self.results}/{experiment.cell}/record.json" for experiment in self.grid.evaluated]

    @property
    def report_files(self) -> list[str]:
        """The tables and pictures of the grid; pictures of predictions are drawn where the cells kept some."""
        pictures = dict.fromkeys(f"reliability-{cell.dataset}-{cell.model}.png" for cell in self.grid.cells)
        texts = ("table.md", "details.md", "table.tex", "table.csv", "intervals.csv", "comparisons.csv", "index.html")
        return [f"{self.report}/{name}" for name in (*texts, *pictures)]

    @property
    def skipped(self) -> dict[str, str]:
        """The cells that are not applicable, with the reason: the table shows them, so it depends on them."""
        return {str(cell): reason for cell, reason in self.grid.skipped.items()}

    @property
    def titles(self) -> dict[str, Any]:
        """All text of the report that comes from configs/."""
        return {"grid": self.grid.title, **self.grid.titles}

    @property
    def partial_report(self) -> str:
        """The command that reports the cells finished so far."""
        grid, results, table = map(shlex.quote, (self.grid.argument, self.results, f"{self.report}/results.csv"))
        return (
            f"segloss collect {grid} --results {results} --output {table} --partial"
            f" && segloss report {grid} {table} --results {results}"
        )

    def train_input(self, cell: str, dag: Any) -> list[str]:
        """The records that must exist before a cell runs, such as its teachers'. A stale cell is planned again.

        Args:
            cell: The cell.
            dag: Snakemake's DAG; its ``forcefiles`` are made again regardless of Snakemake's own metadata.
        """
        if (record := f"{self.results}/{cell}/record.json") in self.stale:
            dag.forcefiles.add(record)
        return [f"{self.results}/{entry.cell}/record.json" for entry in self.experiment(cell).dependencies]

    def weights_of(self, cell: str) -> str:
        """``keep`` a finished cell's weights, or ``drop`` them."""
        return "keep" if self.kept is None or cell in self.kept else "drop"

    def resources(self, cell: str) -> Mapping[str, int]:
        """The GPUs, cores, memory and time to request for a cell."""
        return self.experiment(cell).resources

    def show_table(self) -> None:
        """Print the table of the grid, formatted on a terminal, and the paths of its file and of its page."""
        file, page = Path(self.report) / "table.md", Path(self.report) / "index.html"
        if not file.exists():
            return
        text = file.read_text(encoding="utf-8")
        if sys.stdout.isatty():
            from rich.console import Console
            from rich.markdown import Markdown

            Console().print(Markdown(text))
        else:
            print(f"\n{text}")
        print(f"{file}\n{page.absolute().as_uri()}" if page.exists() else file)


def stale_records(grid: Grid, results: Path) -> dict[str, str]:
    """The records of a grid's cells and of their teachers that must be made again, with the reason.

    Snakemake cannot detect them: it compares its own metadata, which a copied or new checkout does not have.
    """
    experiments = {entry.cell: entry for entry in all_experiments(grid)}
    paths = {cell: results / str(cell) / "record.json" for cell in experiments}
    recorded = {cell: path for cell, path in paths.items() if path.exists()}
    if not recorded:
        return {}
    prints = known_fingerprints(experiments.values(), default_data_root())
    reasons = {
        str(path): stale_reason(experiments[cell], results, prints.get(experiments[cell].data_key))
        for cell, path in recorded.items()
    }
    return {path: reason for path, reason in reasons.items() if reason}
