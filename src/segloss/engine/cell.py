"""One cell from its experiment to its record: prepare, train, measure, publish."""

import errno
import functools
import resource
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmseg.registry import DATASETS as MMSEG_DATASETS
from torch import nn
from torch.utils.data import DataLoader

from segloss import records
from segloss.datasets import Dataset as Source
from segloss.datasets import DatasetError, find, locate, root_of
from segloss.engine import distillation, processes
from segloss.engine.checkpoints import (
    CheckpointHook,
    Interrupted,
    load_checkpoint,
    remove_checkpoints,
    write_checkpoint,
)
from segloss.engine.config import control_config, evaluation_config, experiment_config
from segloss.engine.controls import control
from segloss.engine.data import SampleSequence, missing_raters
from segloss.engine.evaluation import Evaluation, evaluate, validate, validation_miou
from segloss.engine.inference import Protocol
from segloss.engine.machine import (
    Machine,
    MachineRunner,
    device_name,
    limit_threads,
    optimizer,
    uses_channels_last,
)
from segloss.engine.model_selection import BestWeightsHook
from segloss.engine.pretrained import load_backbone, prepare_timm
from segloss.engine.semi_supervised import TwoLoaders
from segloss.engine.training import ProgressHook, TrainingFailure
from segloss.engine.training_log import LogHook, TrainingLog
from segloss.files import sha256_of
from segloss.grid import ConfigError, Experiment
from segloss.grid.data import experiment_fingerprints, sources
from segloss.grid.weights import pretrained_entry, require_weights
from segloss.losses import set_switches
from segloss.metrics import METRICS_VERSION, Boundaries
from segloss.records import progress
from segloss.records.folds import pool_folds
from segloss.tracking import Run, tracked

# Rows of the training's log that a record keeps; weights.pt has all of them.
ROWS = 1000


@dataclass(frozen=True)
class Prepared:
    """Everything a cell needs before its first iteration.

    Attributes:
        experiment: The cell, resolved.
        folder: Its folder in the results.
        source: Its data on disk.
        data_folder: Their folder.
        fingerprints: Those of its training and evaluation data.
        config: The MMEngine config.
        teacher: The teacher of a distillation.
        teacher_entry: The record's entry about the teacher.
        pretrained_entry: The record's entry about pretrained weights.
        identity: The identity of its training, that of checkpoints and weights.
        evaluation: The protocol of its evaluation.
    """

    experiment: Experiment
    folder: Path
    source: Source
    data_folder: Path
    fingerprints: Mapping[str, str]
    config: Config
    teacher: distillation.Teacher | None
    teacher_entry: dict[str, Any] | None
    pretrained_entry: Mapping[str, Any] | None
    identity: str
    evaluation: Evaluation


@dataclass(frozen=True)
class Trained:
    """A trained model, its training images, its weights' file, and the training's first iteration and run time."""

    model: nn.Module
    images: Any
    weights: Mapping[str, Any]
    start: int
    seconds: float


@dataclass(frozen=True)
class Measured:
    """All metrics of a trained model; those on validation images are None where the data set has none."""

    metrics: dict[str, float]
    calibration: dict[str, dict[str, Any]] | None
    validation: dict[str, Any] | None
    test: Any
    seconds: float


def loader_options(machine: Machine) -> dict[str, Any]:
    """The arguments of a DataLoader on that machine."""
    return dict(
        collate_fn=pseudo_collate,
        num_workers=machine.workers,
        persistent_workers=machine.workers > 0,
        pin_memory=machine.device != "cpu",
    )


def evaluation_loader(dataset: dict[str, Any], machine: Machine) -> DataLoader:
    """Image by image. It draws no number from the training's generator: validating changes no training."""
    images = MMSEG_DATASETS.build(dataset)
    order, generator = processes.shard_of_images(len(images)), torch.Generator()
    return DataLoader(images, batch_size=1, sampler=order, generator=generator, **loader_options(machine))


