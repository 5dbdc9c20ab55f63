"""The verbs on the records of a grid: status, tables, reports, comparisons, cleaning, and W&B."""

import argparse
import time
from pathlib import Path

from segloss import records
from segloss.cli.paths import data_root, results_folder
from segloss.grid import Cell, Configs, load_grid
from segloss.grid.data import known_fingerprints
from segloss.records import RecordError


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
            "--partial collects the finished cells and lists the others"
        )
    write_text(arguments.output, table.to_csv(index=False))


def report(arguments: argparse.Namespace) -> None:
    """Write the tables and pictures of a grid from its results.csv."""
    from segloss import reports

    grid, data = load_grid(arguments.grid, Configs()), data_root(arguments)
    fingerprints = known_fingerprints(grid.evaluated, data)
    reports.report(grid, arguments.table, results_folder(arguments), data, fingerprints)


def table(arguments: argparse.Namespace) -> None:
    """Print a table of a grid in the layout of a paper, from its results.csv."""
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
    """Write what the grids show about each claim in configs/claims.yaml."""
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
        raise RecordError(f"{report / 'results.csv'} does not exist: segloss collect and segloss report write it")
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
