"""Cells become experiments: every name in a cell is looked up in configs/ once. Imports no torch."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from segloss.datasets import DatasetError, find
from segloss.grid.applicability import evaluated_elsewhere, model_cannot_take, not_applicable
from segloss.grid.cells import Cell, split_variant
from segloss.grid.configs import Configs, loss_terms, model_name
from segloss.grid.controls import CONTROL, CONTROLS, POSTERIOR, control_cell
from segloss.grid.errors import ConfigError, unknown
from segloss.grid.experiments import Experiment
from segloss.grid.resources import resources
from segloss.grid.weights import declared_weights

FOLD = re.compile(r"fold(?:0|[1-9]\d*)")
FOLDS = re.compile(r"folds\d+(\+\d+)+")
# Resources of cells without training: controls, and folds that are pooled.
UNTRAINED = {"gpus": 0, "cpus": 1, "memory_gb": 8, "minutes": 60}
ITERATIONS = re.compile(r"[1-9]\d{0,8}")


def resolve(cell: Cell, configs: Configs) -> Experiment:
    """The experiment of a cell.

    Raises:
        ConfigError: if a part of its name does not exist, or a file that it refers to is wrong.
    """
    if cell not in configs.experiments:
        kind = _resolve_control if cell.model == CONTROL else _resolve
        kind = _resolve_folds if FOLDS.fullmatch(split_variant(cell.dataset)[1] or "") else kind
        configs.experiments[cell] = kind(cell, configs)
    return configs.experiments[cell]


def _resolve(cell: Cell, configs: Configs) -> Experiment:
    """The experiment of a cell that is trained, or whose weights are evaluated on another data set."""
    axes = cell.dataset, cell.model, cell.schedule, cell.labels, cell.loss
    if axes not in configs.first_seeds:
        configs.first_seeds[axes] = _look_up(cell, configs)
    first = configs.first_seeds[axes]
    if first.cell == cell:
        return first
    if first.trained:
        return _look_up(cell, configs)
    # Of all that a name refers to, only the weights to evaluate depend on the seed.
    return replace(first, cell=cell, settings={**first.settings, "cell": str(cell)})


def _look_up(cell: Cell, configs: Configs) -> Experiment:
    if cell.loss not in configs.losses:
        raise unknown("loss", cell.loss, configs.losses)
    if cell.labels not in configs.labels:
        raise unknown("label scenario", cell.labels, configs.labels)
    (model, weights), (schedule, length) = map(split_variant, (cell.model, cell.schedule))
    for axis in ("labels", "loss"):
        if (variant := split_variant(getattr(cell, axis))[1]) is not None:
            raise ConfigError(f"{cell}: {axis} has no variant {variant!r}")
    dataset, source, trained = _data(cell, configs)
    if length is not None and not ITERATIONS.fullmatch(length):
        raise ConfigError(f"{cell}: expected a number of iterations after {schedule}@, got {length!r}")
    configs.check_validation(dataset, schedule, source)
    configs.check_files(dataset, model, schedule, int(length) if length else None)
    names = {"datasets": dataset, "models": model, "schedules": schedule}
    files = {kind: configs.mmengine_file(kind, name) for kind, name in names.items()}
    network = configs.values(files["models"]).get("model") or {}
    scenario = {key: value for key, value in configs.labels[cell.labels].items() if key != "title"}
    line = configs.losses[cell.loss]
    terms = loss_terms(line)
    teachers = tuple(resolve(teacher, configs) for teacher in teacher_cells(cell, scenario))
    settings = {
        "cell": str(cell),
        **{kind.rstrip("s"): file.content_hash for kind, file in files.items()},
        "labels": scenario,
        "loss": terms,
        **{key: line[key] for key in ("auxiliary_share", "processes") if key in line},
        **({"teachers": [teacher.settings for teacher in teachers]} if teachers else {}),
        **({"trained": trained.settings} if trained else {}),
    }
    return Experiment(
        cell=cell,
        settings=settings,
        source=source,
        files={kind: file.path for kind, file in files.items()},
        loss=tuple(terms),
        auxiliary_share=line.get("auxiliary_share"),
        processes=line.get("processes"),
        scenario=scenario,
        teachers=teachers,
        resources=resources(files.values(), line.get("processes", 1)),
        iterations=int(length) if length else None,
        trained=trained,
        pretrained=declared_weights(files["models"], weights, network) if weights else None,
        not_applicable=evaluated_elsewhere(cell, source, trained)
        if trained
        else not_applicable(cell, source, scenario, terms, teachers, files["datasets"].literals)
        or model_cannot_take(configs, files, scenario, terms),
    )


def _resolve_control(cell: Cell, configs: Configs) -> Experiment:
    """The experiment of a control; the only config that it reads is the data set's."""
    if cell.loss not in CONTROLS:
        raise unknown("control", cell.loss, CONTROLS)
    if cell != (expected := control_cell(cell.dataset, cell.loss)):
        raise ConfigError(f"{cell} is not a control: expected {expected}")
    dataset, source, trained = _data(cell, configs)
    file, scenario = configs.mmengine_file("datasets", dataset), {"target": "hard"}
    settings = {
        "cell": str(cell),
        "dataset": file.content_hash,
        "labels": scenario,
        "control": cell.loss,
        **({"trained": trained.settings} if trained else {}),
    }
    unknown_posterior = cell.loss == POSTERIOR and find(source).read_truth is None
    return Experiment(
        cell=cell,
        settings=settings,
        source=source,
        files={"datasets": file.path},
        loss=(),
        auxiliary_share=None,
        processes=None,
        scenario=scenario,
        teachers=(),
        resources=UNTRAINED,
        iterations=None,
        trained=trained,
        pretrained=None,
        not_applicable=f"the posterior of {source} is not known"
        if unknown_posterior
        else (evaluated_elsewhere(cell, source, trained) if trained else None),
        control=cell.loss,
    )


