"""From a cell to the one MMEngine config that trains and evaluates it."""

import functools
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from segloss import grid
from segloss.datasets import DATASETS, training_lists
from segloss.engine.data import complete
from segloss.engine.inference import Protocol
from segloss.engine.losses import VOID
from segloss.engine.semi_supervised import unlabelled_pipeline
from segloss.files import write_json
from segloss.grid import Cell, configs
from segloss.grid.configs import TRAINING_PARTS, ConfigError
from segloss.labels import CATALOGUE as SCENARIOS
from segloss.losses import CATALOGUE as LOSSES

# The segmentors that can train on soft targets.
SCENARIO_SEGMENTORS = {
    "EncoderDecoder": "ScenarioEncoderDecoder",
    "CascadeEncoderDecoder": "ScenarioCascadeEncoderDecoder",
}
IMAGENET = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True)


def load(kind: str, name: str) -> Config:
    """The MMEngine config that a cell's data set, model or schedule names."""
    return Config.fromfile(configs.mmengine_file(kind, name))


def as_list(heads: Any) -> list[ConfigDict]:
    """No head, one head or a list of heads, as a list."""
    return [] if heads is None else list(heads) if isinstance(heads, (list, tuple)) else [heads]


def loss_config(terms: list[dict[str, Any]], weight: float, class_counts: list[int]) -> dict[str, Any]:
    """The ``loss_decode`` of one line of losses.yaml; several terms are computed together by CompoundLoss.

    Losses that want to know the training set's class frequencies get them, whatever the data set.
    """
    if len(terms) > 1:
        name, options = "compound", dict(terms=terms)
    else:
        options = dict(terms[0])
        name, weight = options.pop("loss"), weight * options.pop("weight")
    measured = dict(class_counts=class_counts) if LOSSES[name].takes_class_counts else {}
    return dict(type=LOSSES[name].module_name, loss_weight=weight, **options, **measured)


def labelled_part(cell: Cell) -> tuple[tuple[str, Any], ...]:
    """Which training images keep their labels, as the cell's scenario says it; empty: all do."""
    return tuple(sorted(grid.settings(cell)["labels"].get("labelled", {}).items()))


@functools.cache
def fingerprints(source: str, folder: str, labelled: tuple[tuple[str, Any], ...]) -> dict[str, str]:
    """The fingerprints of a cell's data: ``training`` is of what it is trained on, ``evaluation`` of all other splits.

    It reads all labels but those of unlabelled images, so a process does it once.
    """
    dataset, place = DATASETS[source], Path(folder)
    with_labels, without = training_lists(dataset, place, dict(labelled) or None)
    evaluation = {split: dataset.read_list(place, split) for split in dataset.splits if split != "train"}
    return {
        "training": dataset.fingerprint(place, {"train": with_labels, "unlabelled": without}),
        "evaluation": dataset.fingerprint(place, evaluation),
    }


