"""One cell from its name to its record: train, evaluate, count, write down."""

import errno
import resource
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmseg.registry import DATASETS as MMSEG_DATASETS
from torch.utils.data import DataLoader

from segloss import grid, records
from segloss.datasets import DATASETS, DatasetError, locate, root_of
from segloss.datasets import Dataset as Source
from segloss.engine import distillation, processes
from segloss.engine.checkpoints import load_state
from segloss.engine.config import cell_config, fingerprints, labelled_part
from segloss.engine.data import ListDataset, Visits, missing_raters
from segloss.engine.evaluation import Evaluation, evaluate, validate, validation_miou
from segloss.engine.inference import Protocol
from segloss.engine.machine import Machine, MachineRunner, device_name, limit_threads, optimizer
from segloss.engine.model_selection import WeightsHook
from segloss.engine.semi_supervised import TwoLoaders
from segloss.engine.training import Interrupted, MeasureHook, ProgressHook, RestartHook, TrainingFailure
from segloss.files import write_json
from segloss.grid import Cell, configs
from segloss.losses import set_switches
from segloss.metrics import METRICS_VERSION
from segloss.records import progress
from segloss.tracking import Run


@dataclass(frozen=True)
class Watched:
    """Where a training's rows go: to its W&B run, and how far it is to the file that ``segloss status`` reads."""

    run: Run
    folder: Path
    iterations: int
    batch_size: int

    def log(self, row: dict[str, float], step: int) -> None:
        """Take one row measured at that iteration."""
        if processes.rank():
            return
        self.run.log(row, step)
        speed = row.get("train/images_per_second")
        if speed is None:  # a row of a validation
            return
        progress.tell(
            self.folder,
            "training",
            iteration=step,
            iterations=self.iterations,
            images_per_second=speed,
            seconds_left=(self.iterations - step) * self.batch_size / speed,
        )


def loading(machine: Machine) -> dict[str, Any]:
    """How data are loaded on that machine, as arguments of a DataLoader."""
    return dict(
        collate_fn=pseudo_collate,
        num_workers=machine.workers,
        persistent_workers=machine.workers > 0,
        pin_memory=machine.device != "cpu",
    )


def evaluation_loader(dataset: dict[str, Any], machine: Machine) -> DataLoader:
    """Image by image. It draws no number from the training's generator: validating changes no training."""
    images = MMSEG_DATASETS.build(dataset)
    order, generator = processes.own_images(len(images)), torch.Generator()
    return DataLoader(images, batch_size=1, sampler=order, generator=generator, **loading(machine))


def build_runner(config: Config, folder: Path, machine: Machine, start: int, hooks: Sequence[Any]) -> Runner:
    """MMEngine's Runner for a cell whose training starts at that iteration."""
    size = config.batch_size
    visits = Visits(MMSEG_DATASETS.build(config.train_dataset), config.seed, config.iterations * size)
    part = processes.Part(size, start, config.iterations)
    train_loader = DataLoader(visits, batch_size=part.part, sampler=part, **loading(machine))
    if config.unlabelled_dataset:
        # A sequence of its own and a generator of its own: all else is drawn as it would be without it.
        more = Visits(MMSEG_DATASETS.build(config.unlabelled_dataset), config.seed + 2**31, config.iterations * size)
        more = DataLoader(more, batch_size=part.part, sampler=part, generator=torch.Generator(), **loading(machine))
        train_loader = TwoLoaders(train_loader, more)
    return MachineRunner(
        machine,
        model=config.model,
        work_dir=str(folder),
        train_dataloader=train_loader,
        train_cfg=dict(type="RestartableLoop", max_iters=config.iterations),
        optim_wrapper=optimizer(config.optim_wrapper, machine),
        param_scheduler=config.param_scheduler,
        default_hooks=dict(logger=None, checkpoint=None, timer=None, sampler_seed=None),
        custom_hooks=list(hooks),
        randomness=dict(seed=config.seed),
        default_scope="mmseg",
        launcher="pytorch" if processes.count() > 1 else "none",
    )


def data_told(cell: Cell, source: Source, folder: str, trained: ListDataset, tested: ListDataset) -> dict[str, Any]:
    """What a record says of the images and labels."""
    # By split and by the number of raters who lack a map: so many images.
    missing = {"train": missing_raters(trained), tested.split: missing_raters(tested)} if source.raters else None
    return {
        "source": source.name,
        "fingerprints": fingerprints(source.name, folder, labelled_part(cell)),
        "split": tested.split,
        "images": len(tested),
        "labelled_images": len(trained),
        "missing_raters": missing,
    }


def training_told(config: Config, weights: Mapping[str, Any], start: int, seconds: float) -> dict[str, Any]:
    """What a record says of a training that began at that iteration, from the weights it has left."""
    images = (config.iterations - start) * config.batch_size
    return {
        "started_at_iteration": start,
        "iterations": config.iterations,
        "seconds": seconds,
        "images_per_second": images / seconds if images else None,  # none where it was only evaluated again
        "rows": weights["rows"],
        "checkpoint": {
            "rule": config.checkpoint,
            "iteration": weights["iteration"],
            "validations": weights["validations"],
        },
    }


