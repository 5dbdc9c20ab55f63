"""From an experiment to the one MMEngine config that trains and evaluates it."""

import ast
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.config import config as mmengine_config

from segloss.datasets import find, training_lists
from segloss.engine.data import complete
from segloss.engine.distances import distance_transforms
from segloss.engine.evaluation import CALIBRATORS
from segloss.engine.losses import VOID
from segloss.engine.semi_supervised import unlabelled_pipeline
from segloss.files import write_json
from segloss.grid import ConfigError, Experiment, zoo
from segloss.grid.configs import TRAINING_KEYS
from segloss.grid.protocol import Protocol, check_test_cfg
from segloss.labels import CATALOGUE as SCENARIOS
from segloss.losses import CATALOGUE as LOSSES
from segloss.metrics import Boundaries

# Below the folder of the generated data sets, which can be written to.
CLASS_COUNTS = Path("data") / ".class_counts"
# The segmentors that can train on soft targets and with distance maps.
SCENARIO_SEGMENTORS = {
    "EncoderDecoder": "ScenarioEncoderDecoder",
    "CascadeEncoderDecoder": "ScenarioCascadeEncoderDecoder",
}
IMAGENET = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True)


def _external_path(package: str, name: str, by_metafiles: Callable = mmengine_config._get_external_cfg_path) -> str:
    """The path of a config of another package, as MMEngine looks it up.

    Raises:
        ValueError: if no metafile lists it, as none lists the files of ``_base_``: MMEngine then takes the path as it
            is. It would read all the metafiles first, for each of these files, half a second of each training.
    """
    if name.startswith("_base_/"):
        raise ValueError(f"{name} is in no metafile")
    return by_metafiles(package, name)


mmengine_config._get_external_cfg_path = _external_path


def read_config(path: Path) -> Config:
    """An MMEngine config, executed.

    Raises:
        ConfigError: if it cannot be.
    """
    try:
        return Config.fromfile(path)
    except Exception as error:  # a config is code
        raise ConfigError(
            f"{path} cannot be executed: {type(error).__name__}: {' '.join(str(error).split())}"
        ) from error


def as_list(heads: Any) -> list[ConfigDict]:
    """No head, one head or a list of heads, as a list."""
    return [] if heads is None else list(heads) if isinstance(heads, (list, tuple)) else [heads]


def loss_config(terms: list[dict[str, Any]], weight: float, class_counts: list[int]) -> dict[str, Any]:
    """The ``loss_decode`` of one line of losses.yaml; several terms are computed together by CompoundLoss.

    Losses that take the class counts of the training set get them.
    """
    if len(terms) > 1 or "weight" in terms[0].get("ramp", {}):
        name, options = "compound", dict(terms=terms)
    else:
        options = dict(terms[0])
        name, weight = options.pop("loss"), weight * options.pop("weight")
    measured = dict(class_counts=class_counts) if LOSSES[name].takes_class_counts else {}
    return dict(type=LOSSES[name].module_name, loss_weight=weight, **options, **measured)


def _remembered_counts(path: Path, classes: int) -> list[int] | None:
    """The class counts in a file, None if it is not there or damaged."""
    try:
        counts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    whole = isinstance(counts, list) and len(counts) == classes and all(type(count) is int for count in counts)
    return counts if whole else None


def training_class_counts(experiment: Experiment, folder: Path, fingerprint: str) -> list[int]:
    """Pixels of each class in the labelled training images, counted (and the labels checked) once and remembered.

    Args:
        experiment: The cell, resolved.
        folder: The folder of its data set.
        fingerprint: That of its training data.
    """
    remembered = CLASS_COUNTS / f"{experiment.source}-{fingerprint}.json"
    dataset = find(experiment.source)
    counts = _remembered_counts(remembered, len(dataset.classes))
    if counts is None:
        labelled, _ = training_lists(dataset, folder, experiment.scenario.get("labelled"))
        counts = dataset.class_counts(folder, labelled)
        with suppress(OSError):  # where nothing can be remembered, they are counted again
            write_json(remembered, counts)
    return counts


def heads(model: ConfigDict) -> Iterator[tuple[ConfigDict, bool]]:
    """Every head of a model, and whether it is an auxiliary one."""
    for head in as_list(model.decode_head):
        yield head, False
    for head in as_list(model.get("auxiliary_head")):
        yield head, True


def without_pretrained(config: Any) -> None:
    """Remove the weights that a model's config names, at any depth: ``segloss.grid.weights`` is their only door."""
    if isinstance(config, dict):
        if isinstance(config.get("pretrained"), str):
            config["pretrained"] = None
        if config.get("pretrained") is True:  # timm's models
            config["pretrained"] = False
        start = config.get("init_cfg")
        if isinstance(start, dict) and start.get("type") == "Pretrained":
            config["init_cfg"] = None
    for item in config.values() if isinstance(config, dict) else config if isinstance(config, list | tuple) else ():
        without_pretrained(item)


def head_terms(experiment: Experiment, auxiliary_heads: int, weight: float) -> tuple[list[dict], list[dict], float]:
    """The terms of the decode heads, those of each auxiliary head, and the weight of the latter.

    Auxiliary heads take cross-entropy at the weight in their config. With an ``auxiliary_share`` s in the loss's line,
    they take the share s of the weight of its cross-entropy instead: the total of the JDT papers' code is
    .25 [.5 CE(main) + .5 CE(auxiliary)] + .75 JDT(main), and .25 CE + .75 JDT for a model without auxiliary heads.
    """
    terms, share = [dict(term) for term in experiment.loss], experiment.auxiliary_share
    auxiliary = [dict(loss="cross_entropy", weight=1.0)]
    if share is None or not auxiliary_heads:
        return terms, auxiliary, weight
    total = sum(term["weight"] for term in terms if term["loss"] == "cross_entropy")
    for term in terms:
        if term["loss"] == "cross_entropy":
            term["weight"] *= 1 - share
    return [term for term in terms if term["weight"] > 0], auxiliary, share * total / auxiliary_heads


