"""The command line: ``segloss <verb>``. Only the verbs that train import torch and MMSegmentation."""

import argparse
import os
import re
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from segloss import __version__, records
from segloss.arguments import ARGUMENTS
from segloss.checkout import check_folder, enter_root, typed_path
from segloss.datasets import (
    DATASETS,
    DatasetError,
    add_described,
    find,
    list_datasets,
    locate,
    new_dataset,
    root_of,
)
from segloss.grid import Cell, ConfigError, Configs, Experiment, Grid, load_grid, resolve
from segloss.grid.cells import is_name
from segloss.grid.data import known_fingerprints, sources
from segloss.grid.listing import KINDS, listing
from segloss.grid.weights import describe, find_weights, require_weights
from segloss.records import RecordError, progress
from segloss.records.plan import all_experiments, format_outline, format_plan
from segloss.records.run_lock import run_lock
from segloss.runtime import forkserver
from segloss.runtime.leases import LeaseError, lease
from segloss.runtime.torchrun import launch, under_torchrun


def default_data_root() -> Path:
    """The folder of the data sets: SEGLOSS_DATA, else data/.

    Raises:
        ConfigError: if it is something else than a folder.
    """
    folder = typed_path("SEGLOSS_DATA", os.environ.get("SEGLOSS_DATA") or "data")
    check_folder("SEGLOSS_DATA", folder)
    return folder


def data_root(arguments: argparse.Namespace) -> Path:
    """The folder of the data sets: --data-root, else the default."""
    return arguments.data_root or default_data_root()


def results_folder(arguments: argparse.Namespace) -> Path:
    """The folder of the cells: --results, else results/.

    Raises:
        ConfigError: if it is something else than a folder.
    """
    results = arguments.results or Path("results")
    check_folder("--results", results)
    return results


def prepare(arguments: argparse.Namespace) -> None:
    """Make, fetch or verify a data set; or list data sets, or the pretrained weights of a grid."""
    if arguments.list:
        print(list_datasets(data_root(arguments)))
        return
    if arguments.weights is not None:
        list_weights(load_grid(arguments.weights, Configs()))
        return
    if arguments.dataset is None:
        raise DatasetError(f"expected a data set, --list or --weights GRID; data sets: {', '.join(DATASETS)}")
    description = Path("configs") / "datasets" / f"{arguments.dataset}.yaml"
    dataset = add_described(description) if description.is_file() else find(arguments.dataset)
    folder = dataset.prepare(root_of(arguments.dataset, data_root(arguments)))
    if dataset.generated:  # all others are verified where they are fetched or found
        dataset.verify(folder)
    counts = ", ".join(f"{split} {len(dataset.read_list(folder, split))}" for split in dataset.splits)
    print(f"{dataset.name} is in {folder}; images: {counts}")


def list_weights(grid: Grid) -> None:
    """Print the pretrained weights of a grid: their files, or where to get them."""
    entries = dict.fromkeys(entry.pretrained for entry in all_experiments(grid) if entry.pretrained)
    for entry in entries:
        path = find_weights(entry)
        print(f"ready: {path}" if path else f"missing: {describe(entry)}")
    if not entries:
        print(f"{grid.name} trains all models from scratch")


def new(arguments: argparse.Namespace) -> None:
    """Describe a folder of images and labels as a data set: writes configs/datasets/<name>.yaml and five pairs."""
    name = re.sub("[^A-Za-z0-9_-]+", "-", arguments.folder.name) if arguments.name is None else arguments.name
    if not is_name(name) or name in DATASETS:
        taken = "that of a data set of segloss" if name in DATASETS else "no name"
        raise DatasetError(
            f"{name!r} is {taken}: choose another with --name, of letters, digits and ._+-, the first a letter or digit"
        )
    file, sheet = new_dataset(arguments.folder, Path("configs") / "datasets" / f"{name}.yaml")
    print(f"{file}: give the classes their names and look over void, split and size")
    print(f"{sheet}: five images with their labels")
    print(f"then: segloss prepare {file.stem}; a grid file names the data set {file.stem}")


