"""From the file that a training writes to W&B's server: beside the training, or later."""

import fcntl
import json
import os
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from threading import Event, Thread
from typing import Any

from segloss.records import run_lock

# A run holds what it is given and nothing of the machine.
SETTINGS = dict(
    console="off",
    silent=True,
    save_code=False,
    disable_git=True,
    x_disable_stats=True,
    x_disable_machine_info=True,
)
# Seconds after which a row is on the disk, and after which the process beside the training looks again.
FLUSH = 5
# Bytes of W&B's own before the first record.
HEADER = 7
# Seconds that the process beside a training goes on trying when the training has ended.
GRACE = 30


def connect(settings: Mapping[str, Any], **run: Any) -> Any:
    """``wandb.init`` with ``SETTINGS`` and these, and without W&B's reports about itself.

    They go to the server also from a run that is offline, and a process waits for them when it ends: 10 s where the
    server hangs.
    """
    import wandb

    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    return wandb.init(job_type="train", settings=wandb.Settings(**SETTINGS, **settings), **run)


def send_beside(run_folder: Path) -> subprocess.Popen:
    """Start the process that sends a run while it is written; the end of its input tells it that the writer is gone."""
    return subprocess.Popen(
        [sys.executable, "-m", "segloss.tracking", str(run_folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C and the end of the job are for the training
        # Not by the service of the training's process, which holds the run's id.
        env={name: value for name, value in os.environ.items() if not name.startswith("WANDB_SERVICE")},
    )


def written(file: Path) -> list[Any]:
    """The records of a run as W&B has written them so far.

    The file is a LevelDB log: after 7 bytes of W&B's own, blocks of 32 KiB with chunks of 7 bytes of header (checksum,
    length, whether it is a record's whole, first, middle or last part) and their data.
    """
    from wandb.proto.wandb_internal_pb2 import Record

    data, position, parts, found = file.read_bytes(), HEADER, [], []
    while position + 7 <= len(data):
        left = 32768 - position % 32768
        if left < 7:
            position += left
            continue
        _, length, kind = struct.unpack("<IHB", data[position : position + 7])
        chunk = data[position + 7 : position + 7 + length]
        if len(chunk) < length:  # it is being written
            break
        parts.append(chunk)
        position += 7 + length
        if kind in (1, 4):  # whole, or the last of several
            found.append(Record.FromString(b"".join(parts)))
            parts = []
    return found


def plain(items: Iterable[Any]) -> dict[str, Any]:
    """Keys and values of a record; what W&B adds itself (``_step``, ``_timestamp``, ...) left out."""
    named = {".".join(item.nested_key) or item.key: item.value_json for item in items}
    return {name: json.loads(value) for name, value in named.items() if not name.startswith("_")}


def replay(file: Path, still_writing: Callable[[], bool], patience: float) -> None:
    """Send a run to W&B's server, from the first row that the server does not have to the last that is written.

    The server says how far it has the run: so a row is sent once, whoever sent those before it.

    Args:
        file: The run as W&B has written it.
        still_writing: Whether more may come.
        patience: Seconds to wait for the server's first answer.

    Raises:
        wandb.errors.CommError: there was none.
    """
    while not (header := [record.run for record in written(file) if record.HasField("run")]):
        time.sleep(1)
    with tempfile.TemporaryDirectory() as folder:
        run = connect(
            dict(x_skip_transaction_log=True, init_timeout=patience),
            project=header[0].project,
            id=header[0].run_id,
            name=header[0].display_name,
            group=header[0].run_group,
            config=plain(header[0].config.update),
            dir=folder,
            mode="online",
            resume="allow",
        )
        run.define_metric("*", step_metric="iteration")
        sent, at_end = 0, False
        while not at_end:
            at_end = not still_writing()
            records = written(file)
            for record in records[sent:]:
                if record.HasField("history"):
                    row = plain(record.history.item)
                    if row["iteration"] >= run.step:
                        run.log(row, step=row["iteration"])
                elif record.HasField("summary"):
                    run.summary.update(plain(record.summary.update))
            sent = len(records)
            if not at_end:
                time.sleep(FLUSH)
        exits = [record.exit.exit_code for record in records if record.HasField("exit")]
        run.finish(exit_code=exits[0] if exits else 1)
    marker(file).touch()


def send(run_folder: Path) -> None:
    """Send a run that is being written; when its writer is gone, however it went, try on for GRACE seconds."""
    os.nice(10)
    gone = Event()

    def watch() -> None:
        sys.stdin.read()  # ends with the writer
        gone.set()
        deadline = time.monotonic() + GRACE
        # Another attempt at the cell takes the folder away, and sends all of it itself.
        while time.monotonic() < deadline and run_folder.exists():
            time.sleep(0.5)
        os.killpg(0, signal.SIGKILL)  # W&B's own service too

    with sender_log(run_folder).open("wb") as log:
        fcntl.flock(log, fcntl.LOCK_EX)
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        Thread(target=watch, daemon=True).start()
        replay(next(run_folder.glob("*.wandb")), lambda: not gone.is_set(), patience=86400)


def sender_log(run_folder: Path) -> Path:
    """What the process that sends a run says; it holds a lock on it."""
    return run_folder / "sender.log"


def marker(file: Path) -> Path:
    """The file beside a run's that says that it has been sent, as ``wandb sync`` writes it too."""
    return Path(f"{file}.synced")


def unsent_runs(results: Path) -> list[Path]:
    """The runs below a results folder that have not been sent and that nobody writes or sends now, oldest first."""
    files = [
        file
        for file in results.glob("**/work/wandb/offline-run-*/*.wandb")
        if not marker(file).exists() and file.stat().st_size > HEADER
        if not run_lock.is_running(file.parents[3]) and not run_lock.is_locked(sender_log(file.parent))
    ]
    return sorted(files, key=lambda file: file.parent.name)


def sync(results: Path) -> int:
    """Send the runs below a results folder that have not been sent yet.

    Returns:
        The number of runs that could not be sent.
    """
    import wandb

    files = unsent_runs(results)
    sent = 0
    for number, file in enumerate(files, 1):
        print(f"[{number}/{len(files)}] {file}", flush=True)
        try:
            replay(file, lambda: False, patience=60)
            sent += 1
        except wandb.errors.CommError as error:
            print(f"Weights & Biases is out of reach: {error}")
            break
        except Exception as error:
            print(f"not sent: {error}", flush=True)
    print(f"{sent} of {len(files)} offline runs sent")
    return len(files) - sent
