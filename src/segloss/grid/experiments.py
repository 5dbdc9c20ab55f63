"""Experiments: cells resolved once against configs/. Everything behind takes this frozen value. Imports no torch."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from segloss.datasets import DatasetError, find
from segloss.grid.cells import Cell, random_seed, split_variant
from segloss.grid.configs import Configs, loss_terms, model_name
from segloss.grid.controls import CONTROL, CONTROLS, POSTERIOR, control_cell
from segloss.grid.errors import ConfigError, unknown
from segloss.grid.mmengine_files import MMEngineFile
from segloss.grid.options import signatures
from segloss.grid.resources import resources
from segloss.grid.weights import Pretrained, declared_weights
from segloss.grid.zoo import cannot_take, cannot_train

FOLD = re.compile(r"fold(?:0|[1-9]\d*)")
FOLDS = re.compile(r"folds\d+(\+\d+)+")
# What a cell without a training needs: a control, and folds that are pooled.
UNTRAINED = {"gpus": 0, "cpus": 1, "memory_gb": 8, "minutes": 60}
ITERATIONS = re.compile(r"[1-9]\d{0,8}")


@dataclass(frozen=True)
class Experiment:
    """A cell with everything that its name refers to.

    Attributes:
        cell: The cell.
        settings: All that decides its result, as plain data.
        config_hash: SHA-256 of the settings: the identity of its checkpoint, its record and its W&B run.
        random_seed: The seed of all its random numbers.
        source: The data on disk that its data set reads, a name of ``segloss.datasets.DATASETS``.
        files: The MMEngine configs of its ``datasets``, ``models`` and ``schedules``.
        loss: The terms of its loss, ``{loss, weight, options...}``.
        auxiliary_share: The share of its cross-entropy that auxiliary heads take; None: the weight in their config.
        processes: The number of processes that its loss prescribes; None: any number follows the same training.
        scenario: Its label scenario: ``target``, the target's options, and ``teacher``, ``labelled``, ``mean_teacher``.
        teachers: The experiments one of which teaches this one: the best of their seeds on validation.
        resources: GPUs, CPU cores, gigabytes and minutes to request.
        iterations: The number of iterations, where the cell's name has another than its schedule.
        trained: The experiment whose weights are evaluated on this data set; None if the cell is trained itself.
        pretrained: The weights from which its backbone starts; None for a model trained from scratch.
        not_applicable: The reason for which it cannot be trained, None if it can.
        control: The name of a control, which is evaluated without a training; None for all other cells.
        folds: The experiments whose test images are pooled in this one, which is not trained: a cross-validation.
    """

    cell: Cell
    settings: Mapping[str, Any]
    config_hash: str
    random_seed: int
    source: str
    files: Mapping[str, Path]
    loss: tuple[Mapping[str, Any], ...]
    auxiliary_share: float | None
    processes: int | None
    scenario: Mapping[str, Any]
    teachers: tuple["Experiment", ...]
    resources: Mapping[str, int]
    iterations: int | None
    trained: "Experiment | None"
    pretrained: Pretrained | None
    not_applicable: str | None
    control: str | None = None
    folds: tuple["Experiment", ...] = ()

    def __str__(self) -> str:
        return str(self.cell)

    @property
    def dependencies(self) -> tuple["Experiment", ...]:
        """The experiments that must be finished first: teachers, folds, or the one whose weights it evaluates."""
        if self.folds:
            return self.folds
        return self.teachers if self.trained is None else (self.trained,)

    @property
    def data_key(self) -> tuple[str, ...]:
        """The data behind its result: its source, the images that keep their labels, the source it was trained on."""
        if self.folds:
            sources, labelled, trained = zip(*(fold.data_key for fold in self.folds), strict=True)
            return "+".join(sources), labelled[0], "+".join(trained)
        trained = self.trained or self
        return self.source, json.dumps(self.scenario.get("labelled"), sort_keys=True), trained.source


def settings_hash(settings: Any) -> str:
    """SHA-256 of plain data."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def resolve(cell: Cell, configs: Configs) -> Experiment:
    """The experiment of a cell.

    Raises:
        ConfigError: if a part of its name does not exist, or a file behind it is wrong.
    """
    if cell not in configs.experiments:
        kind = _resolve_control if cell.model == CONTROL else _resolve
        kind = _resolve_folds if FOLDS.fullmatch(split_variant(cell.dataset)[1] or "") else kind
        configs.experiments[cell] = kind(cell, configs)
    return configs.experiments[cell]


