"""MMEngine's training loop with bitwise exact resumption, and the failure of a training that cannot continue."""

from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.registry import LOOPS
from mmengine.runner import IterBasedTrainLoop


class TrainingFailure(RuntimeError):
    """A training that cannot continue; the message is the reason shown in the results table."""


def failure(runner: Any, problem: str, iteration: int) -> TrainingFailure:
    """The failure of a training at an iteration, with the last checkpoint before it."""
    last = runner.last_checkpoint
    checkpoint = f"the last good checkpoint is from iteration {last}" if last else "no checkpoint yet"
    return TrainingFailure(f"{problem} iteration {iteration} of {runner.train_loop.max_iters} ({checkpoint})")


def check_weights(runner: Any, iteration: int) -> None:
    """Raise TrainingFailure if a weight is NaN or infinite."""
    weights = [tensor for tensor in runner.model.state_dict().values() if tensor.is_floating_point()]
    if not torch.stack([tensor.isfinite().all() for tensor in weights]).all():
        raise failure(runner, "a weight is not finite after", iteration)


@LOOPS.register_module()
class ResumableLoop(IterBasedTrainLoop):
    """MMEngine's loop, but resuming does not redraw all earlier batches: the data start at the current iteration."""

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


class ProgressHook(Hook):
    """Sets ``progress``, the completed fraction of the training, on modules that have it (deferred options, ramps)."""

    def before_train(self, runner: Any) -> None:
        """Find these modules."""
        self.modules = [module for module in runner.model.modules() if hasattr(module, "progress")]

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Set the fraction of iterations that are done."""
        for module in self.modules:
            module.progress = batch_idx / runner.train_loop.max_iters
