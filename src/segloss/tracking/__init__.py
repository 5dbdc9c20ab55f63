"""Weights & Biases, which only this package uses. Its failures never stop or change a training.

A training writes its run to disk only, so it never waits for a server. If there is an API key, a separate process reads
the growing file and sends it, a few seconds behind; ``segloss sync`` later sends what that process could not. Every
attempt at a cell writes the whole run, from the first iteration on, and replaces the file of the previous attempt.
"""

import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from segloss.grid import Experiment
from segloss.tracking.dashboard import format_dashboard, write_dashboard
from segloss.tracking.evaluation import evaluation_media
from segloss.tracking.sending import FLUSH, connect, forget_foreign_runs, send_beside, sync, unsent_runs

__all__ = ["Run", "format_dashboard", "sync", "tracked", "unsent_runs", "write_dashboard"]

logger = logging.getLogger(__name__)


def preload() -> None:
    """Import the modules that a run imports when it starts, without starting one."""
    import wandb.sdk.launch.inputs.internal  # noqa: F401


def renew_media_folder() -> None:
    """Give this process a separate folder for the media it logs.

    W&B creates the folder when it is imported and deletes it when the process ends: of several cells forked from a
    process that has imported W&B, the first one to end would delete the folder of all.
    """
    from wandb.sdk.data_types._private import MEDIA_TMP

    MEDIA_TMP._finalizer.detach()  # the process that made the old folder deletes it
    MEDIA_TMP.__init__("wandb-media")


def has_key() -> bool:
    """True if there is an API key, in WANDB_API_KEY or in the file of ``wandb login``."""
    import wandb

    return bool(os.environ.get("WANDB_API_KEY") or wandb.api.api_key)


def axes_config(experiment: Experiment) -> dict[str, Any]:
    """The config of a cell's run: its axes and what they stand for as flat keys, to filter and group by.

    ``dataset``, ``model``, ``schedule``, ``labels``, ``loss`` and ``seed`` are those of the cell's name; ``settings``
    has everything that determines its result.
    """
    return {
        **asdict(experiment.cell),
        "source": experiment.source,
        "loss_functions": "+".join(sorted({term["loss"] for term in experiment.loss})),
        "target": experiment.scenario["target"],
        "distilled": bool(experiment.teachers),
        "semi_supervised": "mean_teacher" in experiment.scenario,
        "labelled": str(experiment.scenario.get("labelled", "all")),
        "pretrained": experiment.cell.model.partition("@")[2] or "none",
        "trained_on": experiment.trained.cell.dataset if experiment.trained else experiment.cell.dataset,
        "config_hash": experiment.config_hash,
        "settings": dict(experiment.settings),
    }


@contextmanager
def tracked(experiment: Experiment, folder: Path, except_for: type[BaseException]) -> Iterator["Run"]:
    """The W&B run of a cell: closed at the end of the ``with`` block, as failed if the block ends with an error.

    Args:
        experiment: The cell, resolved.
        folder: W&B's files are kept below it.
        except_for: An exception that is not a failure.
    """
    cell = experiment.cell
    run = Run(
        folder,
        experiment.config_hash[:16],
        name=str(cell),
        group=f"{cell.dataset}/{cell.labels}",
        job_type="evaluate" if experiment.trained or experiment.control else "train",
        tags=[cell.dataset, cell.model, cell.labels, cell.loss],
        config=axes_config(experiment),
    )
    try:
        yield run
    except except_for:
        run.finish()
        raise
    except BaseException as error:
        run.fail(f"{type(error).__name__}: {error}")
        raise
    run.finish()


class Run:
    """One cell as one W&B run: written to disk, and sent from there if there is a key and a server.

    ``WANDB_MODE`` takes precedence over the key: ``online`` sends, ``offline`` does not, ``disabled`` writes nothing.
    The first failure of W&B is logged, and tracking ends there.

    Args:
        folder: The folder of W&B's files.
        identity: The run's id.
        name: Its name in W&B.
        group: The group of runs that are compared with each other.
        config: The axes and the settings, to filter and group by.
        job_type: ``train``, or ``evaluate`` for weights that were trained on other data.
        tags: Words to filter by, of at most 64 characters.
        project: W&B's project; ``WANDB_PROJECT`` overrides it.
    """

    def __init__(
        self,
        folder: Path,
        identity: str,
        name: str,
        group: str,
        config: Mapping[str, Any],
        job_type: str = "train",
        tags: Sequence[str] = (),
        project: str = "segloss",
    ) -> None:
        self._run = self._sender = None
        if os.environ.get("WANDB_MODE") == "disabled":
            return
        try:
            forget_foreign_runs()
            renew_media_folder()
            mode = os.environ.get("WANDB_MODE") or ("online" if has_key() else "offline")
            folder.mkdir(parents=True, exist_ok=True)
            earlier = [*folder.glob("wandb/offline-run-*"), *folder.glob("wandb/artifacts")]
            self._run = connect(
                dict(x_transaction_log_flush_interval=FLUSH),
                project=os.environ.get("WANDB_PROJECT", project),
                id=identity,
                name=name,
                group=group,
                job_type=job_type,
                tags=[tag for tag in tags if len(tag) <= 64],
                config=dict(config),
                dir=str(folder),
                mode="offline" if mode == "online" else mode,
            )
            self._run.define_metric("*", step_metric="iteration")
            for files in earlier:
                shutil.rmtree(files, ignore_errors=True)
            if mode == "online":
                self._sender = send_beside(Path(self._run.dir).parent)
        except Exception as error:
            self._give_up(error)

    def log(self, row: Mapping[str, float], step: int) -> None:
        """Log one row, measured at iteration ``step``."""
        self._attempt(lambda run: run.log({"iteration": step, **row}, step=step))

    def show(self, folder: Path, classes: Sequence[str], step: int) -> None:
        """Add the evaluation to the last row: scores per class, confusion, reliability, and some predictions.

        Args:
            folder: The cell's folder, with counts.npz and predictions.npz.
            classes: The names of the classes.
            step: The last iteration.
        """
        self._attempt(lambda run: run.log({"iteration": step, **evaluation_media(folder, classes)}, step=step))

    def summarise(self, summary: Mapping[str, Any]) -> None:
        """Write the final numbers to the run's summary."""
        self._attempt(lambda run: run.summary.update(dict(summary)))

    def finish(self) -> None:
        """Close the run."""
        self._attempt(lambda run: run.finish())
        self._end()

    def fail(self, reason: str) -> None:
        """Close the run as failed."""

        def close(run: Any) -> None:
            run.summary["failure"] = reason
            run.finish(exit_code=1)

        self._attempt(close)
        self._end()

    def _attempt(self, action: Callable[[Any], object]) -> None:
        if self._run is not None:
            try:
                action(self._run)
            except Exception as error:
                self._give_up(error)

    def _end(self) -> None:
        self._run = None
        if self._sender is not None:
            self._sender.stdin.close()  # it ends on its own and is not waited for
            self._sender.returncode = 0
            self._sender = None

    def _give_up(self, error: Exception) -> None:
        logger.warning("Weights & Biases stopped tracking this cell, its training continues: %s", error)
        self._end()
