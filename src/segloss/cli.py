"""What a person can type: ``segloss <verb>``. Only the verbs that train import torch and MMSegmentation."""

import argparse
import os
import shlex
import sys
from pathlib import Path

from segloss import grid, records
from segloss.datasets import DATASETS, DatasetError, locate, root_of
from segloss.grid import Cell, configs
from segloss.grid.configs import ConfigError
from segloss.records import progress
from segloss.records.run_lock import attempt
from segloss.records.verification import RecordError
from segloss.runtime import forkserver
from segloss.runtime.leases import LeaseError, lease
from segloss.runtime.torchrun import is_one_of_several, launch


def data_root(arguments: argparse.Namespace) -> Path:
    """The folder of the data sets: --data-root, else SEGLOSS_DATA, else data/."""
    return Path(arguments.data_root or os.environ.get("SEGLOSS_DATA") or "data")


def prepare(arguments: argparse.Namespace) -> None:
    """Make, fetch or verify a data set."""
    root = root_of(arguments.dataset, data_root(arguments))
    dataset = DATASETS[arguments.dataset]
    folder = dataset.prepare(root)
    dataset.verify(folder)
    print(f"{dataset.name} is in {folder}")


def train(arguments: argparse.Namespace) -> None:
    """Train and evaluate one cell."""
    cell = Cell.parse(arguments.cell)
    grid.settings(cell)
    if reason := grid.why_skipped(cell):
        raise ConfigError(f"{cell} makes no sense: {reason}")
    source = configs.dataset_source(cell.dataset)
    if not DATASETS[source].generated:
        locate(source, data_root(arguments))
    folder = arguments.results / str(cell)
    if is_one_of_several():  # the process that started them holds the locks
        train_here(cell, arguments)
        return
    with attempt(folder) as waited:
        if waited and records.is_done(cell, folder):
            print(f"{cell}  another process has finished it")
            return
        progress.tell(folder, "waiting")
        if arguments.device == "cpu":
            os.environ["CUDA_VISIBLE_DEVICES"] = ""  # MMEngine takes a GPU wherever it sees one
        with lease(arguments.processes, arguments.cells_per_gpu):
            progress.tell(folder, "starting")
            if arguments.processes == 1:
                train_here(cell, arguments)
            elif status := launch(sys.argv[1:], arguments.processes):
                sys.exit(status)


def train_here(cell: Cell, arguments: argparse.Namespace) -> None:
    """Train a cell in this process, which may be one of several."""
    import torch

    from segloss.engine.cell import Machine, run_cell

    device = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    workers = arguments.workers if arguments.workers is not None else (0 if device == "cpu" else 4)
    machine = Machine(
        device,
        arguments.threads,
        workers,
        arguments.checkpoint_seconds,
        precision=arguments.precision,
        channels_last=arguments.channels_last,
        compiled=arguments.compile,
        fused=arguments.fused,
    )
    record = run_cell(cell, arguments.results, data_root(arguments), machine)
    if os.environ.get("RANK", "0") == "0":
        shown = "  ".join(f"{name} {record['metrics'][name]:.2f}" for name in ("mIoU", "ECE"))
        print(f"{cell}  {shown}  {record['seconds']:.0f} s")


def status(arguments: argparse.Namespace) -> None:
    """Show what a grid's cells are doing, how fast, and how long it will take."""
    from segloss.records.status import look, show

    asked = grid.load_grid(arguments.grid)
    print(show(asked, look(asked, arguments.results), every=arguments.cells))


def collect(arguments: argparse.Namespace) -> None:
    """Put the records of a grid together into results.csv."""
    from segloss.files import write_text

    asked = grid.load_grid(arguments.grid)
    table = records.collect(asked, arguments.results)
    absent = table[table.status.isin(["failed", "blocked", "missing"])]
    if len(absent) and not arguments.partial:
        first = absent.iloc[0]
        raise RecordError(
            f"{len(absent)} cells of {asked.name} have no record, "
            f"the first is {Cell(*first.iloc[:6])} ({first.status}: {first.reason}); "
            "--partial collects what is there and shows what is not"
        )
    write_text(arguments.output, table.to_csv(index=False))