def build_runner(
    config: Config, folder: Path, machine: Machine, start: int, hooks: Sequence[Any], experiment: Experiment
) -> Runner:
    """MMEngine's Runner for a cell whose training starts at that iteration."""
    size = config.batch_size
    samples = config.iterations * size
    sequence = SampleSequence(MMSEG_DATASETS.build(config.train_dataset), config.seed, samples)
    shard = processes.BatchShardSampler(size, start, config.iterations)
    train_loader = DataLoader(sequence, batch_size=shard.shard_size, sampler=shard, **loader_options(machine))
    if config.unlabelled_dataset:
        # A sequence of its own and a generator of its own: all else is drawn as it would be without it.
        more = SampleSequence(MMSEG_DATASETS.build(config.unlabelled_dataset), config.seed + 2**31, samples)
        options = dict(sampler=shard, generator=torch.Generator(), **loader_options(machine))
        train_loader = TwoLoaders(train_loader, DataLoader(more, batch_size=shard.shard_size, **options))
    load_weights = None
    if weights := experiment.pretrained:
        path, name = require_weights(weights, experiment.cell.model), config.model.backbone.get("model_name")
        load_weights = functools.partial(
            load_backbone, path=path, names=weights.names, model_name=name, module=weights.module
        )
    return MachineRunner(
        machine,
        load_weights,
        channels_last=uses_channels_last(config, machine),
        model=config.model,
        work_dir=str(folder),
        train_dataloader=train_loader,
        train_cfg=dict(type="ResumableLoop", max_iters=config.iterations),
        optim_wrapper=optimizer(config.optim_wrapper, machine),
        param_scheduler=config.param_scheduler,
        default_hooks=dict(logger=None, checkpoint=None, timer=None, sampler_seed=None),
        custom_hooks=list(hooks),
        randomness=dict(seed=config.seed),
        default_scope="mmseg",
        launcher="pytorch" if processes.world_size() > 1 else "none",
    )


def prepare(experiment: Experiment, results: Path, data_root: Path, machine: Machine) -> Prepared:
    """Set up the process, find the data and the teacher, and resolve the config."""
    limit_threads(machine.threads)
    processes.init_process_group(machine.device)
    # Labels are checked where they are counted; a check per step would synchronise with the GPU.
    set_switches(checks=False)
    for name in sources(experiment):
        if find(name).generated:
            find(name).prepare(root_of(name, data_root))
    source, data_folder = find(experiment.source), locate(experiment.source, data_root)
    prints = experiment_fingerprints(experiment, data_root)
    training = experiment.trained or experiment
    resolved = control_config if experiment.control else experiment_config
    config = resolved(training, locate(training.source, data_root), prints["training"])
    if experiment.trained:
        config.merge_from_dict(evaluation_config(experiment, data_folder))
    if not experiment.control:
        prepare_timm(config.model)
    entry = distillation.choose_teacher(experiment, results)
    weights = pretrained_entry(experiment.pretrained)
    init_default_scope(config.default_scope)
    return Prepared(
        experiment=experiment,
        folder=results / str(experiment.cell),
        source=source,
        data_folder=data_folder,
        fingerprints=prints,
        config=config,
        teacher=distillation.Teacher.load(entry, experiment, results) if entry else None,
        teacher_entry=entry,
        pretrained_entry=weights,
        # With other labels, another teacher or other pretrained weights it is another training of the same settings.
        identity=distillation.training_identity(experiment.config_hash, prints["training"], entry, weights),
        evaluation=Evaluation(
            len(source.classes),
            config.reference,
            Protocol(**config.protocol),
            Boundaries(**config.boundaries),
            tuple(config.calibrators),
        ),
    )


