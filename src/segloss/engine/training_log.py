"""The log of a training: rows of losses, learning rate and speed; a NaN or infinite loss stops the training."""

import math
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.hooks import Hook

from segloss.engine import processes
from segloss.engine.losses import SegmentationLoss
from segloss.engine.training import failure
from segloss.records import progress
from segloss.tracking import Run

Row = dict[str, float]
# Called with a row and the iteration at which it was measured.
Log = Callable[[Row, int], None]


@dataclass(frozen=True)
class TrainingLog:
    """The destination of a training's rows: its W&B run, and the progress file that ``segloss status`` reads."""

    run: Run
    folder: Path
    iterations: int
    batch_size: int

    def __call__(self, row: Row, step: int) -> None:
        """Log one row measured at that iteration."""
        if processes.rank():
            return
        self.run.log(row, step)
        speed = row.get("train/images_per_second")
        if speed is None:  # a validation row
            return
        progress.write(
            self.folder,
            "training",
            iteration=step,
            iterations=self.iterations,
            images_per_second=speed,
            seconds_left=(self.iterations - step) * self.batch_size / speed,
        )


def _stack(values: Sequence[torch.Tensor]) -> torch.Tensor:
    # After a resume the older values are on the CPU.
    return torch.stack([value.to(values[-1].device) for value in values])


def peak_memory() -> int:
    """The peak memory of this process so far in bytes: that allocated by torch on a GPU, else the resident set size."""
    if torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def compound_losses(model: torch.nn.Module) -> dict[str, SegmentationLoss]:
    """The losses with several terms in a model, by head: ``decode``, ``auxiliary.0``."""
    losses = {}
    for path, module in model.named_modules():
        if isinstance(module, SegmentationLoss) and len(module.options.get("terms", ())) > 1:
            head = path.removeprefix("module.").rpartition(".loss_decode")[0].replace("_head", "")
            losses[head] = module
    return losses


class LogHook(Hook):
    """Logs rows of losses, learning rate, speed and memory; stops the training when a loss is NaN or infinite.

    For a loss with several terms, a row also holds each term's value and the norm of its gradient with respect to the
    logits, both at the row's own iteration: they show which term drives the training. With several processes, the norm
    is that of rank 0's share of the batch; with several targets (distillation, pseudo-labels), value and norm are those
    against the last target.

    Args:
        log: Also called with each row.
        interval: Iterations between two rows; a row holds the means since the last one.
    """

    def __init__(self, log: Log, interval: int) -> None:
        self.log, self.interval = log, interval
        self.rows: list[Row] = []
        # Values of every iteration since the last row, on the device: read once per row, to avoid a sync per iteration.
        self.values: dict[str, list[torch.Tensor]] = {}
        self.started_at = 0.0

    def state_dict(self) -> dict[str, Any]:
        """The state that a resumed training needs to log the same rows as an uninterrupted one."""
        return {"rows": self.rows, "values": self.values}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from that state."""
        self.rows = state["rows"]
        self.values = {name: list(values) for name, values in state["values"].items()}

    def replay(self, rows: Sequence[Row], validations: Sequence[Row]) -> None:
        """Log the rows and validations of earlier runs again: the W&B run of a resumed training begins a new file."""
        earlier = [*rows, *({"iteration": entry["iteration"], "val/mIoU": entry["mIoU"]} for entry in validations)]
        for row in sorted(earlier, key=lambda entry: entry["iteration"]):
            self.log({name: value for name, value in row.items() if name != "iteration"}, int(row["iteration"]))

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Exclude the time spent in this context from the training time."""
        started = time.monotonic()
        yield
        self.started_at += time.monotonic() - started

    def check(self, runner: Any, iteration: int) -> None:
        """Raise TrainingFailure if a loss since the last row is NaN or infinite."""
        losses = _stack(self.values["loss"]).tolist() if self.values else []
        for number, loss in enumerate(losses, iteration - len(losses) + 1):
            if not math.isfinite(loss):
                raise failure(runner, f"the loss is {loss} at", number)

    def before_train(self, runner: Any) -> None:
        """Find the losses with several terms, and start the timer."""
        self.compound_losses = compound_losses(runner.model)
        self.started_at = time.monotonic()

    def ends_row(self, runner: Any, iteration: int) -> bool:
        """True if a row is logged after this iteration."""
        return iteration % self.interval == 0 or iteration == runner.train_loop.max_iters

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Enable the report of the terms in an iteration that ends a row."""
        for module in self.compound_losses.values():
            module.report_terms = self.ends_row(runner, batch_idx + 1)

    def terms(self) -> Row:
        """The entries of a row on the terms of compound losses."""
        return {
            f"train/{head}.{term}.{name}": float(value)
            for head, module in self.compound_losses.items()
            for term, report in module.report.items()
            for name, value in report.items()
        }

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Add this iteration's losses; every ``interval`` iterations log their means."""
        for name, value in outputs.items():
            self.values.setdefault(name, []).append(value.detach())
        iteration = batch_idx + 1
        if not self.ends_row(runner, iteration):
            return
        self.check(runner, iteration)
        row = {f"train/{name}": float(_stack(values).mean()) for name, values in self.values.items()}
        count, seconds = len(self.values["loss"]), time.monotonic() - self.started_at
        row["train/lr"] = runner.optim_wrapper.get_lr()["lr"][0]
        row["train/images_per_second"] = count * len(data_batch["inputs"]) / seconds
        row["train/memory_gb"] = peak_memory() / 1e9
        row |= self.terms()
        self.rows.append({"iteration": iteration, **row})
        self.log(row, iteration)
        runner.logger.info(
            f"iteration {iteration}/{runner.train_loop.max_iters}"
            f"  loss {row['train/loss']:.4f}  {row['train/images_per_second']:.1f} images/s"
        )
        self.values, self.started_at = {}, time.monotonic()
