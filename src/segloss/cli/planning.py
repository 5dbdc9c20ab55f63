"""The verbs used before a training: names, data sets, weights, plans."""

import argparse
import re
from contextlib import suppress
from pathlib import Path

from segloss.cli.paths import data_root, results_folder
from segloss.datasets import DATASETS, DatasetError, add_described, find, list_datasets, new_dataset, root_of
from segloss.grid import Configs, Grid, load_grid
from segloss.grid.cells import is_name
from segloss.grid.listing import KINDS, listing
from segloss.grid.weights import describe, find_weights
from segloss.records.plan import all_experiments, format_outline, format_plan


def prepare(arguments: argparse.Namespace) -> None:
    """Make, fetch or verify a data set; or list data sets, or the pretrained weights of a grid."""
    described = Path("configs") / "datasets"
    if arguments.list:
        add_all_described(described)
        print(list_datasets(data_root(arguments)))
        return
    if arguments.weights is not None:
        list_weights(load_grid(arguments.weights, Configs()))
        return
    if arguments.dataset is None:
        raise DatasetError(f"expected a data set, --list or --weights GRID; data sets: {', '.join(DATASETS)}")
    if (description := described / f"{arguments.dataset}.yaml").is_file():
        add_described(description)
    elif arguments.dataset not in DATASETS:
        with suppress(DatasetError):  # only for the error that lists all names
            add_all_described(described)
    dataset = find(arguments.dataset)
    folder = dataset.prepare(root_of(arguments.dataset, data_root(arguments)))
    if dataset.generated:  # all others are verified when they are fetched or found
        dataset.verify(folder)
    counts = ", ".join(f"{split} {len(dataset.read_list(folder, split))}" for split in dataset.splits)
    print(f"{dataset.name} is in {folder}; images: {counts}")


def add_all_described(folder: Path) -> None:
    """Register the data sets that the YAML files of a folder describe."""
    for file in sorted(folder.glob("*.yaml")):
        add_described(file)


def list_weights(grid: Grid) -> None:
    """Print the pretrained weights of a grid: their files, or where to get them."""
    entries = dict.fromkeys(entry.pretrained for entry in all_experiments(grid) if entry.pretrained)
    for entry in entries:
        path = find_weights(entry)
        print(f"ready: {path}" if path else f"missing: {describe(entry)}")
    if not entries:
        print(f"{grid.name} trains all models from scratch")


def new(arguments: argparse.Namespace) -> None:
    """Describe a folder of images and labels: write configs/datasets/<name>.yaml and a contact sheet of five pairs."""
    name = re.sub("[^A-Za-z0-9_-]+", "-", arguments.folder.name) if arguments.name is None else arguments.name
    if not is_name(name) or name in DATASETS:
        taken = "that of a data set of segloss" if name in DATASETS else "no name"
        raise DatasetError(
            f"{name!r} is {taken}: choose another with --name, of letters, digits and ._+-, the first a letter or digit"
        )
    file, sheet = new_dataset(arguments.folder, Path("configs") / "datasets" / f"{name}.yaml")
    print(f"{file}: name the classes and check void, split and size")
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