def train(prepared: Prepared, run: Run, machine: Machine) -> Trained:
    """Train from the last checkpoint, or load the weights of a training that had finished.

    Raises:
        TrainingFailure: if a loss or a weight is NaN or infinite.
        Interrupted: after SIGTERM or SIGINT, with a checkpoint saved.
    """
    config, work, identity = prepared.config, prepared.folder / "work", prepared.identity
    work.mkdir(parents=True, exist_ok=True)
    if processes.rank() == 0:  # those of an earlier training must not be taken for this one's if it fails
        (prepared.folder / "predictions.npz").unlink(missing_ok=True)
    validation = config.validation_dataset and evaluation_loader(config.validation_dataset, machine)
    weights = load_checkpoint(work / "weights.pt", identity)
    state = None if weights else load_checkpoint(work / "checkpoint.pt", identity)
    start = config.iterations if weights else state["iteration"] if state else 0
    log = TrainingLog(run, prepared.folder, config.iterations, config.batch_size)
    rows = LogHook(log, interval=max(1, min(50, config.iterations // 20)))
    selection = BestWeightsHook(
        config.checkpoint,
        config.validation_interval,
        lambda model: validation_miou(model, validation, prepared.evaluation),
        log,
        rows.paused,
    )
    checkpoints = CheckpointHook(work / "checkpoint.pt", identity, state, machine.checkpoint_seconds)
    hooks = [ProgressHook(), rows, selection, checkpoints]
    runner = build_runner(config, work, machine, start, hooks, prepared.experiment)
    if prepared.teacher:
        processes.unwrap(runner.model).teacher = prepared.teacher
    started = time.monotonic()
    if state:
        rows.replay(
            *(state["hooks"][hook][key] for hook, key in (("LogHook", "rows"), ("BestWeightsHook", "validations")))
        )
    if weights:
        rows.replay(weights["rows"], weights["validations"])
    else:
        runner.train()
        if processes.rank() == 0:
            history = {"validations": selection.validations, "rows": rows.rows}
            write_checkpoint(work / "weights.pt", {"config_hash": identity, **selection.selected(runner), **history})
            remove_checkpoints(work / "checkpoint.pt")
        processes.barrier()  # until rank 0 has written them
        weights = load_checkpoint(work / "weights.pt", identity)
    model = processes.unwrap(runner.model)
    model.load_state_dict(weights["model"])
    return Trained(model, runner.train_dataloader.dataset.dataset, weights, start, time.monotonic() - started)


def load_trained(prepared: Prepared, results: Path, machine: Machine) -> Trained:
    """The trained model of another cell, to be evaluated on this cell's data set.

    Raises:
        ConfigError: if that cell is not trained, or with other settings than those in configs/.
    """
    trained = prepared.experiment.trained
    folder = results / str(trained.cell)
    if (status := records.cell_status(trained, results)).state != "done":
        raise ConfigError(f"{prepared.experiment.cell} needs the weights of {trained.cell}, which is {status.state}")
    _, weights = distillation.load_weights(folder)
    images = MMSEG_DATASETS.build(prepared.config.train_dataset)
    model = distillation.load_model(folder).to(machine.device)
    return Trained(model, images, weights, prepared.config.iterations, 0.0)


def untrained(prepared: Prepared) -> Trained:
    """The predictor of a control, as a training of no iteration."""
    config = prepared.config
    images = MMSEG_DATASETS.build(config.train_dataset)
    model = control(prepared.experiment.control, config.class_counts)
    return Trained(model, images, {"rows": [], "iteration": 0, "validations": []}, 0, 0.0)


def calibration_entry(
    evaluation: Evaluation, calibrators: Mapping[str, Any], metrics: Mapping[str, dict[str, float]]
) -> dict[str, dict[str, Any]]:
    """The record's entry about calibrators: the metrics after each, or the reason for which it was not fitted."""
    entry: dict[str, dict[str, Any]] = {name: {"metrics": measured} for name, measured in metrics.items()}
    if "scaled" in entry:
        entry["scaled"] = {"temperature": calibrators["scaled"].temperature, **entry["scaled"]}
    return entry | {name: {"skipped": reason} for name, reason in evaluation.skipped().items()}


def measure(prepared: Prepared, trained: Trained, machine: Machine) -> Measured:
    """Evaluate the trained model on the validation and test images; writes counts.npz and predictions.npz."""
    started = time.monotonic()
    model, config, evaluation = trained.model, prepared.config, prepared.evaluation
    if processes.rank() == 0:
        progress.write(prepared.folder, "evaluating")
    validation, calibrators = None, {}
    if config.validation_dataset:
        loader = evaluation_loader(config.validation_dataset, machine)
        metrics, calibrators = validate(model, loader, evaluation)
        validation = {"split": loader.dataset.split, "images": len(loader.dataset), "metrics": metrics}
    test = evaluation_loader(config.test_dataset, machine)
    read_image = test.dataset.read_image if prepared.source.redistributable else None
    metrics, calibrated = evaluate(model, test, evaluation, calibrators, prepared.folder, read_image=read_image)
    calibration = calibration_entry(evaluation, calibrators, calibrated) if validation else None
    processes.barrier()  # until rank 0 has written the counts
    return Measured(metrics, calibration, validation, test.dataset, time.monotonic() - started)


def data_entry(prepared: Prepared, trained: Trained, measured: Measured) -> dict[str, Any]:
    """The record's entry about images and labels."""
    images, test = trained.images, measured.test
    # By split and by the number of raters without a map: the number of images.
    missing = {"train": missing_raters(images), test.split: missing_raters(test)} if prepared.source.raters else None
    return {
        "source": prepared.source.name,
        "fingerprints": dict(prepared.fingerprints),
        "split": test.split,
        "images": len(test),
        "labelled_images": len(images),
        "missing_raters": missing,
    }


def thinned(rows: Sequence[Any], most: int = ROWS) -> list[Any]:
    """At most so many rows, evenly spaced: the first, the last, and whole rows between them; nothing is averaged."""
    if len(rows) <= most:
        return list(rows)
    return [rows[round(place * (len(rows) - 1) / (most - 1))] for place in range(most)]


def training_entry(config: Config, trained: Trained) -> dict[str, Any]:
    """The record's entry about the training."""
    weights = trained.weights
    images = (config.iterations - trained.start) * config.batch_size
    return {
        "started_at_iteration": trained.start,
        "iterations": config.iterations,
        "seconds": trained.seconds,
        "images_per_second": images / trained.seconds if images else None,  # none if it was only evaluated again
        "rows": thinned(weights["rows"]),
        "checkpoint": {
            "rule": config.checkpoint,
            "iteration": weights["iteration"],
            "validations": weights["validations"],
        },
    }


def publish(
    prepared: Prepared, trained: Trained, measured: Measured, machine: Machine, seconds: float
) -> dict[str, Any]:
    """Write record.json; returns the record."""
    config, teacher = prepared.config, prepared.teacher
    command = [Path(sys.argv[0]).name, *sys.argv[1:]]
    record = {
        **records.identity_entry(prepared.experiment, data_entry(prepared, trained, measured), command),
        "seed": config.seed,
        "config": config.to_dict(),
        "machine": {
            **records.machine(),
            **asdict(machine),
            "channels_last": uses_channels_last(config, machine),
            "device": device_name(machine),
            "processes": processes.world_size(),
        },
        "pretrained": prepared.pretrained_entry,
        "training": training_entry(config, trained),
        "validation": measured.validation,
        **({"teacher": {**prepared.teacher_entry, "seconds": teacher.seconds()}} if teacher else {}),
        "evaluation": {
            "seconds": measured.seconds,
            "metrics_version": METRICS_VERSION,
            "reference": config.reference,
            "protocol": config.protocol,
            "boundaries": config.boundaries,
            "counts_sha256": sha256_of(prepared.folder / "counts.npz"),
        },
        "calibration": measured.calibration,
        "seconds": seconds,
        "peak_memory_bytes": peak_memory(),
        "metrics": measured.metrics,
    }
    if processes.rank() == 0:
        records.write(prepared.folder, record)
    processes.barrier()
    return record


def train_and_evaluate(experiment: Experiment, results: Path, data_root: Path, machine: Machine) -> dict[str, Any]:
    """Train a cell from wherever it stopped, evaluate it, and write counts.npz, predictions.npz and record.json.

    Returns:
        The record.

    Raises:
        TrainingFailure: if a loss or a weight is NaN or infinite.
        Interrupted: after SIGTERM or SIGINT, with a checkpoint saved.
    """
    started = time.monotonic()
    prepared = prepare(experiment, results, data_root, machine)
    with tracked(experiment, prepared.folder / "work", except_for=Interrupted) as run:
        if experiment.control:
            trained = untrained(prepared)
        elif experiment.trained:
            trained = load_trained(prepared, results, machine)
        else:
            trained = train(prepared, run, machine)
        measured = measure(prepared, trained, machine)
        record = publish(prepared, trained, measured, machine, time.monotonic() - started)
        run.show(prepared.folder, prepared.source.classes, prepared.config.iterations)
        validated = {
            f"validation/{name}": value for name, value in (measured.validation or {"metrics": {}})["metrics"].items()
        }
        totals = {key: record[key] for key in ("seconds", "peak_memory_bytes")}
        run.summarise(totals | validated | dict(records.measured(record)))
    return record


def failure_reason(error: Exception) -> str:
    """The reason of a failed cell that the table shows, in one line."""
    text = " ".join(str(error).split())
    if isinstance(error, TrainingFailure | DatasetError | ConfigError):
        return text
    # torch has an error of its own on a GPU and an unspecific one on a CPU.
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in text:
        return f"out of memory: {text}".removesuffix(": ")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full: {text}"
    return f"{type(error).__name__}: {text}"


def run_cell(experiment: Experiment, results: Path, data_root: Path, machine: Machine) -> dict[str, Any]:
    """``train_and_evaluate``; the reason of a failure is written to failure.json, which the results table reads."""
    path, started = results / str(experiment.cell) / "failure.json", time.time()
    try:
        if experiment.folds:
            record = pool_folds(experiment, results, data_root)
        else:
            record = train_and_evaluate(experiment, results, data_root, machine)
    except Exception as error:
        if processes.peer_failed(error):
            time.sleep(2)
            if path.exists() and path.stat().st_mtime >= started:
                raise
        records.write_failure(path.parent, experiment.cell, failure_reason(error), traceback.format_exc())
        raise
    if processes.rank() == 0:
        path.unlink(missing_ok=True)
    return record


def peak_memory() -> int:
    """The largest resident size of this process so far, in bytes (Linux counts it in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
