"""Which weights of a training are evaluated, the last or the best on validation, and the file that keeps them."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from mmengine.hooks import Hook

from segloss.engine import processes
from segloss.engine.checkpoints import write_state
from segloss.engine.training import MeasureHook


class WeightsHook(Hook):
    """Validates every so often and remembers the weights of the best mIoU, the earliest of several; or does nothing.

    Args:
        path: Where a finished training keeps its weights.
        config_hash: Identity of the training.
        rule: ``last`` or ``best``.
        interval: For ``best``, the iterations between two validations; the last iteration is validated too.
        validate: For ``best``, from the model to its mIoU on the validation images.
        measure: The hook whose clock stands still meanwhile, and whose tracker gets the values.
    """

    def __init__(
        self,
        path: Path,
        config_hash: str,
        rule: str,
        interval: int | None,
        validate: Callable[[torch.nn.Module], float],
        measure: MeasureHook,
    ) -> None:
        self.path, self.config_hash = path, config_hash
        self.rule, self.interval, self.validate, self.measure = rule, interval, validate, measure
        self.validations: list[dict[str, float]] = []
        self.best: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        """What a restarted training needs to choose as an undisturbed one does."""
        return {"validations": self.validations, "best": self.best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.validations, self.best = state["validations"], state["best"]

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Validate when it is time."""
        iteration = batch_idx + 1
        if self.rule == "last" or (iteration % self.interval and iteration != runner.train_loop.max_iters):
            return
        self.measure.check(runner, iteration)
        started = time.monotonic()
        value = self.validate(processes.bare(runner.model))
        self.measure.started_at += time.monotonic() - started
        if self.best is None or value > max(row["mIoU"] for row in self.validations):
            model = {
                name: tensor.detach().cpu().clone()
                for name, tensor in processes.bare(runner.model).state_dict().items()
            }
            self.best = {"iteration": iteration, "model": model}
        self.validations.append({"iteration": iteration, "mIoU": value})
        self.measure.tracker.log({"val/mIoU": value}, step=iteration)
        runner.logger.info(f"iteration {iteration}: mIoU {value:.2f} on the validation images")

    def write(self, runner: Any) -> None:
        """Write the weights that are evaluated, their iteration, and what the record tells of the training."""
        last = {"iteration": runner.train_loop.iter, "model": processes.bare(runner.model).state_dict()}
        told = {"validations": self.validations, "rows": self.measure.rows}
        weights = {"config_hash": self.config_hash, **(last if self.best is None else self.best), **told}
        write_state(self.path, weights)
