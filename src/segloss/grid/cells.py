"""From the files in configs/ to the cells of a grid, and why others are left out. Imports no torch.

A cell is one point of the grid. Its path is its name, ``<dataset>/<model>/<schedule>/<labels>/<loss>/seed<k>``, and the
name says everything: what a cell does follows from its name and the files in configs/, whichever grid lists it. So
grids share cells.
"""

import functools
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from itertools import product
from pathlib import Path
from typing import Any

from segloss.datasets import DATASETS
from segloss.grid.configs import (
    CONFIGS,
    NAME,
    ConfigError,
    check_validation,
    dataset_source,
    declared,
    digest,
    load_labels,
    load_losses,
    loss_terms,
    mmengine_file,
    model_name,
    read_yaml,
    signatures,
    unknown,
    validate,
)


@dataclass(frozen=True, order=True)
class Cell:
    """One training and its evaluation; ``str(cell)`` is its name and its path below the results folder."""

    dataset: str
    model: str
    schedule: str
    labels: str
    loss: str
    seed: int

    def __str__(self) -> str:
        return "/".join((*astuple(self)[:-1], f"seed{self.seed}"))

    @classmethod
    def parse(cls, name: str) -> "Cell":
        """The cell of that name.

        Raises:
            ConfigError: if the name has not the form of a cell's name.
        """
        *axes, seed = name.rstrip("/").split("/")
        if len(axes) != 5 or not all(map(NAME.fullmatch, axes)) or not re.fullmatch(r"seed(0|[1-9]\d*)", seed):
            raise ConfigError(f"{name!r} is no cell: expected <dataset>/<model>/<schedule>/<labels>/<loss>/seed<k>")
        return cls(*axes, int(seed.removeprefix("seed")))


@dataclass(frozen=True)
class Grid:
    """The cells of a grid file in its order, and those it asks for that make no sense, with the reason."""

    name: str
    title: str
    cells: tuple[Cell, ...]
    skipped: Mapping[Cell, str]


@functools.cache
def axes_settings(dataset: str, model: str, schedule: str) -> dict[str, str]:
    """The part of a cell's settings that stands in MMEngine's language, by its hashes."""
    check_validation(dataset, schedule)
    return {
        "dataset": digest(mmengine_file("datasets", dataset)),
        "model": digest(mmengine_file("models", model)),
        "schedule": digest(mmengine_file("schedules", schedule)),
    }


def settings(cell: Cell) -> dict[str, Any]:
    """All that decides a cell's result, as plain data: what Snakemake compares to see whether it must run again.

    Raises:
        ConfigError: if a part of the name does not exist.
    """
    losses, labels = load_losses(), load_labels()
    if cell.loss not in losses:
        raise unknown("loss", cell.loss, losses)
    if cell.labels not in labels:
        raise unknown("labels", cell.labels, labels)
    scenario = {key: value for key, value in labels[cell.labels].items() if key != "title"}
    taught = {"teachers": [settings(teacher) for teacher in teachers(cell)]} if "teacher" in scenario else {}
    return {
        "cell": str(cell),
        **axes_settings(cell.dataset, cell.model, cell.schedule),
        "labels": scenario,
        "loss": loss_terms(losses[cell.loss]),
        **taught,
    }


def teachers(cell: Cell) -> list[Cell]:
    """The cells one of which teaches this one: the best of their seeds on validation. Empty for most cells."""
    teacher = load_labels().get(cell.labels, {}).get("teacher")
    if teacher is None:
        return []
    model, schedule = model_name(teacher.get("model", cell.model)), teacher.get("schedule", cell.schedule)
    return [
        Cell(cell.dataset, model, schedule, teacher["labels"], teacher["loss"], number)
        for number in range(teacher["seeds"])
    ]


def config_hash(cell: Cell) -> str:
    """SHA-256 of the cell's settings: the identity of its checkpoint, its record and its W&B run."""
    return hash_of(settings(cell))


def hash_of(settings: Mapping[str, Any]) -> str:
    """SHA-256 of plain data."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def seed(cell: Cell) -> int:
    """The seed of every random number of a cell: a stable hash of its name, seed index included."""
    return int.from_bytes(hashlib.sha256(str(cell).encode()).digest()[:4], "big") % 2**31


def why_skipped(cell: Cell) -> str | None:
    """Why a cell makes no sense, or None if it does."""
    line = load_labels()[cell.labels]
    scenario = signatures("labels")[line["target"]]
    for teacher in teachers(cell)[:1]:
        if reason := why_skipped(teacher):
            return f"its teacher makes no sense: {reason}"
        if reason := declared(mmengine_file("datasets", cell.dataset), "no_validation"):
            return f"teachers are chosen on validation images, and {cell.dataset} has none: {reason}"
    if scenario.get("source") == "raters" and not DATASETS[dataset_source(cell.dataset)].raters:
        return f"{dataset_source(cell.dataset)} has one annotator"
    if scenario.get("soft_targets", True) or line.get("mean_teacher", {}).get("soft"):
        for term in loss_terms(load_losses()[cell.loss]):
            if not signatures("losses")[term["loss"]].get("soft_targets", True):
                return f"{term['loss']} is defined on hard labels only"
    return None


def grid_file(name: str) -> Path:
    """The file of a grid given by its name in configs/grids or by the path of a .yaml file."""
    if name.endswith((".yaml", ".yml")):
        if not Path(name).is_file():
            raise ConfigError(f"no grid file {name}")
        if not NAME.fullmatch(Path(name).stem):  # it names the folder of the reports
            raise ConfigError(
                f"{name}: a grid file's name must be letters, digits and ._+- and begin with the first two"
            )
        return Path(name)
    file = CONFIGS / "grids" / f"{name}.yaml"
    if not NAME.fullmatch(name) or not file.is_file():
        raise unknown("grid", name, (path.stem for path in file.parent.glob("*.yaml")))
    return file


def load_grid(name: str) -> Grid:
    """Read and check a grid file and everything its names stand for.

    Raises:
        ConfigError: one sentence saying what is wrong and what exists.
    """
    if not CONFIGS.is_dir():
        raise ConfigError("no configs/ here: run this in the root of the repository")
    file = grid_file(name)
    raw = read_yaml(file)
    validate(raw, "grid", str(file))
    axes = (raw["datasets"], map(model_name, raw["models"]), [raw["schedule"]], raw["labels"], raw["losses"])
    asked = [Cell(*point) for point in product(*axes, range(raw["seeds"]))]
    cells, skipped = [], {}
    for cell in asked:
        try:
            settings(cell)
            reason = why_skipped(cell)
        except ConfigError as error:
            raise ConfigError(f"{file}: {error}") from error
        if reason:
            skipped[cell] = reason
        else:
            cells.append(cell)
    if not cells:
        raise ConfigError(f"{file}: no cell is left: {'; '.join(sorted(set(skipped.values())))}")
    return Grid(file.stem, raw["title"], tuple(cells), skipped)
