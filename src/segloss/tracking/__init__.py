"""Weights & Biases, in the only room that knows it. Whatever goes wrong here, the training goes on and is the same.

A training writes its run to disk only, so it never waits for a server. Where W&B has a key, a process beside it reads
the growing file and sends it, a few seconds behind; what that could not send, ``segloss sync`` sends later. Every
attempt at a cell writes the run whole, from the first iteration on, and takes the place of the file before it.
"""

import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from segloss.grid import Experiment
from segloss.tracking.sending import FLUSH, connect, send_beside, sync, unsent_runs

__all__ = ["Run", "sync", "tracked", "unsent_runs"]

logger = logging.getLogger(__name__)


def preload() -> None:
    """Import all that a run imports when it starts, and start nothing."""
    import wandb.sdk.launch.inputs.internal  # noqa: F401


def has_key() -> bool:
    """Whether W&B finds an API key: in WANDB_API_KEY or where ``wandb login`` keeps it."""
    import wandb

    return bool(os.environ.get("WANDB_API_KEY") or wandb.api.api_key)


def start(
    folder: Path, identity: str, name: str, group: str, config: Mapping[str, Any], project: str, mode: str
) -> Any:
    """A W&B run that holds what it is given and nothing of the machine; every row of it counts by its iteration."""
    run = connect(
        dict(x_transaction_log_flush_interval=FLUSH),
        project=os.environ.get("WANDB_PROJECT", project),
        id=identity,
        name=name,
        group=group,
        config=dict(config),
        dir=str(folder),
        mode=mode,
    )
    run.define_metric("*", step_metric="iteration")
    return run


@contextmanager
def tracked(experiment: Experiment, folder: Path, except_for: type[BaseException]) -> Iterator["Run"]:
    """The W&B run of a cell: closed at the end of the ``with``, as failed if that ends with an error.

    Args:
        experiment: The cell, resolved.
        folder: W&B's files are kept below it.
        except_for: An exception that is no failure.
    """
    cell = experiment.cell
    run = Run(
        folder,
        experiment.config_hash[:16],
        name=str(cell),
        group=f"{cell.dataset}/{cell.labels}",
        config={**asdict(cell), "settings": dict(experiment.settings)},
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
    """One cell as one W&B run: written to disk, and sent from there where there is a key and a server.

    ``WANDB_MODE`` decides instead of the key: ``online`` sends, ``offline`` does not, ``disabled`` writes nothing. The
    first failure of W&B is logged, and tracking ends there.

    Args:
        folder: Where W&B keeps its files.
        identity: The run's id.
        name: Its name, for people.
        group: What is compared with each other.
        config: The axes and the settings, to filter and group by.
        project: W&B's project; ``WANDB_PROJECT`` overrides it.
    """

    def __init__(
        self, folder: Path, identity: str, name: str, group: str, config: Mapping[str, Any], project: str = "segloss"
    ) -> None:
        self._run = self._sender = None
        try:
            mode = os.environ.get("WANDB_MODE") or ("online" if has_key() else "offline")
            folder.mkdir(parents=True, exist_ok=True)
            earlier = list(folder.glob("wandb/offline-run-*"))
            self._run = start(folder, identity, name, group, config, project, "offline" if mode == "online" else mode)
            for attempt in earlier:
                shutil.rmtree(attempt, ignore_errors=True)
            if mode == "online":
                self._sender = send_beside(Path(self._run.dir).parent)
        except Exception as error:
            self._give_up(error)

    def log(self, row: Mapping[str, float], step: int) -> None:
        """One row measured at that iteration."""
        self._attempt(lambda run: run.log({"iteration": step, **row}, step=step))

    def summarise(self, summary: Mapping[str, Any]) -> None:
        """Write the final numbers."""
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

    def _attempt(self, action: Any) -> None:
        if self._run is not None:
            try:
                action(self._run)
            except Exception as error:
                self._give_up(error)

    def _end(self) -> None:
        self._run = None
        if self._sender is not None:
            self._sender.stdin.close()  # it ends by itself; nobody waits for it
            self._sender.returncode = 0
            self._sender = None

    def _give_up(self, error: Exception) -> None:
        logger.warning("Weights & Biases stopped tracking this cell, its training goes on: %s", error)
        self._end()