def report(arguments: argparse.Namespace) -> None:
    """Write the tables and pictures of a grid from its results.csv."""
    import pandas as pd

    from segloss.reports import write_report

    asked = grid.load_grid(arguments.grid)
    folder = arguments.table.parent
    if arguments.table.read_text(encoding="utf-8") != records.collect(asked, arguments.results).to_csv(index=False):
        raise RecordError(f"{arguments.table} is not what the records say: damaged, or older; collect it anew")
    write_report(asked, pd.read_csv(arguments.table), arguments.results, data_root(arguments), folder)


def sync(arguments: argparse.Namespace) -> None:
    """Send what W&B recorded offline."""
    from segloss import tracking

    if tracking.sync(arguments.results):
        raise SystemExit(1)


def parser() -> argparse.ArgumentParser:
    """The verbs and their options."""
    main = argparse.ArgumentParser(
        prog="segloss", description="Train, evaluate and tabulate segmentation losses; run it in the repository's root."
    )
    verbs = main.add_subparsers(required=True, metavar="verb")
    for function in (prepare, train, status, collect, report, sync):
        verb = verbs.add_parser(function.__name__, help=function.__doc__, description=function.__doc__)
        verb.set_defaults(run=function)
        if function in (status, collect, report):
            verb.add_argument("grid", help="a name in configs/grids or the path of a grid file")
        if function in (train, status, collect, report, sync):
            verb.add_argument(
                "--results", type=Path, default=Path("results"), help="folder of the cells (default: results)"
            )
        if function in (prepare, train, report):
            verb.add_argument("--data-root", help="folder of the data sets (default: $SEGLOSS_DATA, else data)")
        if function is prepare:
            verb.add_argument("dataset", help=f"one of {', '.join(DATASETS)}")
        if function is train:
            verb.add_argument("cell", help="<dataset>/<model>/<schedule>/<labels>/<loss>/seed<k>")
            verb.add_argument("--device", choices=("cpu", "cuda"), help="default: the GPU if there is one")
            verb.add_argument(
                "--cells-per-gpu",
                type=int,
                default=os.environ.get("SEGLOSS_CELLS_PER_GPU", "1"),
                help="cells that may share a GPU (default: $SEGLOSS_CELLS_PER_GPU, else 1)",
            )
            share = "processes that share each batch, one GPU each where there are GPUs (default: 1)"
            verb.add_argument("--processes", type=int, default=1, help=share)
            verb.add_argument("--threads", type=int, default=1, help="CPU threads of a process (default: 1)")
            verb.add_argument(
                "--precision",
                choices=("fp32", "bf16", "fp16"),
                default="fp32",
                help="of the training's forward and backward pass; evaluation is in fp32 (default: fp32)",
            )
            verb.add_argument("--channels-last", action="store_true", help="keep weights and images channels last")
            verb.add_argument("--compile", action="store_true", help="compile the backbone with torch.compile")
            verb.add_argument("--fused", action="store_true", help="take the optimiser's fused implementation")
            loading = "processes that load data, without effect on the result (default: 0 on a CPU, 4 beside a GPU)"
            verb.add_argument("--workers", type=int, help=loading)
            verb.add_argument(
                "--checkpoint-seconds",
                type=float,
                default=30,
                help="time between saves of the training's state (default: 30)",
            )
        if function is status:
            verb.add_argument("--cells", action="store_true", help="list every cell with its state")
        if function is collect:
            verb.add_argument("--output", type=Path, required=True, help="where results.csv goes")
            verb.add_argument("--partial", action="store_true", help="accept cells without a record, and show them")
        if function is report:
            verb.add_argument("table", type=Path, help="results.csv; the report is written beside it")
    return main


def typed() -> list[str]:
    """The command line; behind ``train`` the machine's options of SEGLOSS_TRAIN come first, so that typed ones win."""
    words = sys.argv[1:]
    if words[:1] == ["train"]:
        words[1:1] = shlex.split(os.environ.get("SEGLOSS_TRAIN", ""))
    return words


def main() -> None:
    """Run a verb; what the user can mend ends in one sentence."""
    arguments = parser().parse_args(typed())
    if arguments.run is train:
        forkserver.delegate(sys.argv[1:])
    try:
        arguments.run(arguments)
    except (ConfigError, DatasetError, LeaseError, RecordError) as error:
        sys.exit(f"segloss: {error}")
