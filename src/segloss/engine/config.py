"""From an experiment to the one MMEngine config for its training and evaluation."""

import ast
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mmengine.config import Config

from segloss.datasets import find, training_lists
from segloss.engine.class_counts import training_class_counts
from segloss.engine.config_files import read_config
from segloss.engine.data import complete
from segloss.engine.distances import distance_transforms
from segloss.engine.evaluation import CALIBRATORS
from segloss.engine.model_config import model_config
from segloss.engine.semi_supervised import unlabelled_pipeline
from segloss.grid import Experiment
from segloss.grid.protocol import Protocol, check_test_cfg
from segloss.labels import CATALOGUE as SCENARIOS
from segloss.metrics import Boundaries


def evaluation_settings(dataset: Config, name: str, num_classes: int) -> dict[str, Any]:
    """A data set's ``test_cfg`` with all defaults.

    Returns:
        ``protocol``, the inference protocol; ``boundaries``, the tolerances of boundary metrics, None for those that
        are not counted; ``calibrators``, the post-hoc calibrators. Default: all.

    Raises:
        ConfigError: if it has other keys or impossible values.
    """
    declared = dict(dataset.test_cfg)
    check_test_cfg(declared, num_classes, f"{name}: test_cfg")
    boundaries = Boundaries(**declared.pop("boundaries", {}))
    calibrators = tuple(declared.pop("calibrators", CALIBRATORS))
    return dict(protocol=asdict(Protocol(**declared)), boundaries=asdict(boundaries), calibrators=calibrators)


def rater_transforms(scenario: Mapping[str, Any], num_classes: int) -> list[dict[str, Any]]:
    """The transforms that load the raters' maps and weights that a label scenario needs."""
    target = SCENARIOS[scenario["target"]]
    transforms = [dict(type="LoadRaters")] if target.source == "raters" else []
    if "rater_weights" in target.needs:
        background = {key: scenario[key] for key in ("background",) if key in scenario}
        transforms.append(dict(type="LoadRaterWeights", num_classes=num_classes, **background))
    return transforms


def training_configs(
    experiment: Experiment, dataset: Config, folder: Path, before_packing: Sequence[Mapping[str, Any]] = ()
) -> dict[str, dict[str, Any] | None]:
    """The ``train_dataset`` and ``unlabelled_dataset`` of a cell; only labelled samples get ``before_packing``."""
    source, scenario = find(experiment.source), experiment.scenario
    beside_label = rater_transforms(scenario, len(source.classes))
    train_pipeline = complete(dataset.train_pipeline, beside_label, before_packing)
    common = dict(type="ListDataset", source=experiment.source, folder=str(folder))
    training = dict(**common, split="train", labelled=scenario.get("labelled"))
    unlabelled = None
    if "mean_teacher" in scenario and training_lists(source, folder, scenario.get("labelled"))[1]:
        pipeline = unlabelled_pipeline(dataset.train_pipeline, scenario["mean_teacher"].get("cutmix", 0.5))
        unlabelled = dict(**training, unlabelled=True, pipeline=pipeline)
    return dict(train_dataset=dict(**training, pipeline=train_pipeline), unlabelled_dataset=unlabelled)


def evaluated_configs(experiment: Experiment, dataset: Config, folder: Path) -> dict[str, dict[str, Any] | None]:
    """The ``validation_dataset`` and ``test_dataset`` of a cell."""
    source = find(experiment.source)
    truths = [*(["LoadRaters"] if source.raters else []), *(["LoadTruth"] if source.read_truth else [])]
    pipeline = complete(dataset.test_pipeline, [dict(type=name) for name in truths])

    def evaluated(split: str) -> dict[str, Any]:
        common = dict(type="ListDataset", source=experiment.source, folder=str(folder))
        return dict(**common, split=split, pipeline=pipeline, test_mode=True)

    # A fold divides all images in two, so it has no validation list, though the data set itself has one.
    validated = dataset.get("val_split") in source.splits
    return dict(
        validation_dataset=evaluated(dataset.val_split) if validated else None,
        test_dataset=evaluated(dataset.test_split),
    )


def schedule_config(experiment: Experiment) -> Config:
    """The config of the cell's schedule; expressions in it use the cell's own number of iterations, if set."""
    path = experiment.files["schedules"]
    if experiment.iterations is None:
        return read_config(path)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body:  # a schedule that assigns no iterations itself was refused when the cell was resolved
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) == "iterations":
            node.value = ast.Constant(experiment.iterations)
    return Config.fromstring(ast.unparse(ast.fix_missing_locations(tree)), ".py")


def evaluation_config(experiment: Experiment, folder: Path) -> dict[str, Any]:
    """The entries of the config that concern evaluation alone.

    Args:
        experiment: The cell, resolved.
        folder: The folder of its data set.
    """
    dataset = read_config(experiment.files["datasets"])
    name, classes = experiment.cell.dataset, len(find(experiment.source).classes)
    return dict(
        **evaluated_configs(experiment, dataset, folder),
        reference=dataset.get("reference", "label"),
        **evaluation_settings(dataset, name, classes),
    )


def experiment_config(experiment: Experiment, folder: Path, fingerprint: str) -> Config:
    """Everything that decides the cell's result, resolved into one MMEngine config.

    Args:
        experiment: The cell, resolved.
        folder: The folder of its data set.
        fingerprint: The fingerprint of its training data.
    """
    dataset, schedule = read_config(experiment.files["datasets"]), schedule_config(experiment)
    model = model_config(experiment, dataset, training_class_counts(experiment, folder, fingerprint))
    distances = distance_transforms(experiment, dataset.crop_size) if "scenario" in model else ()
    return Config(
        dict(
            default_scope="mmseg",
            seed=experiment.random_seed,
            model=model,
            **training_configs(experiment, dataset, folder, distances),
            **evaluation_config(experiment, folder),
            batch_size=schedule.batch_size,
            iterations=schedule.iterations,
            channels_last=read_config(experiment.files["models"]).get("channels_last", False),
            checkpoint=schedule.get("checkpoint", "last"),
            validation_interval=schedule.get("validation_interval"),
            optim_wrapper=dict(
                type="OptimWrapper",
                optimizer=schedule.optimizer,
                paramwise_cfg=schedule.get("paramwise_cfg"),
                clip_grad=schedule.get("clip_grad"),
            ),
            param_scheduler=schedule.param_scheduler,
        )
    )


def control_config(experiment: Experiment, folder: Path, fingerprint: str) -> Config:
    """Everything that decides a control's result; arguments as for ``experiment_config``."""
    dataset = read_config(experiment.files["datasets"])
    return Config(
        dict(
            default_scope="mmseg",
            seed=experiment.random_seed,
            class_counts=training_class_counts(experiment, folder, fingerprint),
            **training_configs(experiment, dataset, folder),
            **evaluation_config(experiment, folder),
            batch_size=0,
            iterations=0,
            channels_last=False,
            checkpoint="last",
        )
    )