def remembered_counts(cache: Path) -> list[int] | None:
    """The class counts in a file, None if it is not there or damaged."""
    try:
        counts = json.loads(cache.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    whole = isinstance(counts, list) and all(type(count) is int for count in counts)
    return counts if whole else None


def training_class_counts(source: str, folder: str, labelled: tuple[tuple[str, Any], ...] = ()) -> list[int]:
    """Pixels of each class in the labelled training images, counted (and the labels checked) once and remembered."""
    cache = Path("data") / ".class_counts" / f"{source}-{fingerprints(source, folder, labelled)['training']}.json"
    dataset, place = DATASETS[source], Path(folder)
    remembered = remembered_counts(cache)
    if remembered is not None and len(remembered) == len(dataset.classes):
        return remembered
    counts = dataset.class_counts(place, training_lists(dataset, place, dict(labelled) or None)[0])
    with suppress(OSError):  # where nothing can be remembered, it is counted again
        write_json(cache, counts)
    return counts


def heads(model: ConfigDict) -> Iterator[tuple[ConfigDict, bool]]:
    """Every head of a model, and whether it is an auxiliary one."""
    for head in as_list(model.decode_head):
        yield head, False
    for head in as_list(model.get("auxiliary_head")):
        yield head, True


def model_config(cell: Cell, dataset: Config, folder: str) -> ConfigDict:
    """The cell's model with its loss, its label scenario and its data set's classes.

    The decode head takes the cell's loss. Auxiliary heads take cross-entropy at the weight their config gives, as in
    the papers of the JDT losses; every head gets the scenario's target.

    Raises:
        ConfigError: if the model is of a kind that has no such losses.
    """
    settings = grid.settings(cell)
    model = load("models", cell.model).model
    labels = settings["labels"]
    semi_supervised = "mean_teacher" in labels
    if SCENARIOS[labels["target"]] is not SCENARIOS["hard"] or semi_supervised:
        if model.type not in SCENARIO_SEGMENTORS:
            raise ConfigError(
                f"{cell.model} is a {model.type}: this kind of labels needs one of {', '.join(SCENARIO_SEGMENTORS)}"
            )
        model.type = SCENARIO_SEGMENTORS[model.type]
        model.scenario = {key: value for key, value in labels.items() if key not in TRAINING_PARTS}
    if semi_supervised:
        model.mean_teacher = {key: value for key, value in labels["mean_teacher"].items() if key != "cutmix"}
    class_counts = training_class_counts(dataset.source, folder, labelled_part(cell))
    for head, auxiliary in heads(model):
        if "loss_decode" not in head:
            raise ConfigError(f"{cell.model} has the head {head.type} without a loss_decode: its loss cannot be chosen")
        weight = as_list(head.loss_decode)[0].get("loss_weight", 1.0)
        terms = [dict(loss="cross_entropy", weight=1.0)] if auxiliary else settings["loss"]
        head.loss_decode = loss_config(terms, weight, class_counts)
        head.num_classes = len(DATASETS[dataset.source].classes)
        head.pop("out_channels", None)
    normalisation = dataset.get("normalisation", IMAGENET)
    model.data_preprocessor = dict(
        type="ViewsPreProcessor" if semi_supervised else "SegDataPreProcessor",
        size=dataset.crop_size,
        pad_val=0,
        seg_pad_val=VOID,
        **normalisation,
    )
    model.test_cfg = {key: dataset.test_cfg[key] for key in ("mode", "crop_size", "stride") if key in dataset.test_cfg}
    return model


def protocol(dataset: Config, name: str) -> dict[str, Any]:
    """How predictions are made, from a data set's ``test_cfg``, with all defaults.

    Raises:
        ConfigError: if it says something else.
    """
    known = [field.name for field in fields(Protocol)]
    for key in dataset.test_cfg:
        if key not in known:
            raise ConfigError(f"{name}: test_cfg: {configs.unknown('key', key, known)}")
    try:
        return asdict(Protocol(**dataset.test_cfg))
    except ValueError as error:
        raise ConfigError(f"{name}: test_cfg: {error}") from None


def cell_config(cell: Cell, folder: str) -> Config:
    """Everything that decides the cell's result, resolved.

    Args:
        cell: The cell.
        folder: Where its data set lies.
    """
    dataset, schedule = load("datasets", cell.dataset), load("schedules", cell.schedule)
    source, labels = DATASETS[dataset.source], grid.settings(cell)["labels"]
    trains_on_raters = SCENARIOS[labels["target"]].source == "raters"
    train_pipeline = complete(dataset.train_pipeline, ["LoadRaters"] if trains_on_raters else [])
    truths = [*(["LoadRaters"] if source.raters else []), *(["LoadTruth"] if source.read_truth else [])]
    test_pipeline = complete(dataset.test_pipeline, truths)
    common = dict(type="ListDataset", source=dataset.source, folder=folder)
    training = dict(**common, split="train", labelled=labels.get("labelled"))
    unlabelled = None
    if "mean_teacher" in labels and training_lists(source, Path(folder), labels.get("labelled"))[1]:
        pipeline = unlabelled_pipeline(dataset.train_pipeline, labels["mean_teacher"].get("cutmix", 0.5))
        unlabelled = dict(**training, unlabelled=True, pipeline=pipeline)

    def evaluated(split: str) -> dict[str, Any]:
        return dict(**common, split=split, pipeline=test_pipeline, test_mode=True)

    return Config(
        dict(
            default_scope="mmseg",
            seed=grid.seed(cell),
            model=model_config(cell, dataset, folder),
            train_dataset=dict(**training, pipeline=train_pipeline),
            unlabelled_dataset=unlabelled,
            validation_dataset=evaluated(dataset.val_split) if dataset.get("val_split") else None,
            test_dataset=evaluated(dataset.test_split),
            reference=dataset.get("reference", "label"),
            protocol=protocol(dataset, cell.dataset),
            batch_size=schedule.batch_size,
            iterations=schedule.iterations,
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
