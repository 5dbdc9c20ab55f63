"""Model selection: evaluate the last weights of a training, or those with the best validation mIoU."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from mmengine.hooks import Hook

from segloss.engine import processes
from segloss.engine.training import check_weights
from segloss.engine.training_log import Log


class BestWeightsHook(Hook):
    """Keeps the weights with the best validation mIoU (the earliest on ties); a no-op for the rule ``last``.

    Args:
        rule: ``last`` or ``best``.
        interval: For ``best``, the iterations between two validations; the last iteration is validated too.
        validate: For ``best``, returns a model's mIoU on the validation images.
        log: Called with each mIoU and its iteration.
        paused: A context in which the training's timer is paused.
    """

    def __init__(
        self,
        rule: str,
        interval: int | None,
        validate: Callable[[torch.nn.Module], float],
        log: Log,
        paused: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self.rule, self.interval, self.validate, self.log, self.paused = rule, interval, validate, log, paused
        self.validations: list[dict[str, float]] = []
        self.best: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        """The state that a resumed training needs to select the same weights as an uninterrupted one."""
        return {"validations": self.validations, "best": self.best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from that state."""
        self.validations, self.best = state["validations"], state["best"]

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Validate at the interval."""
        iteration = batch_idx + 1
        if self.rule == "last" or (iteration % self.interval and iteration != runner.train_loop.max_iters):
            return
        check_weights(runner, iteration)
        with self.paused():
            value = self.validate(processes.unwrap(runner.model))
        if self.best is None or value > max(row["mIoU"] for row in self.validations):
            model = {
                name: tensor.detach().cpu().clone()
                for name, tensor in processes.unwrap(runner.model).state_dict().items()
            }
            self.best = {"iteration": iteration, "model": model}
        self.validations.append({"iteration": iteration, "mIoU": value})
        self.log({"val/mIoU": value}, iteration)
        runner.logger.info(f"iteration {iteration}: mIoU {value:.2f} on the validation images")

    def selected(self, runner: Any) -> dict[str, Any]:
        """The selected weights as ``model``, and their ``iteration``."""
        if self.best is not None:
            return self.best
        return {"iteration": runner.train_loop.iter, "model": processes.unwrap(runner.model).state_dict()}
