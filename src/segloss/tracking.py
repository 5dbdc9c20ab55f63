"""Weights & Biases, in the only file that knows it. Whatever goes wrong here, the training goes on and is the same."""

import logging
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)


def has_key() -> bool:
    """Whether W&B finds an API key: in WANDB_API_KEY or where ``wandb login`` keeps it."""
    import wandb

    return bool(os.environ.get("WANDB_API_KEY") or wandb.api.api_key)


def start(
    folder: Path, identity: str, name: str, group: str, config: Mapping[str, Any], project: str, mode: str
) -> Any:
    """A W&B run that holds what it is given and nothing of the machine; every row of it counts by its iteration."""
    import wandb

    run = wandb.init(
        project=os.environ.get("WANDB_PROJECT", project),
        id=identity,
        name=name,
        group=group,
        job_type="train",
        config=dict(config),
        dir=str(folder),
        resume="allow",
        mode=mode,
        settings=wandb.Settings(
            console="off",
            silent=True,
            save_code=False,
            disable_git=True,
            x_disable_stats=True,
            x_disable_machine_info=True,
            init_timeout=20,
        ),
    )
    run.define_metric("*", step_metric="iteration")
    return run


class Run:
    """One cell as one W&B run: online where there is a key, offline without one or where the server is
    out of reach; ``WANDB_MODE`` overrides both.

    A run that is started again goes on under the same id. The first failure of W&B is logged, and tracking ends there.

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
        self._run = None
        try:
            mode = os.environ.get("WANDB_MODE") or ("online" if has_key() else "offline")
            folder.mkdir(parents=True, exist_ok=True)
            try:
                self._run = start(folder, identity, name, group, config, project, mode)
            except Exception as error:
                if mode != "online":
                    raise
                logger.warning("Weights & Biases is out of reach, this cell is tracked offline: %s", error)
                import wandb

                wandb.teardown()  # W&B's service still holds the id of the run that could not start
                self._run = start(folder, identity, name, group, config, project, "offline")
        except Exception as error:
            self._give_up(error)

    def log(self, row: Mapping[str, float], step: int) -> None:
        """One row measured at that iteration."""
        self._attempt(lambda run: run.log({"iteration": step, **row}, step=step))

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Write the final numbers and close the run."""

        def close(run: Any) -> None:
            run.summary.update(dict(summary))
            run.finish()

        self._attempt(close)
        self._run = None

    def fail(self, reason: str) -> None:
        """Close the run as failed."""

        def close(run: Any) -> None:
            run.summary["failure"] = reason
            run.finish(exit_code=1)

        self._attempt(close)
        self._run = None

    def _attempt(self, action: Any) -> None:
        if self._run is not None:
            try:
                action(self._run)
            except Exception as error:
                self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        logger.warning("Weights & Biases stopped tracking this cell, its training goes on: %s", error)
        self._run = None


def offline_runs(results: Path) -> list[Path]:
    """The offline runs below a results folder that have not been sent, in the order they were started."""
    folders = (
        file.parent for file in results.glob("**/wandb/offline-run-*/*.wandb") if not Path(f"{file}.synced").exists()
    )
    return sorted(folders, key=lambda folder: (folder.name.rsplit("-", 1)[1], folder.name))


def sync(results: Path) -> int:
    """Send the offline runs below a results folder, the fragments of each in the order they were written.

    Returns:
        The number of runs that could not be sent.
    """
    folders = offline_runs(results)
    failed = 0
    for number, folder in enumerate(folders, 1):
        print(f"[{number}/{len(folders)}] {folder}", flush=True)
        failed += subprocess.run([sys.executable, "-m", "wandb", "sync", str(folder)], check=False).returncode != 0
    print(f"{len(folders) - failed} of {len(folders)} offline runs sent")
    return failed
