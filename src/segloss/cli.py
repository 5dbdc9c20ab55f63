"""The command line: ``segloss <verb>``. Only the verbs that train import torch and MMSegmentation."""

import argparse
import os
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from segloss import __version__, records
from segloss.arguments import ARGUMENTS
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
from segloss.grid.data import known_fingerprints, sources
from segloss.grid.listing import KINDS, listing
from segloss.grid.weights import describe, find_weights, require_weights
from segloss.records import RecordError, progress
from segloss.records.plan import all_experiments, format_outline, format_plan
from segloss.records.run_lock import run_lock
from segloss.runtime import forkserver
from segloss.runtime.leases import LeaseError, lease
from segloss.runtime.torchrun import launch, under_torchrun

# Options whose values are paths; a relative one is relative to the folder in which the command was typed.
PATHS = ("results", "data_root", "output", "table", "folder", "published", "first", "second", "report")


def find_root(start: Path) -> Path:
    """The checkout of segloss that contains a folder: the nearest with a Snakefile and configs/.

    Raises:
        ConfigError: if there is none.
    """
    for folder in (start, *start.parents):
        if (folder / "configs" / "grids").is_dir() and (folder / "Snakefile").is_file():
            return folder
    raise ConfigError(f"no checkout of segloss at {start} or above it: run this in one or name it by --root")


def enter_root(arguments: argparse.Namespace) -> None:
    """Make the checkout the working directory; typed paths keep their meaning."""
    for name in PATHS:
        if (value := getattr(arguments, name, None)) is not None:
            setattr(arguments, name, Path(value).expanduser().absolute())
    grid = getattr(arguments, "grid", None)
    if grid is not None and grid.endswith((".yaml", ".yml")):
        arguments.grid = os.path.relpath(Path(grid).expanduser().absolute(), start := find_root_of(arguments))
        os.chdir(start)
        return
    os.chdir(find_root_of(arguments))


def find_root_of(arguments: argparse.Namespace) -> Path:
    """The checkout named by --root, else the one around the working directory."""
    return find_root(Path(arguments.root).expanduser().absolute() if arguments.root else Path.cwd())


def default_data_root() -> Path:
    """The folder of the data sets: SEGLOSS_DATA, else data/."""
    return Path(os.environ.get("SEGLOSS_DATA") or "data").expanduser()


def data_root(arguments: argparse.Namespace) -> Path:
    """The folder of the data sets: --data-root, else the default."""
    return arguments.data_root or default_data_root()


def results_folder(arguments: argparse.Namespace) -> Path:
    """The folder of the cells: --results, else results/.

    Raises:
        ConfigError: if it is something else than a folder.
    """
    results = arguments.results or Path("results")
    if (results.exists() or results.is_symlink()) and not results.is_dir():
        raise ConfigError(
            f"--results {results} must be a folder, got {'a file' if results.exists() else 'a broken link'}"
        )
    return results


def prepare(arguments: argparse.Namespace) -> None:
    """Make, fetch or verify a data set; or list data sets, or the pretrained weights of a grid."""
    if arguments.list:
        print(list_datasets(data_root(arguments)))
        return
    if arguments.weights:
        list_weights(load_grid(arguments.weights, Configs()))
        return
    if arguments.dataset is None:
        raise DatasetError(f"expected a data set, --list or --weights GRID; data sets: {', '.join(DATASETS)}")
    description = Path("configs") / "datasets" / f"{arguments.dataset}.yaml"
    dataset = add_described(description) if description.is_file() else find(arguments.dataset)
    folder = dataset.prepare(root_of(arguments.dataset, data_root(arguments)))
    if dataset.generated:  # all others are verified where they are fetched or found
        dataset.verify(folder)
    print(f"{dataset.name} is in {folder}")


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
    name = arguments.name or arguments.folder.name
    file, sheet = new_dataset(arguments.folder, Path("configs") / "datasets" / f"{name}.yaml")
    print(f"{file}: look it over; grids can name the data set {file.stem}\n{sheet}: five images with their labels")


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
    for source in sources(experiment):
        if not find(source).generated:
            locate(source, data_root(arguments))
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
        metrics = "  ".join(f"{name} {record['metrics'][name]:.2f}" for name in ("mIoU", "ECE"))
        print(f"{experiment.cell}  {metrics}  {record['seconds']:.0f} s")


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
    if arguments.output.is_dir():
        raise RecordError(f"--output {arguments.output} must be a file, got a folder")
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
    words = sys.argv[1:]
    if words[:1] == ["train"]:
        words[1:1] = shlex.split(os.environ.get("SEGLOSS_TRAIN", ""))
    return words


def main() -> None:
    """Run a verb; errors that a user can repair end in one sentence."""
    # Read when torch is imported: OpenMP's threads then sleep, not spin, while they wait on a machine that is shared.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    arguments = build_parser().parse_args(command_line())
    if arguments.run is train:
        forkserver.run_in_server(sys.argv[1:])
    try:
        enter_root(arguments)
        arguments.run(arguments)
    except (ConfigError, DatasetError, LeaseError, RecordError) as error:
        sys.exit(f"segloss: {error}")
    except BrokenPipeError:  # the reader of a pipe, such as head, has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