def _resolve_folds(cell: Cell, configs: Configs) -> Experiment:
    """The experiment that pools the folds of a cross-validation: all except its data is taken from the first fold."""
    name, place = split_variant(cell.dataset)
    numbers = sorted(set(map(int, place.removeprefix("folds").split("+"))))
    if place != (expected := folds_variant(numbers)):
        raise ConfigError(f"{cell}: expected the folds in ascending order without repetition: {name}@{expected}")
    folds = tuple(resolve(replace(cell, dataset=f"{name}@fold{number}"), configs) for number in numbers)
    settings = {
        "cell": str(cell),
        "labels": folds[0].settings["labels"],
        "folds": [fold.settings for fold in folds],
    }
    return replace(
        folds[0],
        cell=cell,
        settings=settings,
        teachers=(),
        trained=None,
        pretrained=None,
        resources=UNTRAINED,
        folds=folds,
    )


def folds_variant(numbers: Sequence[int]) -> str:
    """The variant of a data set that stands for these folds: ``fold2``, or ``folds0+1+2`` for several together."""
    return f"fold{'s' * (len(numbers) > 1)}{'+'.join(map(str, numbers))}"


def _data(cell: Cell, configs: Configs) -> tuple[str, str, Experiment | None]:
    """The data set of a cell, its data on disk, and the experiment trained on another data set, if any."""
    dataset, place = split_variant(cell.dataset)
    fold = place if place and FOLD.fullmatch(place) else None
    trained = resolve(replace(cell, dataset=place), configs) if place and not fold else None
    source = configs.source(dataset) + (f"-{fold}" if fold else "")
    try:
        find(source)
    except DatasetError as error:
        raise ConfigError(f"{cell}: {error}") from None
    return dataset, source, trained


def teacher_cells(cell: Cell, scenario: Mapping[str, Any]) -> list[Cell]:
    """The candidates for the teacher of a cell with that label scenario, one per seed; empty for most."""
    teacher = scenario.get("teacher")
    if teacher is None:
        return []
    model, schedule = model_name(teacher.get("model", cell.model)), teacher.get("schedule", cell.schedule)
    return [
        Cell(cell.dataset, model, schedule, teacher["labels"], teacher["loss"], number)
        for number in range(teacher["seeds"])
    ]