def train_and_evaluate(cell: Cell, results: Path, data_root: Path, machine: Machine) -> dict[str, Any]:
    """Train a cell from wherever it stopped, evaluate it, and write counts.npz, predictions.npz and record.json.

    Returns:
        The record.

    Raises:
        TrainingFailure: if the loss is not finite.
        Interrupted: after SIGTERM or SIGINT, with the state saved.
    """
    started = time.monotonic()
    limit_threads(machine.threads)
    processes.join(machine.device)
    set_switches(checks=False)  # the labels are checked where they are counted; a check per step would wait for the GPU
    dataset = DATASETS[configs.dataset_source(cell.dataset)]
    if dataset.generated:
        dataset.prepare(root_of(dataset.name, data_root))
    data_folder = str(locate(dataset.name, data_root))
    config = cell_config(cell, data_folder)
    chosen = distillation.choose(cell, results)
    teacher = distillation.Teacher.of(chosen, cell, results) if chosen else None
    # A student that another teacher taught is another training, though its own settings are the same.
    identity = distillation.identity(cell, chosen)
    init_default_scope(config.default_scope)
    folder = results / str(cell)
    work = folder / "work"
    work.mkdir(parents=True, exist_ok=True)
    run = Run(
        work,
        grid.config_hash(cell)[:16],
        name=str(cell),
        group=f"{cell.dataset}/{cell.labels}",
        config={**asdict(cell), "settings": grid.settings(cell)},
    )
    try:
        how = Evaluation(len(dataset.classes), config.reference, Protocol(**config.protocol))
        validation = config.validation_dataset and evaluation_loader(config.validation_dataset, machine)
        file, weights = work / "weights.pt", load_state(work / "weights.pt", identity)
        state = None if weights else load_state(work / "checkpoint.pt", identity)
        start = config.iterations if weights else state["iteration"] if state else 0
        watched = Watched(run, folder, config.iterations, config.batch_size)
        measure = MeasureHook(watched, interval=max(1, min(50, config.iterations // 20)))
        choice = WeightsHook(
            file,
            identity,
            config.checkpoint,
            config.validation_interval,
            lambda model: validation_miou(model, validation, how),
            measure,
        )
        checkpoint = work / "checkpoint.pt"
        restart = RestartHook(checkpoint, identity, state, measure, choice, machine.checkpoint_seconds)
        runner = build_runner(config, work, machine, start, [ProgressHook(), measure, choice, restart])
        if teacher:
            processes.bare(runner.model).teacher = teacher
        training_started = time.monotonic()
        if weights:
            measure.replay(weights["rows"])
        else:
            runner.train()
            processes.wait_for_all()  # until the first has written them
            weights = load_state(file, identity)
        model = processes.bare(runner.model)
        model.load_state_dict(weights["model"])
        evaluation_started = time.monotonic()
        if processes.rank() == 0:
            progress.tell(folder, "evaluating")
        validated, temperature = validate(model, validation, how) if validation else (None, None)
        test_loader = evaluation_loader(config.test_dataset, machine)
        metrics, scaled = evaluate(model, test_loader, how, temperature, folder)
        processes.wait_for_all()  # until the first has written the counts
        finished = time.monotonic()
        record = {
            **records.about(cell, command=[Path(sys.argv[0]).name, *sys.argv[1:]]),
            "seed": config.seed,
            "config": config.to_dict(),
            "machine": {
                **records.machine(),
                **asdict(machine),
                "device": device_name(machine),
                "processes": processes.count(),
            },
            "data": data_told(cell, dataset, data_folder, runner.train_dataloader.dataset.dataset, test_loader.dataset),
            "training": training_told(config, weights, start, evaluation_started - training_started),
            "validation": {
                "split": validation.dataset.split,
                "images": len(validation.dataset),
                "metrics": validated,
            }
            if validation
            else None,
            **({"teacher": {**chosen, "seconds": teacher.seconds()}} if teacher else {}),
            "evaluation": {
                "seconds": finished - evaluation_started,
                "metrics_version": METRICS_VERSION,
                "reference": config.reference,
                "protocol": config.protocol,
                "counts_sha256": records.digest_of(folder / "counts.npz"),
            },
            "temperature_scaling": {"temperature": temperature, "metrics": scaled} if validation else None,
            "seconds": finished - started,
            "peak_memory_bytes": peak_memory(),
            "metrics": metrics,
        }
        if processes.rank() == 0:
            records.write(folder, record)
        processes.wait_for_all()
        run.finish({**metrics, "seconds": record["seconds"], "peak_memory_bytes": record["peak_memory_bytes"]})
        return record
    except Interrupted:
        run.finish({})
        raise
    except BaseException as error:
        run.fail(f"{type(error).__name__}: {error}")
        raise


def reason_of(error: Exception) -> str:
    """What the table says of a cell that failed, in one line."""
    told = " ".join(str(error).split())
    if isinstance(error, TrainingFailure | DatasetError | configs.ConfigError):
        return told
    # torch has its own error on a GPU and an unspecific one on a CPU.
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in told:
        return f"out of memory: {told}".removesuffix(": ")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full: {told}"
    return f"{type(error).__name__}: {told}"


def run_cell(cell: Cell, results: Path, data_root: Path, machine: Machine) -> dict[str, Any]:
    """``train_and_evaluate``; what fails leaves its reason in failure.json, where the table finds it."""
    failure, began = results / str(cell) / "failure.json", time.time()
    try:
        record = train_and_evaluate(cell, results, data_root, machine)
    except Exception as error:
        if processes.lost_another(error):
            time.sleep(2)
            if failure.exists() and failure.stat().st_mtime >= began:
                raise
        described = {"cell": str(cell), "reason": reason_of(error), "traceback": traceback.format_exc()}
        with suppress(OSError):  # on a full disk the log is all that is left
            write_json(failure, described)
        raise
    if processes.rank() == 0:
        failure.unlink(missing_ok=True)
    return record


def peak_memory() -> int:
    """The largest resident size of this process so far, in bytes (Linux counts it in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
