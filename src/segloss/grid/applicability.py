"""Reasons for skipping a cell: known before any job, and shown in the tables. Imports no torch."""

from collections.abc import Mapping
from typing import Any

from segloss.datasets import find
from segloss.grid.cells import Cell
from segloss.grid.configs import Configs
from segloss.grid.experiments import Experiment
from segloss.grid.mmengine_files import MMEngineFile
from segloss.grid.options import signatures
from segloss.grid.zoo import cannot_take, cannot_train


def evaluated_elsewhere(cell: Cell, source: str, trained: Experiment) -> str | None:
    """The reason why a cell's weights cannot be evaluated on another data set, None if they can."""
    if trained.not_applicable:
        return f"{trained.cell} is not applicable: {trained.not_applicable}"
    if find(source).classes != find(trained.source).classes:
        return f"{source} does not have the classes of {trained.source}"
    return None


def model_cannot_take(
    configs: Configs, files: Mapping[str, MMEngineFile], scenario: Mapping[str, Any], terms: list[dict[str, Any]]
) -> str | None:
    """The reason why a model does not support this data, label scenario or loss, None if it does."""
    soft = scenario["target"] != "hard" or "mean_teacher" in scenario
    pixelwise = all("reduction" in signatures("losses")[term["loss"]]["options"] for term in terms)
    key = (files["models"].path, files["datasets"].path, soft, pixelwise)
    if key not in configs.reasons:  # thousands of cells share a few models, and each check searches a whole config
        model, dataset = (configs.values(files[kind]) for kind in ("models", "datasets"))
        model, mode = model.get("model"), (dataset.get("test_cfg") or {}).get("mode")
        # Without ``model`` the config is code; its limits show only when the model is built.
        configs.reasons[key] = model and (
            cannot_train(model, soft, pixelwise) or cannot_take(model, dataset.get("crop_size"), mode)
        )
    return configs.reasons[key] or None


def not_applicable(
    cell: Cell,
    source: str,
    scenario: Mapping[str, Any],
    terms: list[dict[str, Any]],
    teachers: tuple[Experiment, ...],
    dataset: Mapping[str, Any],
) -> str | None:
    """The reason why a cell cannot be trained, None if it can."""
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
