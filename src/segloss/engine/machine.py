"""Options of the machine: threads, precision, memory format, compilation, several processes; all of them recorded."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import cv2
import torch
from mmengine.config import ConfigDict
from mmengine.hooks import Hook
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from mmengine.runner import Runner
from torch import nn

from segloss.engine import processes


@dataclass(frozen=True)
class Machine:
    """The options with which a cell runs on a machine. They are recorded, but are not part of the cell's identity.

    Attributes:
        device: ``cpu`` or ``cuda``.
        threads: CPU threads of one process. Results on a CPU are bitwise identical only for the same number.
        workers: Number of data loader workers; with 0, the training process loads the data.
        checkpoint_seconds: Time between two checkpoints of the training.
        precision: Precision of the training's forward and backward pass: ``fp32``, ``bf16`` or, on a GPU, ``fp16``.
        channels_last: Use the channels-last memory format.
        compiled: Compile the backbone with torch.compile.
        fused: Use the optimiser's fused implementation.
    """

    device: str
    threads: int
    workers: int
    checkpoint_seconds: float
    precision: str = "fp32"
    channels_last: bool = False
    compiled: bool = False
    fused: bool = False


def limit_threads(threads: int) -> None:
    """Limit torch, OpenCV and OpenMP to that many threads, so that cells side by side do not compete."""
    torch.set_num_threads(threads)
    cv2.setNumThreads(0 if threads == 1 else threads)
    os.environ["OMP_NUM_THREADS"] = str(threads)


def device_name(machine: Machine) -> str:
    """``cpu`` or the name of the GPU."""
    return torch.cuda.get_device_name() if machine.device == "cuda" else "cpu"


@OPTIM_WRAPPERS.register_module()
class BfloatOptimWrapper(OptimWrapper):
    """OptimWrapper that trains in bfloat16 under torch's autocast; its range needs no loss scaling."""

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """The forward pass and the loss; the losses of segloss compute in float32."""
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, torch.bfloat16):
            yield


def optimizer(config: ConfigDict, machine: Machine) -> dict[str, Any]:
    """The config of the optimiser on this machine.

    Raises:
        ValueError: if the device does not support the precision.
    """
    wrapper = {"fp32": "OptimWrapper", "bf16": "BfloatOptimWrapper", "fp16": "AmpOptimWrapper"}[machine.precision]
    if machine.precision == "fp16" and machine.device == "cpu":
        raise ValueError("fp16 needs a GPU; a CPU trains in fp32 or bf16")
    config = {**config, "type": wrapper, "optimizer": dict(config["optimizer"])}
    if machine.fused:
        config["optimizer"]["fused"] = True
    return config


def uses_channels_last(config: ConfigDict, machine: Machine) -> bool:
    """True if the machine's options or the model's config request the channels-last memory format.

    It is faster, but sums in another order: models whose results were published without it keep the other format.
    """
    return machine.channels_last or bool(config.get("channels_last"))


class ChannelsLastHook(Hook):
    """Converts the model to the channels-last memory format after its initialisation; its images follow."""

    priority = "VERY_HIGH"

    def before_train(self, runner: Runner) -> None:
        """Convert the model."""
        processes.unwrap(runner.model).to(memory_format=torch.channels_last)


class MachineRunner(Runner):
    """MMEngine's Runner with the model compiled, laid out and distributed by the machine's options.

    Args:
        machine: The machine's options.
        load_weights: Loads pretrained weights into the initialised model; None for none.
        channels_last: Use the channels-last memory format.
        runner: The arguments of MMEngine's Runner.
    """

    def __init__(
        self,
        machine: Machine,
        load_weights: Callable[[nn.Module], None] | None = None,
        channels_last: bool = False,
        **runner: Any,
    ) -> None:
        self.machine, self.load_weights, self.last_checkpoint = machine, load_weights, 0
        super().__init__(**runner)
        if channels_last:
            self.register_hook(ChannelsLastHook())

    def _init_model_weights(self) -> None:
        """Initialise randomly, as without pretrained weights, then load the pretrained ones."""
        super()._init_model_weights()
        if self.load_weights:
            self.load_weights(processes.unwrap(self.model))

    def _log_env(self, env_cfg: dict) -> None:
        """Log nothing: the record describes code and machine, and MMEngine's survey of them takes seconds."""

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """The model as it is trained."""
        if self.machine.compiled:
            model.backbone.compile()  # in place: the names of its weights do not change
        if processes.world_size() > 1:
            model_wrapper_cfg = dict(type="MMDistributedDataParallel", broadcast_buffers=False, device_ids=None)
            if self.machine.device == "cpu":
                model = revert_sync_batchnorm(model)
        return super().wrap_model(model_wrapper_cfg, model)