def list_names(arguments: argparse.Namespace) -> None:
    """List grids, data sets, models, schedules, label scenarios and losses, a line each."""
    print(listing(Configs(), (arguments.kind,) if arguments.kind else tuple(KINDS)))


def plan(arguments: argparse.Namespace) -> None:
    """Show a grid before it runs: cells, dependencies, hours, disk and what must be downloaded."""
    configs = Configs()
    grid = load_grid(arguments.grid, configs)
    if arguments.from_scratch:
        print(format_outline(grid, configs))
    else:
        print(format_plan(grid, configs, results_folder(arguments), data_root(arguments)))


def train(arguments: argparse.Namespace) -> None:
    """Train and evaluate one cell."""
    experiment = resolve(Cell.parse(arguments.cell), Configs())
    if experiment.not_applicable:
        raise ConfigError(f"{experiment.cell} is not applicable: {experiment.not_applicable}")
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
        except (ConfigError, LeaseError) as error:  # raised before the training, which records its own failures
            if records.failure_reason(experiment.cell, results) != str(error):
                records.write_failure(folder, experiment.cell, str(error))
            raise


def train_here(experiment: Experiment, results: Path, arguments: argparse.Namespace) -> None:
    """Train a cell in this process, which may be one of several."""
    import torch

    from segloss.engine.cell import Machine, run_cell

    device = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "--device cuda needs a GPU that torch can use; this machine has none, --device cpu trains here"
        )
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
    record = run_cell(experiment, results, data_root(arguments), machine)
    if os.environ.get("RANK", "0") == "0":
        print(f"{experiment.cell}  {records.headline(record)}  {record['seconds']:.0f} s")


def status(arguments: argparse.Namespace) -> None:
    """Show the state of a grid's cells, their speed, and the time left."""
    from segloss.records.status import format_grid, grid_status

    grid, results = load_grid(arguments.grid, Configs()), results_folder(arguments)
    prints = known_fingerprints(grid.evaluated, data_root(arguments))
    while True:
        text = format_grid(grid, grid_status(grid, results, prints), every=arguments.cells)
        print(f"\033[H\033[2J{text}" if arguments.watch else text, flush=True)
        if not arguments.watch:
            return
        time.sleep(arguments.watch)


def collect(arguments: argparse.Namespace) -> None:
    """Collect the records of a grid into results.csv."""
    from segloss.files import write_text

    grid = load_grid(arguments.grid, Configs())
    table = records.collect(grid, results_folder(arguments), known_fingerprints(grid.evaluated, data_root(arguments)))
    absent = table[~table.status.isin(["done", "skipped"])]
    if len(absent) and not arguments.partial:
        first = absent.iloc[0]
        raise RecordError(
            f"{len(absent)} cells of {grid.name} have no current record, "
            f"the first is {Cell(*first.iloc[:6])} ({first.status}: {first.reason}); "
            "--partial collects what there is and lists the others"
        )
    write_text(arguments.output, table.to_csv(index=False))


def report(arguments: argparse.Namespace) -> None:
    """Write the tables and pictures of a grid from its results.csv."""
    from segloss import reports

    grid, data = load_grid(arguments.grid, Configs()), data_root(arguments)
    fingerprints = known_fingerprints(grid.evaluated, data)
    reports.report(grid, arguments.table, results_folder(arguments), data, fingerprints)


def table(arguments: argparse.Namespace) -> None:
    """Print a table of a grid as a paper prints it, from its results.csv."""
    from segloss.files import write_text
    from segloss.reports.table_command import make_table

    grid = load_grid(arguments.grid, Configs())
    text = make_table(
        grid,
        arguments.table or Path("reports") / grid.name / "results.csv",
        results_folder(arguments),
        rows=arguments.rows,
        columns=[axis for axis in arguments.columns.split(",") if axis],
        metrics=arguments.metrics.split(","),
        spread=arguments.spread,
        form=arguments.format,
        only={axis: names.split(",") for axis, _, names in (entry.partition("=") for entry in arguments.only)},
        published=arguments.published,
        width=arguments.width,
    )
    if arguments.output:
        write_text(arguments.output, text)
    else:
        print(text, end="")


