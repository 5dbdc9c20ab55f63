"""Checkpoints of a training: the newest and, should it be damaged, the one before; saved often, resumed exactly."""

import logging
import os
import random
import signal
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from mmengine.hooks import Hook

from segloss.engine import processes
from segloss.engine.training import check_weights
from segloss.files import write_atomic

logger = logging.getLogger(__name__)


class Interrupted(SystemExit):
    """The training received a signal to stop, and has saved a checkpoint."""


def previous(path: Path) -> Path:
    """The file of the checkpoint before the one in ``path``."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint atomically.

    Raises:
        OSError: if it cannot be written.
    """

    def write(file: BinaryIO) -> None:
        try:
            torch.save(state, file)
        except RuntimeError as error:
            # On closing its archive, torch replaces the error of a full disk with its own.
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise

    write_atomic(path, write)


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint; the one it replaces is kept until the next save.

    At any time, one of the two files is a complete checkpoint.

    Raises:
        OSError: if it cannot be written; the older checkpoints are as they were.
    """
    newest = path.with_name(f"{path.stem}.new{path.suffix}")
    write_checkpoint(newest, state)
    if path.exists():
        os.replace(path, previous(path))
    os.replace(newest, path)


def read_checkpoint(path: Path) -> dict[str, Any] | None:
    """The checkpoint in a file, None if it is damaged or missing.

    Tensors are stored uncompressed in a zip archive whose checksums torch writes but never verifies: without
    verifying them here, a flipped bit would become a wrong weight.
    """
    if not path.exists():
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is None:
            state = torch.load(path, map_location="cpu", weights_only=True)
            return state if isinstance(state, dict) else None
        logger.warning("%s is damaged (%s) and is not used", path, damaged)
    except Exception as error:  # zipfile and torch raise anything when they read a damaged file
        logger.warning("%s is damaged (%s: %s) and is not used", path, type(error).__name__, error)
    return None


def load_checkpoint(path: Path, config_hash: str) -> dict[str, Any] | None:
    """The newest intact checkpoint of a training with these settings; None if there is none."""
    for file in (path, previous(path)):
        state = read_checkpoint(file)
        if state is not None and state.get("config_hash") == config_hash:
            return state
    return None


def remove_checkpoints(path: Path) -> None:
    """Remove the checkpoint and the one before."""
    for file in (path, previous(path)):
        file.unlink(missing_ok=True)


def _random_states() -> dict[str, Any]:
    name, keys, *rest = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(keys.astype(np.int64)), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all(),
    }


def _set_random_states(states: dict[str, Any]) -> None:
    random.setstate(states["python"])
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(states["torch"])
    torch.cuda.set_rng_state_all(states["cuda"])


def _stateful(runner: Any) -> Iterator[tuple[str, Any]]:
    """The hooks of a runner that have a state, by the names of their classes."""
    return ((type(hook).__name__, hook) for hook in runner.hooks if hasattr(hook, "load_state_dict"))


class CheckpointHook(Hook):
    """Saves the state of a training at intervals and on SIGTERM or SIGINT, and restores it before the first iteration.

    The state is that of model, optimiser, schedulers and random generators, and of every hook with
    ``load_state_dict``; a hook's ``check``, if any, runs first and may stop the training. Only plain data and tensors
    are saved, so the file can be loaded with ``weights_only``.

    Args:
        path: The file.
        config_hash: Identity of the training; a checkpoint of another one is never restored.
        state: The checkpoint to resume from, as ``load_checkpoint`` returned it.
        seconds: Time between two checkpoints.
    """

    priority = "LOWEST"

    def __init__(self, path: Path, config_hash: str, state: dict[str, Any] | None, seconds: float) -> None:
        self.path, self.config_hash, self.state, self.seconds = path, config_hash, state, seconds
        self.saved_at, self.signal = time.monotonic(), None

    def before_train(self, runner: Any) -> None:
        """Restore the state and install the signal handlers."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda received, _: setattr(self, "signal", received))
        if self.state is None:
            return
        processes.unwrap(runner.model).load_state_dict(self.state["model"])
        runner.optim_wrapper.load_state_dict(self.state["optimizer"])
        for scheduler, state in zip(runner.param_schedulers, self.state["schedulers"], strict=True):
            scheduler.load_state_dict(state)
        for name, hook in _stateful(runner):
            hook.load_state_dict(self.state["hooks"][name])
        runner.train_loop._iter = runner.last_checkpoint = self.state["iteration"]
        _set_random_states(self.state["random"])
        runner.logger.info(f"resuming from iteration {self.state['iteration']}")
        self.state = None

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Save at the interval; after a signal, save and stop."""
        if processes.world_size() > 1:
            if (batch_idx + 1) % processes.SIGNAL_INTERVAL:
                return
            self.signal = max(processes.all_gather(self.signal or 0))
        if self.signal or time.monotonic() - self.saved_at >= self.seconds:
            self.try_save(runner, batch_idx + 1)
        if self.signal:
            raise Interrupted(128 + self.signal)

    def after_train(self, runner: Any) -> None:
        """Check the finished training and restore the signal handlers."""
        self.check(runner, runner.train_loop.iter)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)

    def check(self, runner: Any, iteration: int) -> None:
        """Raise TrainingFailure if a loss or a weight is NaN or infinite: no such state ever replaces a good one."""
        for hook in runner.hooks:
            if hook is not self and hasattr(hook, "check"):
                hook.check(runner, iteration)
        check_weights(runner, iteration)

    def try_save(self, runner: Any, iteration: int) -> None:
        """Save; if that fails (a full disk), training continues and saving is retried later."""
        try:
            self.save(runner, iteration)
        except OSError as error:
            runner.logger.warning(f"the checkpoint of iteration {iteration} could not be saved: {error}")
            self.saved_at = time.monotonic()

    def save(self, runner: Any, iteration: int) -> None:
        """Write the checkpoint of an iteration."""
        self.check(runner, iteration)
        if processes.rank():
            return
        state = {
            "config_hash": self.config_hash,
            "iteration": iteration,
            "model": processes.unwrap(runner.model).state_dict(),
            "optimizer": runner.optim_wrapper.state_dict(),
            "schedulers": [scheduler.state_dict() for scheduler in runner.param_schedulers],
            "hooks": {name: hook.state_dict() for name, hook in _stateful(runner)},
            "random": _random_states(),
        }
        save_checkpoint(self.path, state)
        self.saved_at, runner.last_checkpoint = time.monotonic(), iteration