def _resolve(cell: Cell, configs: Configs) -> Experiment:
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
        raise ConfigError(f"{cell}: expected a number of iterations behind {schedule}@, got {length!r}")
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
        config_hash=settings_hash(settings),
        random_seed=random_seed(cell),
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
        not_applicable=_evaluated_elsewhere(cell, source, trained)
        if trained
        else _not_applicable(cell, source, scenario, terms, teachers, files["datasets"].literals)
        or _cannot_train(configs, files, scenario, terms),
    )


def _resolve_control(cell: Cell, configs: Configs) -> Experiment:
    """The experiment of a control: of all configs it reads the data set's alone."""
    if cell.loss not in CONTROLS:
        raise unknown("control", cell.loss, CONTROLS)
    if cell != (expected := control_cell(cell.dataset, cell.loss)):
        raise ConfigError(f"{cell} is no control: expected {expected}")
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
        config_hash=settings_hash(settings),
        random_seed=random_seed(cell),
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
        else (_evaluated_elsewhere(cell, source, trained) if trained else None),
        control=cell.loss,
    )


def _resolve_folds(cell: Cell, configs: Configs) -> Experiment:
    """The experiment that pools the folds of a cross-validation: all but its data is that of the first fold."""
    name, place = split_variant(cell.dataset)
    numbers = sorted(set(map(int, place.removeprefix("folds").split("+"))))
    if place != (expected := folds_variant(numbers)):
        raise ConfigError(f"{cell}: expected the folds in their order, each once: {name}@{expected}")
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
        config_hash=settings_hash(settings),
        random_seed=random_seed(cell),
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
    """The data set of a cell, its data on disk, and the experiment that is trained on other data."""
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
    """The cells one of which teaches a cell with that label scenario; empty for most."""
    teacher = scenario.get("teacher")
    if teacher is None:
        return []
    model, schedule = model_name(teacher.get("model", cell.model)), teacher.get("schedule", cell.schedule)
    return [
        Cell(cell.dataset, model, schedule, teacher["labels"], teacher["loss"], number)
        for number in range(teacher["seeds"])
    ]


def _evaluated_elsewhere(cell: Cell, source: str, trained: Experiment) -> str | None:
    """The reason for which a cell's weights cannot be evaluated on another data set, None if they can."""
    if trained.not_applicable:
        return f"{trained.cell} is not applicable: {trained.not_applicable}"
    if find(source).classes != find(trained.source).classes:
        return f"{source} has other classes than {trained.source}"
    return None


def _cannot_train(
    configs: Configs, files: Mapping[str, MMEngineFile], scenario: Mapping[str, Any], terms: list[dict[str, Any]]
) -> str | None:
    """The reason for which a model takes no such data, label scenario or loss, None if it does."""
    soft = scenario["target"] != "hard" or "mean_teacher" in scenario
    pixelwise = all("reduction" in signatures("losses")[term["loss"]]["options"] for term in terms)
    key = (files["models"].path, files["datasets"].path, soft, pixelwise)
    if key not in configs.reasons:  # thousands of cells share a few models, and a model's config is searched through
        model, dataset = (configs.values(files[kind]) for kind in ("models", "datasets"))
        model, mode = model.get("model"), (dataset.get("test_cfg") or {}).get("mode")
        # Without a model the config is code; what it cannot do is found when it is built.
        configs.reasons[key] = model and (
            cannot_train(model, soft, pixelwise) or cannot_take(model, dataset.get("crop_size"), mode)
        )
    return configs.reasons[key] or None


def _not_applicable(
    cell: Cell,
    source: str,
    scenario: Mapping[str, Any],
    terms: list[dict[str, Any]],
    teachers: tuple[Experiment, ...],
    dataset: Mapping[str, Any],
) -> str | None:
    """The reason for which a cell cannot be trained, None if it can."""
    for teacher in teachers[:1]:
        if teacher.not_applicable:
            return f"its teacher is not applicable: {teacher.not_applicable}"
        validation = dataset.get("val_split")
        missing = None if validation in find(source).splits else f"{source} has no list {validation!r}"
        if reason := dataset.get("no_validation") or missing:
            return f"teachers are chosen on validation images, and {cell.dataset} has none: {reason}"
    target = signatures("labels")[scenario["target"]]
    if target.get("source") == "raters" and not find(source).raters:
        return f"{source} has one annotator"
    if target.get("soft_targets", True) or scenario.get("mean_teacher", {}).get("soft"):
        for term in terms:
            if not signatures("losses")[term["loss"]].get("soft_targets", True):
                return f"{term['loss']} is defined on hard labels only"
    return None
