"""Weights & Biases, in the only file that knows it. Whatever goes wrong here, the training goes on and is the same.

A training writes its run to disk only, so it never waits for a server. Where W&B has a key, a process beside it reads
the growing file and sends it, a few seconds behind; what that could not send, ``segloss sync`` sends later. Every
attempt at a cell writes the run whole, from the first iteration on, and takes the place of the file before it: sent
twice, it is the same rows in the same places.
"""

import fcntl
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from select import select
from typing import Any

from segloss import attempts

logger = logging.getLogger(__name__)

# Seconds that the process beside a training goes on trying when the training has ended.
GRACE = 120


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
        mode=mode,
        settings=wandb.Settings(
            console="off",
            silent=True,
            save_code=False,
            disable_git=True,
            x_disable_stats=True,
            x_disable_machine_info=True,
            x_transaction_log_flush_interval=5,
        ),
    )
    run.define_metric("*", step_metric="iteration")
    return run


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

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Write the final numbers and close the run."""

        def close(run: Any) -> None:
            run.summary.update(dict(summary))
            run.finish()

        self._attempt(close)
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


def send_beside(run_folder: Path) -> subprocess.Popen:
    """Start the process that sends a run while it is written; the end of its input tells it that the writer is gone."""
    return subprocess.Popen(
        [sys.executable, "-m", "segloss.tracking", str(run_folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C and the end of the job are for the training
    )


def send(run_folder: Path) -> None:
    """Send a run that is being written; when its writer is gone, however it went, try on for GRACE seconds."""
    os.nice(19)
    with sender_log(run_folder).open("wb") as log:
        fcntl.flock(log, fcntl.LOCK_EX)
        environment = {name: value for name, value in os.environ.items() if name not in ("WANDB_SERVICE", "WANDB_MODE")}
        sending = subprocess.Popen(
            [sys.executable, "-m", "wandb", "beta", "sync", "--live", str(run_folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment | {"WANDB_DIR": str(run_folder.parent.parent)},
        )
        while sending.poll() is None and not select([sys.stdin], [], [], 1)[0]:
            pass
        deadline = time.monotonic() + GRACE
        # Another attempt at the cell takes the folder away, and sends all of it itself.
        while sending.poll() is None and time.monotonic() < deadline and run_folder.exists():
            time.sleep(0.5)
        if sending.poll() is None:
            os.killpg(0, signal.SIGKILL)  # W&B's own service too


def sender_log(run_folder: Path) -> Path:
    """What the process that sends a run says; it holds a lock on it."""
    return run_folder / "sender.log"


def marker(run_folder: Path) -> Path | None:
    """The file that W&B writes when a run has been sent to its end; None where there is no run."""
    return next((Path(f"{file}.synced") for file in run_folder.glob("*.wandb")), None)


def unsent_runs(results: Path) -> list[Path]:
    """The runs below a results folder that have not been sent and that nobody writes or sends now, oldest first."""
    folders = [
        folder
        for folder in results.glob("**/work/wandb/offline-run-*")
        if (sent := marker(folder)) and not sent.exists()
        if not attempts.locked(attempts.attempt_file(folder.parents[2])) and not attempts.locked(sender_log(folder))
    ]
    return sorted(folders, key=lambda folder: folder.name)


def sync(results: Path, at_once: int = 50) -> int:
    """Send the runs below a results folder that have not been sent yet.

    Returns:
        The number of runs that could not be sent.
    """
    folders = unsent_runs(results)
    for first in range(0, len(folders), at_once):
        print(f"sending runs {first + 1} to {min(first + at_once, len(folders))} of {len(folders)}", flush=True)
        some = map(str, folders[first : first + at_once])
        subprocess.run([sys.executable, "-m", "wandb", "sync", *some], check=False)
    sent = sum(marker(folder).exists() for folder in folders)
    print(f"{sent} of {len(folders)} offline runs sent")
    return len(folders) - sent


if __name__ == "__main__":
    send(Path(sys.argv[1]))
