"""The verb that trains and evaluates one cell. No other verb imports torch and MMSegmentation."""

import argparse
import os
import sys
from pathlib import Path

from segloss import records
from segloss.cli.paths import data_root, results_folder
from segloss.datasets import find, locate
from segloss.grid import Cell, ConfigError, Configs, Experiment, resolve
from segloss.grid.data import sources
from segloss.grid.weights import require_weights
from segloss.records import progress
from segloss.records.clean import remove_weights
from segloss.records.run_lock import run_lock
from segloss.runtime.leases import LeaseError, lease
from segloss.runtime.torchrun import launch, under_torchrun


def train(arguments: argparse.Namespace) -> None:
    """Train and evaluate one cell."""
    experiment = resolve(Cell.parse(arguments.cell), Configs())
    if experiment.not_applicable:
        raise ConfigError(f"{experiment.cell} is not applicable: {experiment.not_applicable}")
    arguments.processes = processes(experiment, arguments.processes)
    data = data_root(arguments)
    for source in sources(experiment):
        if not find(source).generated:
            locate(source, data)
    if experiment.pretrained:
        require_weights(experiment.pretrained, experiment.cell.model)
    results = results_folder(arguments)
    folder = results / str(experiment.cell)
    if under_torchrun():  # the process that launched torchrun holds the locks
        train_here(experiment, results, arguments)
        return
    with run_lock(folder) as waited:
        if waited and records.cell_status(experiment, results).state == "done":
            print(f"{experiment.cell}  another process has finished it")
            return
        progress.write(folder, "waiting")
        if arguments.device == "cpu":
            os.environ["CUDA_VISIBLE_DEVICES"] = ""  # MMEngine uses any GPU that is visible
        try:
            with lease(arguments.processes, arguments.cells_per_gpu):
                progress.write(folder, "starting")
                if arguments.processes == 1:
                    train_here(experiment, results, arguments)
                elif status := launch(sys.argv[1:], arguments.processes):
                    sys.exit(status)
                if arguments.weights == "drop":
                    remove_weights(folder)
        except (ConfigError, LeaseError) as error:  # raised before the training, which records its own failures
            if records.failure_reason(experiment.cell, results) != str(error):
                records.write_failure(folder, experiment.cell, str(error))
            raise


def processes(experiment: Experiment, given: int | None) -> int:
    """The number of processes of a training.

    Raises:
        ConfigError: if a number other than the one prescribed by the loss is given.
    """
    if experiment.processes and given not in (None, experiment.processes):
        raise ConfigError(
            f"{experiment.cell}: its loss is defined for {experiment.processes} processes, got --processes {given}"
        )
    return experiment.processes or given or 1


def train_here(experiment: Experiment, results: Path, arguments: argparse.Namespace) -> None:
    """Train a cell in this process, which may be one of several."""
    import torch

    from segloss.engine.cell import Machine, run_cell

    device = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda needs a GPU that torch can use; this machine has none: use --device cpu")
    workers = arguments.workers if arguments.workers is not None else (0 if device == "cpu" else 4)
    machine = Machine(
        device,
        max(1, arguments.threads // arguments.processes),
        workers,
        arguments.checkpoint_seconds,
        precision=arguments.precision,
        channels_last=arguments.channels_last,
        compiled=arguments.compile,
        fused=arguments.fused,
    )
    record = run_cell(experiment, results, data_root(arguments), machine)
    if os.environ.get("RANK", "0") == "0":
        print(f"{experiment.cell}  {records.headline(record)}  {record['seconds']:.0f} s")