def findings(arguments: argparse.Namespace) -> None:
    """Write what the grids show of each claim in configs/claims.yaml."""
    from segloss.files import write_text
    from segloss.reports.findings import findings

    write_text(arguments.output or Path("reports") / "README.md", findings(Configs(), results_folder(arguments)))


def compare(arguments: argparse.Namespace) -> None:
    """Compare two results folders: which numbers differ beyond their intervals."""
    from segloss.reports.compare import compare_folders

    print(compare_folders(arguments.first, arguments.second), end="")


def dashboard(arguments: argparse.Namespace) -> None:
    """Write a grid's results table and report as one W&B run, which ``segloss sync`` sends."""
    from segloss import tracking

    grid = load_grid(arguments.grid, Configs())
    report = arguments.report or Path("reports") / grid.name
    if not (report / "results.csv").is_file():
        raise RecordError(f"{report / 'results.csv'} is not there: segloss collect and segloss report write it")
    records.read_table(report / "results.csv", grid)
    print(f"{tracking.write_dashboard(grid, report, results_folder(arguments))}: segloss sync sends it")
    print(tracking.format_dashboard(grid))


def clean(arguments: argparse.Namespace) -> None:
    """Show the weights and checkpoints of a grid that nothing needs any more; --yes removes them."""
    from segloss.records.clean import format_removable, removable, remove

    configs = Configs()
    grid = load_grid(arguments.grid, configs)
    fingerprints = known_fingerprints(grid.evaluated, data_root(arguments))
    files, kept = removable(grid, configs, results_folder(arguments), fingerprints)
    if arguments.yes:
        remove(files)
    print(format_removable(files, kept, removed=arguments.yes))


def sync(arguments: argparse.Namespace) -> None:
    """Send the runs that W&B recorded offline."""
    from segloss import tracking

    if tracking.sync(results_folder(arguments)):
        raise SystemExit(1)


VERBS = {
    "list": list_names,
    "prepare": prepare,
    "new": new,
    "plan": plan,
    "train": train,
    "status": status,
    "collect": collect,
    "report": report,
    "table": table,
    "findings": findings,
    "compare": compare,
    "clean": clean,
    "dashboard": dashboard,
    "sync": sync,
}


def build_parser() -> argparse.ArgumentParser:
    """The parser of all verbs."""
    parser = argparse.ArgumentParser(prog="segloss", description="Train, evaluate and tabulate segmentation losses.")
    parser.add_argument("--version", action="version", version=f"segloss {__version__}")
    verbs = parser.add_subparsers(required=True, metavar="verb")
    for name, function in VERBS.items():
        verb = verbs.add_parser(name, help=function.__doc__, description=function.__doc__)
        verb.set_defaults(run=function)
        verb.add_argument("--root", help="a checkout of segloss (default: the one around the working directory)")
        ARGUMENTS[name](verb)
    return parser


def command_line() -> Sequence[str]:
    """The typed arguments; those of SEGLOSS_TRAIN come right after ``train``, so that typed ones override them."""
    words, options = sys.argv[1:], os.environ.get("SEGLOSS_TRAIN", "")
    if words[:1] == ["train"]:
        try:
            words[1:1] = shlex.split(options)
        except ValueError as error:
            raise ConfigError(f"SEGLOSS_TRAIN={options!r} is no list of options: {error}") from None
    return words


def main() -> None:
    """Run a verb; errors that a user can repair end in one sentence."""
    # Read when torch is imported: OpenMP's threads then sleep, not spin, while they wait on a machine that is shared.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        arguments = build_parser().parse_args(command_line())
        if arguments.run is train:
            forkserver.run_in_server(sys.argv[1:])
        enter_root(arguments)
        arguments.run(arguments)
    except (ConfigError, DatasetError, LeaseError, RecordError) as error:
        sys.exit(f"segloss: {error}")
    except BrokenPipeError:  # the reader of a pipe, such as head, has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:  # of a file system: no permission, no space, a file where a folder is expected
        if error.errno is None:
            raise
        sys.exit(f"segloss: {f'{error.filename}: ' if error.filename else ''}{error.strerror}")
