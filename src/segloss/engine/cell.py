"""One cell from its experiment to its record: prepare, train, measure, publish."""

import errno
import time
import traceback
from pathlib import Path
from typing import Any

import torch
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS as MMSEG_DATASETS

from segloss import records
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
from segloss.engine.evaluation import Evaluation, evaluate, validate, validation_miou
from segloss.engine.machine import (
    Machine,
    limit_threads,
)
from segloss.engine.model_selection import BestWeightsHook
from segloss.engine.pretrained import prepare_timm
from segloss.engine.record import Measured, Prepared, Trained, calibration_entry, publish
from segloss.engine.runner import build_runner, evaluation_loader
from segloss.engine.training import ProgressHook, TrainingFailure
from segloss.engine.training_log import LogHook, TrainingLog
from segloss.grid import ConfigError, Experiment
from segloss.grid.data import experiment_fingerprints, sources
from segloss.grid.protocol import Protocol
from segloss.grid.weights import pretrained_entry
from segloss.losses import set_switches
from segloss.metrics import Boundaries
from segloss.records import progress
from segloss.records.folds import pool_folds
from segloss.tracking import Run, tracked


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
        # Other labels, another teacher or other pretrained weights make it a different training with the same settings.
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
    if processes.rank() == 0:  # an earlier training's predictions must not pass for this one's if it fails
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
        processes.barrier()  # until rank 0 has written the weights
        weights = load_checkpoint(work / "weights.pt", identity)
    model = processes.unwrap(runner.model)
    model.load_state_dict(weights["model"])
    return Trained(model, runner.train_dataloader.dataset.dataset, weights, start, time.monotonic() - started)


def load_trained(prepared: Prepared, results: Path, machine: Machine) -> Trained:
    """The trained model of another cell, to be evaluated on this cell's data set.

    Raises:
        ConfigError: if that cell is not trained, or was trained with settings other than those in configs/.
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
    """The predictor of a control, as a training of zero iterations."""
    config = prepared.config
    images = MMSEG_DATASETS.build(config.train_dataset)
    model = control(prepared.experiment.control, config.class_counts)
    return Trained(model, images, {"rows": [], "iteration": 0, "validations": []}, 0, 0.0)


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
    """The reason for a cell's failure that the results table shows, in one line."""
    text = " ".join(str(error).split())
    if isinstance(error, TrainingFailure | DatasetError | ConfigError):
        return text
    # torch raises a dedicated error on a GPU and an unspecific one on a CPU.
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in text:
        return f"out of memory: {text}".removesuffix(": ")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full: {text}"
    return f"{type(error).__name__}: {text}"


def run_cell(experiment: Experiment, results: Path, data_root: Path, machine: Machine) -> dict[str, Any]:
    """Run ``train_and_evaluate``; write the reason for a failure to failure.json, which the results table reads."""
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
