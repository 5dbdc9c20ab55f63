"""The data loaders of a cell and MMEngine's Runner that trains it."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.runner import Runner
from mmseg.registry import DATASETS as MMSEG_DATASETS
from torch.utils.data import DataLoader

from segloss.engine import processes
from segloss.engine.data import SampleSequence
from segloss.engine.machine import Machine, MachineRunner, optimizer, uses_channels_last
from segloss.engine.pretrained import load_backbone
from segloss.engine.semi_supervised import TwoLoaders
from segloss.grid import Experiment
from segloss.grid.weights import require_weights


def loader_options(machine: Machine) -> dict[str, Any]:
    """The arguments of a DataLoader on that machine."""
    return dict(
        collate_fn=pseudo_collate,
        num_workers=machine.workers,
        persistent_workers=machine.workers > 0,
        pin_memory=machine.device != "cpu",
    )


def evaluation_loader(dataset: dict[str, Any], machine: Machine) -> DataLoader:
    """A loader of single images. It draws nothing from the training's generator: validation cannot affect training."""
    images = MMSEG_DATASETS.build(dataset)
    order, generator = processes.shard_of_images(len(images)), torch.Generator()
    return DataLoader(images, batch_size=1, sampler=order, generator=generator, **loader_options(machine))


def build_runner(
    config: Config, folder: Path, machine: Machine, start: int, hooks: Sequence[Any], experiment: Experiment
) -> Runner:
    """MMEngine's Runner for a cell whose training starts at iteration ``start``."""
    size = config.batch_size
    samples = config.iterations * size
    sequence = SampleSequence(MMSEG_DATASETS.build(config.train_dataset), config.seed, samples)
    shard = processes.BatchShardSampler(size, start, config.iterations)
    train_loader = DataLoader(sequence, batch_size=shard.shard_size, sampler=shard, **loader_options(machine))
    if config.unlabelled_dataset:
        # A separate sequence and a separate generator: all other draws are the same as without unlabelled images.
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
