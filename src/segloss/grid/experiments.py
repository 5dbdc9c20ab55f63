"""Experiments: cells resolved once against configs/. All later stages take this frozen value. Imports no torch."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from segloss.grid.cells import Cell, random_seed
from segloss.grid.weights import Pretrained


@dataclass(frozen=True)
class Experiment:
    """A cell with everything that its name refers to.

    Attributes:
        cell: The cell.
        settings: Everything that determines its result, as plain data.
        source: The data on disk that its data set reads, a name of ``segloss.datasets.DATASETS``.
        files: The MMEngine configs of its ``datasets``, ``models`` and ``schedules``.
        loss: The terms of its loss, ``{loss, weight, options...}``.
        auxiliary_share: The share of its cross-entropy that auxiliary heads take; None: the weight in their config.
        processes: The number of processes that its loss prescribes; None: any number gives the same training.
        scenario: Its label scenario: ``target``, the target's options, and ``teacher``, ``labelled``, ``mean_teacher``.
        teachers: The candidates for its teacher, one per seed; the best of them on validation is used.
        resources: GPUs, CPU cores, gigabytes and minutes to request.
        iterations: The number of iterations, if the cell's name replaces that of its schedule.
        trained: The experiment whose weights are evaluated on this data set; None if the cell is trained itself.
        pretrained: The weights from which its backbone starts; None for a model trained from scratch.
        not_applicable: The reason why it cannot be trained, None if it can.
        control: The name of a control, which is evaluated without training; None for all other cells.
        folds: The experiments whose test images are pooled in this one, which is not trained: a cross-validation.
    """

    cell: Cell
    settings: Mapping[str, Any]
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

    @cached_property
    def config_hash(self) -> str:
        """SHA-256 of the settings: the identity of its checkpoint, its record and its W&B run."""
        return settings_hash(self.settings)

    @property
    def random_seed(self) -> int:
        """The seed of all its random numbers."""
        return random_seed(self.cell)

    @property
    def dependencies(self) -> tuple["Experiment", ...]:
        """The experiments that must be finished first: teachers, folds, or the one whose weights it evaluates."""
        if self.folds:
            return self.folds
        return self.teachers if self.trained is None else (self.trained,)

    @cached_property
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
