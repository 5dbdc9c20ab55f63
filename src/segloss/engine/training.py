"""MMEngine's training loop made restartable to the bit, rows for a tracker, a stop when the loss is no number."""

import math
import random
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.registry import LOOPS
from mmengine.runner import IterBasedTrainLoop

from segloss.engine import processes
from segloss.engine.checkpoints import remove_states, save_state

if TYPE_CHECKING:
    from segloss.engine.model_selection import WeightsHook


class TrainingFailure(RuntimeError):
    """A training that cannot go on; the message is the reason shown in the table."""


class Interrupted(SystemExit):
    """The training was told to stop and has saved its state."""


class Tracker(Protocol):
    """Where rows of measurements go while a cell trains."""

    def log(self, row: dict[str, float], step: int) -> None:
        """Take one row measured at that iteration."""


@LOOPS.register_module()
class RestartableLoop(IterBasedTrainLoop):
    """MMEngine's loop that does not draw every earlier batch again: the data start where the state does."""

    def run(self) -> torch.nn.Module:
        """Train from the current iteration to the last."""
        self.runner.call_hook("before_train")
        self.runner.call_hook("before_train_epoch")
        self.runner.model.train()
        while self._iter < self._max_iters and not self.stop_training:
            self.run_iter(next(self.dataloader_iterator))
        self.runner.call_hook("after_train_epoch")
        self.runner.call_hook("after_train")
        return self.runner.model


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


class RestartHook(Hook):
    """Saves the state of a training every so often and on SIGTERM or SIGINT, restores it before the first iteration.

    Only plain data and tensors are saved, so that the file is loaded with ``weights_only``.

    Args:
        path: The file.
        config_hash: Identity of the training; a state of another is never restored.
        state: What ``load_state`` found.
        measure: The hook whose rows belong to the state.
        choice: The hook that chooses the weights which a finished training leaves instead of its state.
        seconds: Time between two saves.
    """

    priority = "LOWEST"

    def __init__(
        self,
        path: Path,
        config_hash: str,
        state: dict[str, Any] | None,
        measure: "MeasureHook",
        choice: "WeightsHook",
        seconds: float,
    ) -> None:
        self.path, self.config_hash, self.state = path, config_hash, state
        self.measure, self.choice, self.seconds = measure, choice, seconds
        self.saved_at, self.signal = time.monotonic(), None

    def before_train(self, runner: Any) -> None:
        """Restore the state and listen to signals."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda received, _: setattr(self, "signal", received))
        if self.state is None:
            return
        processes.bare(runner.model).load_state_dict(self.state["model"])
        runner.optim_wrapper.load_state_dict(self.state["optimizer"])
        for scheduler, state in zip(runner.param_schedulers, self.state["schedulers"], strict=True):
            scheduler.load_state_dict(state)
        self.measure.load_state_dict(self.state["measured"], next(runner.model.parameters()).device)
        self.measure.last_saved = self.state["iteration"]
        self.choice.load_state_dict(self.state["choice"])
        runner.train_loop._iter = self.state["iteration"]
        _set_random_states(self.state["random"])
        runner.logger.info(f"going on from iteration {self.state['iteration']}")
        self.state = None

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Save when it is time; after a signal, save and leave."""
        if processes.count() > 1:
            if (batch_idx + 1) % processes.AGREE_EVERY:
                return
            self.signal = max(processes.from_all(self.signal or 0))
        if self.signal or time.monotonic() - self.saved_at >= self.seconds:
            self.attempt_save(runner, batch_idx + 1)
        if self.signal:
            raise Interrupted(128 + self.signal)

    def after_train(self, runner: Any) -> None:
        """Keep what the finished training leaves instead of the state."""
        self.measure.check(runner, runner.train_loop.iter)
        if processes.rank() == 0:
            self.choice.write(runner)
            remove_states(self.path)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)

    def attempt_save(self, runner: Any, iteration: int) -> None:
        """Save; where that fails (a full disk), the training goes on with the older states and tries again later."""
        try:
            self.save(runner, iteration)
        except OSError as error:
            runner.logger.warning(f"the state of iteration {iteration} could not be saved: {error}")
            self.saved_at = time.monotonic()

    def save(self, runner: Any, iteration: int) -> None:
        """Write the state after that many iterations.

        Raises:
            TrainingFailure: if it holds a loss or a weight that is not finite: no such state ever replaces a good one.
        """
        self.measure.check(runner, iteration)
        if processes.rank():
            return
        state = {
            "config_hash": self.config_hash,
            "iteration": iteration,
            "model": processes.bare(runner.model).state_dict(),
            "optimizer": runner.optim_wrapper.state_dict(),
            "schedulers": [scheduler.state_dict() for scheduler in runner.param_schedulers],
            "measured": self.measure.state_dict(),
            "choice": self.choice.state_dict(),
            "random": _random_states(),
        }
        save_state(self.path, state)
        self.saved_at, self.measure.last_saved = time.monotonic(), iteration


