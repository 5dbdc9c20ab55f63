"""The command line: ``segloss <verb>``. Only the verbs that train import torch and MMSegmentation."""

import argparse
import os
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from segloss import __version__, records
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
from segloss.records.plan import all_experiments, format_plan
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
    print(format_plan(load_grid(arguments.grid, Configs()), results_folder(arguments), data_root(arguments)))


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
        with lease(arguments.processes, arguments.cells_per_gpu):
            progress.write(folder, "starting")
            if arguments.processes == 1:
                train_here(experiment, results, arguments)
            elif status := launch(sys.argv[1:], arguments.processes):
                sys.exit(status)


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
    prints = known_fingerprints(grid.experiments, data_root(arguments))
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
    table = records.collect(grid, results_folder(arguments), known_fingerprints(grid.experiments, data_root(arguments)))
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
    fingerprints = known_fingerprints(grid.experiments, data)
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
    fingerprints = known_fingerprints(grid.experiments, data_root(arguments))
    files, kept = removable(grid, configs, results_folder(arguments), fingerprints)
    if arguments.yes:
        remove(files)
    print(format_removable(files, kept, removed=arguments.yes))


def sync(arguments: argparse.Namespace) -> None:
    """Send the runs that W&B recorded offline."""
    from segloss import tracking

    if tracking.sync(results_folder(arguments)):
        raise SystemExit(1)


Parser = argparse.ArgumentParser


def add_grid(parser: Parser) -> None:
    """The argument of verbs that take a grid."""
    parser.add_argument("grid", help="a name in configs/grids or the path of a grid file")


def add_results(parser: Parser) -> None:
    """The option of verbs that read or write cells."""
    parser.add_argument("--results", help="folder of the cells (default: results)")


def add_data_root(parser: Parser) -> None:
    """The option of verbs that read data sets."""
    parser.add_argument("--data-root", help="folder of the data sets (default: $SEGLOSS_DATA, else data)")


def prepare_options(parser: Parser) -> None:
    """The arguments of ``segloss prepare``."""
    parser.add_argument("dataset", nargs="?", help=f"one of {', '.join(DATASETS)}")
    parser.add_argument("--list", action="store_true", help="list all data sets: ready or not, size, terms")
    parser.add_argument("--weights", metavar="GRID", help="list the pretrained weights of a grid")
    add_data_root(parser)


def new_options(parser: Parser) -> None:
    """The arguments of ``segloss new``."""
    parser.add_argument("kind", choices=("dataset",), help="dataset: describe a folder of images and labels")
    parser.add_argument("folder", help="the folder")
    parser.add_argument("--name", help="name of the data set (default: that of the folder)")


def list_options(parser: Parser) -> None:
    """The arguments of ``segloss list``."""
    parser.add_argument("kind", nargs="?", choices=tuple(KINDS), help="only names of this kind (default: all)")


def plan_options(parser: Parser) -> None:
    """The arguments of ``segloss plan``."""
    add_grid(parser)
    add_results(parser)
    add_data_root(parser)


def train_options(parser: Parser) -> None:
    """The arguments of ``segloss train``."""
    parser.add_argument("cell", help="<dataset>/<model>/<schedule>/<labels>/<loss>/seed<k>")
    add_results(parser)
    add_data_root(parser)
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: the GPU if there is one")
    parser.add_argument(
        "--cells-per-gpu",
        type=int,
        default=os.environ.get("SEGLOSS_CELLS_PER_GPU", "1"),
        help="cells that may share a GPU (default: $SEGLOSS_CELLS_PER_GPU, else 1)",
    )
    parser.add_argument(
        "--processes",
        type=int,
        default=1,
        help="processes that share each batch, with a GPU each if there are GPUs (default: 1)",
    )
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of a process (default: 1)")
    parser.add_argument(
        "--precision",
        choices=("fp32", "bf16", "fp16"),
        default="fp32",
        help="precision of the training's forward and backward pass; evaluation uses fp32 (default: fp32)",
    )
    parser.add_argument("--channels-last", action="store_true", help="use the channels-last memory format")
    parser.add_argument("--compile", action="store_true", help="compile the backbone with torch.compile")
    parser.add_argument("--fused", action="store_true", help="use the optimiser's fused implementation")
    parser.add_argument(
        "--workers", type=int, help="data loading processes; they change no result (default: 0 on a CPU, 4 with a GPU)"
    )
    parser.add_argument(
        "--checkpoint-seconds", type=float, default=30, help="time between two checkpoints (default: 30)"
    )