def set_losses(model: ConfigDict, experiment: Experiment, class_counts: list[int]) -> None:
    """Give every head the cell's loss and classes; heads with a target of their own keep theirs."""
    semantic = [(head, auxiliary) for head, auxiliary in heads(model) if head.type not in zoo.OWN_TARGET]
    outputs = sum(zoo.OUTPUTS.get(head.type, 1) - (not auxiliary) for head, auxiliary in semantic)
    for head, auxiliary in semantic:
        weights = [entry.get("loss_weight", 1.0) for entry in as_list(head.get("loss_decode", {}))]
        main, others, auxiliary_weight = head_terms(experiment, outputs, weights[0])
        losses = [loss_config(others, auxiliary_weight, class_counts)]
        if not auxiliary:
            losses = [loss_config(main, weights[0], class_counts)]
            for weight in weights[1 : zoo.OUTPUTS.get(head.type, 1)]:
                losses.append(loss_config(others, head_terms(experiment, outputs, weight)[2], class_counts))
        head.loss_decode = losses[0] if len(losses) == 1 else losses
        head.num_classes = len(find(experiment.source).classes)
        head.pop("out_channels", None)


def model_config(experiment: Experiment, dataset: Config, class_counts: list[int]) -> ConfigDict:
    """The cell's model with its loss, its label scenario and its data set's classes.

    The decode head takes the cell's loss, auxiliary heads cross-entropy (``head_terms``); every head gets the
    scenario's target.

    Raises:
        ConfigError: if it cannot take that loss or that label scenario.
    """
    cell, scenario = experiment.cell, experiment.scenario
    if experiment.not_applicable:
        raise ConfigError(f"{cell} is not applicable: {experiment.not_applicable}")
    config = read_config(experiment.files["models"])
    model = config.model
    without_pretrained(model)
    semi_supervised = "mean_teacher" in scenario
    has_target = SCENARIOS[scenario["target"]] is not SCENARIOS["hard"] or semi_supervised
    if has_target and model.type not in SCENARIO_SEGMENTORS:
        raise ConfigError(
            f"{cell.model} is a {model.type}: this label scenario needs one of {', '.join(SCENARIO_SEGMENTORS)}"
        )
    takes_maps = model.type in SCENARIO_SEGMENTORS and not {head.type for head, _ in heads(model)} & {*zoo.POINT_HEADS}
    if has_target or (takes_maps and distance_transforms(experiment, dataset.crop_size)):
        model.type = SCENARIO_SEGMENTORS[model.type]
        model.scenario = {key: value for key, value in scenario.items() if key not in TRAINING_KEYS}
    if semi_supervised:
        model.mean_teacher = {key: value for key, value in scenario["mean_teacher"].items() if key != "cutmix"}
    set_losses(model, experiment, class_counts)
    source = find(experiment.source)
    normalisation = config.get("normalisation") or dataset.get("normalisation") or IMAGENET
    if source.channels != 3:
        model.backbone.in_channels = source.channels
        normalisation = dataset.normalisation  # a model's own is that of three channels
    model.data_preprocessor = dict(
        type="ViewsPreProcessor" if semi_supervised else "SegDataPreProcessor",
        size=dataset.crop_size,
        pad_val=0,
        seg_pad_val=VOID,
        **normalisation,
    )
    inference = ("mode", "crop_size", "stride")
    own_settings = {key: value for key, value in (model.get("test_cfg") or {}).items() if key not in inference}
    model.test_cfg = own_settings | {key: dataset.test_cfg[key] for key in inference if key in dataset.test_cfg}
    return model


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
    """The transforms that load what a label scenario needs of the raters."""
    target = SCENARIOS[scenario["target"]]
    transforms = [dict(type="LoadRaters")] if target.source == "raters" else []
    if "rater_weights" in target.needs:
        background = {key: scenario[key] for key in ("background",) if key in scenario}
        transforms.append(dict(type="LoadRaterWeights", num_classes=num_classes, **background))
    return transforms


def training_configs(
    experiment: Experiment, dataset: Config, folder: Path, before_packing: Sequence[Mapping[str, Any]] = ()
) -> dict[str, dict[str, Any] | None]:
    """The ``train_dataset`` and ``unlabelled_dataset`` of a cell; labelled samples end with more transforms."""
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

    # A fold divides all images in two and has no list for validation, which the data set itself has.
    validated = dataset.get("val_split") in source.splits
    return dict(
        validation_dataset=evaluated(dataset.val_split) if validated else None,
        test_dataset=evaluated(dataset.test_split),
    )


def schedule_config(experiment: Experiment) -> Config:
    """The config of the cell's schedule; where the cell has another number of iterations, its expressions use that."""
    path = experiment.files["schedules"]
    if experiment.iterations is None:
        return read_config(path)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) == "iterations":
            node.value = ast.Constant(experiment.iterations)
            return Config.fromstring(ast.unparse(ast.fix_missing_locations(tree)), ".py")
    raise ConfigError(f"{path} assigns no iterations: {experiment.cell.schedule} cannot replace them")


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
        fingerprint: That of its training data.
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
    dataset = Config.fromfile(experiment.files["datasets"])
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