class ProgressHook(Hook):
    """Tells every part of a model that goes by it how far its training is: deferred options, weights that grow."""

    def before_train(self, runner: Any) -> None:
        """Find those parts, once."""
        self.parts = [module for module in runner.model.modules() if hasattr(module, "progress")]

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Set the fraction of the iterations that are done."""
        for part in self.parts:
            part.progress = batch_idx / runner.train_loop.max_iters


class MeasureHook(Hook):
    """Keeps rows of losses, learning rate and speed, hands them to a tracker, stops when the loss is not finite.

    Args:
        tracker: Takes the rows too.
        interval: Iterations between two rows; each holds the means since the last.
    """

    def __init__(self, tracker: Tracker, interval: int) -> None:
        self.tracker, self.interval = tracker, interval
        self.rows: list[dict[str, float]] = []
        # Of every iteration since the last row, on the device: read once per row, so that no iteration waits for it.
        self.values: dict[str, list[torch.Tensor]] = {}
        self.started_at, self.last_saved = 0.0, 0

    def state_dict(self) -> dict[str, Any]:
        """What a restarted training needs so that its rows are those of an undisturbed one."""
        return {"rows": self.rows, "values": self.values}

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Go on from there."""
        self.replay(state["rows"])
        self.values = {name: [value.to(device) for value in values] for name, values in state["values"].items()}

    def replay(self, rows: list[dict[str, float]]) -> None:
        """Take over the rows of earlier attempts; the tracker gets them again, since it begins a new file."""
        self.rows = rows
        for row in rows:
            self.tracker.log({name: value for name, value in row.items() if name != "iteration"}, row["iteration"])

    def before_train(self, runner: Any) -> None:
        """Start the clock."""
        self.started_at = time.monotonic()

    def failure(self, runner: Any, what: str, iteration: int) -> TrainingFailure:
        """The reason of a training that must not go on."""
        last = f"the last good checkpoint is of iteration {self.last_saved}" if self.last_saved else "no checkpoint yet"
        return TrainingFailure(f"{what} iteration {iteration} of {runner.train_loop.max_iters} ({last})")

    def check_losses(self, runner: Any, iteration: int) -> None:
        """Raise TrainingFailure if a loss since the last row is not finite."""
        losses = torch.stack(self.values["loss"]).tolist() if self.values else []
        for back, loss in enumerate(losses):
            if not math.isfinite(loss):
                raise self.failure(runner, f"the loss is {loss} at", iteration - len(losses) + 1 + back)

    def check(self, runner: Any, iteration: int) -> None:
        """Raise TrainingFailure if a loss since the last row or a weight is not finite."""
        self.check_losses(runner, iteration)
        weights = [tensor for tensor in runner.model.state_dict().values() if tensor.is_floating_point()]
        if not torch.stack([tensor.isfinite().all() for tensor in weights]).all():
            raise self.failure(runner, "a weight is not finite after", iteration)

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Add this iteration's losses; every ``interval`` iterations hand over their means."""
        for name, value in outputs.items():
            self.values.setdefault(name, []).append(value.detach())
        iteration = batch_idx + 1
        if iteration % self.interval and iteration != runner.train_loop.max_iters:
            return
        self.check_losses(runner, iteration)
        row = {f"train/{name}": float(torch.stack(values).mean()) for name, values in self.values.items()}
        count, seconds = len(self.values["loss"]), time.monotonic() - self.started_at
        row["train/lr"] = runner.optim_wrapper.get_lr()["lr"][0]
        row["train/images_per_second"] = count * len(data_batch["inputs"]) / seconds
        self.rows.append({"iteration": iteration, **row})
        self.tracker.log(row, step=iteration)
        runner.logger.info(
            f"iteration {iteration}/{runner.train_loop.max_iters}"
            f"  loss {row['train/loss']:.4f}  {row['train/images_per_second']:.1f} images/s"
        )
        self.values, self.started_at = {}, time.monotonic()
