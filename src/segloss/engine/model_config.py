"""The model of an experiment: that of its config, with the classes, losses, target and inference of the cell."""

from collections.abc import Iterator
from typing import Any

from mmengine.config import Config, ConfigDict

from segloss.datasets import find
from segloss.engine.config_files import read_config
from segloss.engine.distances import distance_transforms
from segloss.engine.losses import VOID
from segloss.grid import ConfigError, Experiment, zoo
from segloss.grid.configs import TRAINING_KEYS
from segloss.labels import CATALOGUE as SCENARIOS
from segloss.losses import CATALOGUE as LOSSES

# The segmentors that can train on soft targets and with distance maps.
SCENARIO_SEGMENTORS = {
    "EncoderDecoder": "ScenarioEncoderDecoder",
    "CascadeEncoderDecoder": "ScenarioCascadeEncoderDecoder",
}
IMAGENET = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True)


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


def heads(model: ConfigDict) -> Iterator[tuple[ConfigDict, bool]]:
    """Every head of a model, and whether it is an auxiliary one."""
    for head in as_list(model.decode_head):
        yield head, False
    for head in as_list(model.get("auxiliary_head")):
        yield head, True


def without_pretrained(config: Any) -> None:
    """Remove a model config's pretrained weights, at any depth: they come only through ``segloss.grid.weights``."""
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
    they take the share s of the weight of its cross-entropy instead: the total loss in the code of the JDT papers is
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
    """Give every head the cell's loss and classes; heads with a target of their own are left unchanged."""
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
        ConfigError: if the model cannot be trained with that loss or that label scenario.
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
        normalisation = dataset.normalisation  # a model's own normalisation is for three channels
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