def status_options(parser: Parser) -> None:
    """The arguments of ``segloss status``."""
    add_grid(parser)
    add_results(parser)
    add_data_root(parser)
    parser.add_argument("--cells", action="store_true", help="list every cell with its state")
    parser.add_argument(
        "--watch",
        type=float,
        nargs="?",
        const=5.0,
        metavar="SECONDS",
        help="refresh (default: every 5 s)",
    )


def collect_options(parser: Parser) -> None:
    """The arguments of ``segloss collect``."""
    add_grid(parser)
    add_results(parser)
    add_data_root(parser)
    parser.add_argument("--output", required=True, help="results.csv to write")
    parser.add_argument("--partial", action="store_true", help="accept cells without a record, and list them")


def report_options(parser: Parser) -> None:
    """The arguments of ``segloss report``."""
    add_grid(parser)
    parser.add_argument("table", help="results.csv; the report is written beside it")
    add_results(parser)
    add_data_root(parser)


def table_options(parser: Parser) -> None:
    """The arguments of ``segloss table``."""
    add_grid(parser)
    parser.add_argument("--table", help="its results.csv (default: reports/<grid>/results.csv)")
    add_results(parser)
    parser.add_argument(
        "--rows",
        default="loss",
        help="the axis down: dataset, model, schedule, labels or loss, or loss.<option> or labels.<option> for an "
        "ablation (default: loss)",
    )
    parser.add_argument("--columns", default="dataset,labels", help="axes across (default: dataset,labels)")
    parser.add_argument(
        "--metrics",
        default="paper",
        help="metrics, or sets of them: paper, calibration, soft, levels, worst, classes (default: paper)",
    )
    parser.add_argument("--style", choices=("paper",), default="paper", help="the layout (default: paper)")
    parser.add_argument("--format", choices=("latex", "markdown", "csv"), default="latex", help="default: latex")
    parser.add_argument(
        "--spread",
        choices=("sd", "interval", "none"),
        default="sd",
        help="standard deviation over seeds, 95 %% interval, or none (default: sd)",
    )
    parser.add_argument(
        "--only", action="append", default=[], metavar="AXIS=NAME,...", help="keep these values of an axis; repeatable"
    )
    parser.add_argument(
        "--published",
        nargs="?",
        const="known",
        help="print published numbers beside: those that come with segloss, or of a CSV file (axes, metric, value)",
    )
    parser.add_argument("--width", type=float, default=397, help="width of the text in points for LaTeX (default: 397)")
    parser.add_argument("--output", help="file to write (default: the terminal)")


def compare_options(parser: Parser) -> None:
    """The arguments of ``segloss compare``."""
    parser.add_argument("first", help="a results folder")
    parser.add_argument("second", help="another results folder")


def dashboard_options(parser: Parser) -> None:
    """The arguments of ``segloss dashboard``."""
    add_grid(parser)
    add_results(parser)
    parser.add_argument("--report", help="folder of the grid's report (default: reports/<grid>)")


def clean_options(parser: Parser) -> None:
    """The arguments of ``segloss clean``."""
    add_grid(parser)
    add_results(parser)
    add_data_root(parser)
    parser.add_argument("--yes", action="store_true", help="remove the files (default: show them)")


def sync_options(parser: Parser) -> None:
    """The arguments of ``segloss sync``."""
    add_results(parser)


VERBS = {
    "list": (list_names, list_options),
    "prepare": (prepare, prepare_options),
    "new": (new, new_options),
    "plan": (plan, plan_options),
    "train": (train, train_options),
    "status": (status, status_options),
    "collect": (collect, collect_options),
    "report": (report, report_options),
    "table": (table, table_options),
    "compare": (compare, compare_options),
    "clean": (clean, clean_options),
    "dashboard": (dashboard, dashboard_options),
    "sync": (sync, sync_options),
}


def build_parser() -> Parser:
    """The parser of all verbs."""
    parser = argparse.ArgumentParser(prog="segloss", description="Train, evaluate and tabulate segmentation losses.")
    parser.add_argument("--version", action="version", version=f"segloss {__version__}")
    verbs = parser.add_subparsers(required=True, metavar="verb")
    for name, (function, add_options) in VERBS.items():
        verb = verbs.add_parser(name, help=function.__doc__, description=function.__doc__)
        verb.set_defaults(run=function)
        verb.add_argument("--root", help="a checkout of segloss (default: the one around the working directory)")
        add_options(verb)
    return parser


def command_line() -> Sequence[str]:
    """The typed arguments; those of SEGLOSS_TRAIN come right after ``train``, so that typed ones override them."""
    words = sys.argv[1:]
    if words[:1] == ["train"]:
        words[1:1] = shlex.split(os.environ.get("SEGLOSS_TRAIN", ""))
    return words


def main() -> None:
    """Run a verb; errors that a user can repair end in one sentence."""
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
