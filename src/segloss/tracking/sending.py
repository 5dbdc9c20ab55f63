"""Send the run file of a training to W&B's server: while the training runs, or later.

``wandb beta sync --live`` of version 0.31.0 does the same and is not used: if the training was killed, it waits forever
for more rows.
"""

import fcntl
import json
import os
import shutil
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

# Nothing about the machine is recorded.
SETTINGS = dict(
    console="off",
    silent=True,
    save_code=False,
    disable_git=True,
    x_disable_stats=True,
    x_disable_machine_info=True,
)
# Seconds after which a row is on the disk, and after which the sending process reads the file again.
FLUSH = 5
# Bytes of the file before the first record.
HEADER = 7
# Seconds for which the sending process keeps trying after the training has ended.
GRACE = 30


# Variables of sweeps and of other runs, which would change the id of a run.
FOREIGN = ("WANDB_SWEEP_ID", "WANDB_SWEEP_PARAM_PATH", "WANDB_RUN_ID", "WANDB_RESUME")


def forget_foreign_runs() -> None:
    """Remove the variables of ``FOREIGN`` from the environment before W&B reads them: a run has its cell's id."""
    for name in FOREIGN:
        os.environ.pop(name, None)


def connect(settings: Mapping[str, Any], **run: Any) -> Any:
    """Call ``wandb.init`` with ``SETTINGS`` and these settings, with W&B's reporting of its own errors off.

    W&B sends such reports even from an offline run, and a process waits for them when it ends: 10 s if the server
    hangs. Files that W&B stages for artifacts are kept in the run's own folder and not in the home folder.
    """
    import wandb

    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    os.environ["WANDB_DATA_DIR"] = os.environ["WANDB_CACHE_DIR"] = str(Path(run["dir"]).absolute() / "wandb")
    return wandb.init(settings=wandb.Settings(**SETTINGS, **settings), **run)


def send_beside(run_folder: Path) -> subprocess.Popen:
    """Start the process that sends a run while it is being written; its standard input ends when the writer ends."""
    return subprocess.Popen(
        [sys.executable, "-m", "segloss.tracking", str(run_folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C and the end of the job must reach only the training
        # With a separate W&B service: that of the training's process already has a run with this id.
        env={name: value for name, value in os.environ.items() if not name.startswith("WANDB_SERVICE")},
    )


def written(file: Path) -> list[Any]:
    """The records of a run that W&B has written so far.

    The file is a LevelDB log: after a header of 7 bytes, blocks of 32 KiB with chunks, each a header of 7 bytes
    (checksum, length, and whether it is a whole record or its first, middle or last part) and its data.
    """
    from wandb.proto.wandb_internal_pb2 import Record

    data, position, chunks, records = file.read_bytes(), HEADER, [], []
    while position + 7 <= len(data):
        left = 32768 - position % 32768
        if left < 7:
            position += left
            continue
        _, length, kind = struct.unpack("<IHB", data[position : position + 7])
        chunk = data[position + 7 : position + 7 + length]
        if len(chunk) < length:  # it is being written
            break
        chunks.append(chunk)
        position += 7 + length
        if kind in (1, 4):  # whole, or the last of several
            records.append(Record.FromString(b"".join(chunks)))
            chunks = []
    return records


def plain(items: Iterable[Any]) -> dict[str, Any]:
    """Keys and values of a record, nested as they were; without W&B's own keys (``_step``, ``_timestamp``, ...)."""
    values: dict[str, Any] = {}
    for item in items:
        *outer, last = item.nested_key or [item.key]
        if (outer or [last])[0].startswith("_"):
            continue
        level = values
        for key in outer:
            level = level.setdefault(key, {})
        level[last] = json.loads(item.value_json)
    return values


def without_artifact(value: Any) -> Any:
    """A value of a row without a table's reference to its artifact, which stays on this machine.

    W&B then reads the table from the run's files.
    """
    if not isinstance(value, dict):
        return value
    return {key: entry for key, entry in value.items() if key not in ("artifact_path", "_latest_artifact_path")}


def send_media(run: Any, files: Path) -> None:
    """Send the files of tables and images."""
    for file in sorted(files.glob("media/**/*")):
        if file.is_file():
            copy = Path(run.dir) / file.relative_to(files)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
            run.save(str(copy), base_path=run.dir, policy="now")


def send_chart_settings(run: Any, items: Iterable[Any]) -> None:
    """Send chart settings and the class names of masks, which W&B keeps in an internal part of the config."""
    for item in items:
        keys, value = tuple(item.nested_key or [item.key]), json.loads(item.value_json)
        if keys[:2] == ("_wandb", "visualize"):
            run._config_callback(key=keys, val=value)
        elif keys == ("_wandb",) and "mask/class_labels" in value:
            run._config_callback(key=("_wandb", "mask/class_labels"), val=value["mask/class_labels"])


def send_artifact(run: Any, record: Any) -> None:
    """Send an artifact with those of its files that still exist; tables are sent as files of the run."""
    import wandb

    if record.type == "run_table":
        return
    artifact = wandb.Artifact(record.name, record.type)
    for entry in record.manifest.contents:
        if Path(entry.local_path).is_file():
            artifact.add_file(entry.local_path, name=entry.path, policy="immutable", skip_cache=True)
    run.log_artifact(artifact)


def send_record(run: Any, record: Any, files: Path) -> None:
    """Send one record of a run, unless the server has its row already."""
    if record.HasField("history"):
        row = {name: without_artifact(value) for name, value in plain(record.history.item).items()}
        if row["iteration"] >= run.step:
            if any(isinstance(value, dict) for value in row.values()):
                send_media(run, files)
            run.log(row, step=row["iteration"])
    elif record.HasField("summary"):
        # Tables and images come with their row.
        values = plain(record.summary.update)
        run.summary.update({name: value for name, value in values.items() if not isinstance(value, dict)})
    elif record.HasField("config"):
        send_chart_settings(run, record.config.update)
    elif record.HasField("artifact"):
        send_artifact(run, record.artifact)


def replay(file: Path, still_writing: Callable[[], bool], patience: float) -> None:
    """Send a run to W&B's server, from the first row that the server does not have to the last that is written.

    The server's response contains the last row it has, so each row is sent only once, whichever process sent the
    earlier ones.

    Args:
        file: The run file that W&B writes.
        still_writing: Returns True while more rows may come.
        patience: Seconds to wait for the server's first response.

    Raises:
        wandb.errors.CommError: if there was none.
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
            job_type=header[0].job_type,
            tags=list(header[0].tags),
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
                send_record(run, record, file.parent / "files")
            sent = len(records)
            if not at_end:
                time.sleep(FLUSH)
        exits = [record.exit.exit_code for record in records if record.HasField("exit")]
        run.finish(exit_code=exits[0] if exits else 1)
    marker(file).touch()


def send(run_folder: Path) -> None:
    """Send a run that is being written; when its writer has ended, however it did, try for another GRACE seconds."""
    os.nice(10)
    forget_foreign_runs()
    # W&B makes temporary folders when it is imported and while it runs: all are below this one.
    temporary = tempfile.mkdtemp(prefix="segloss-wandb-")
    os.environ["TMPDIR"] = tempfile.tempdir = temporary
    gone = Event()

    def watch() -> None:
        sys.stdin.read()  # ends with the writer
        gone.set()
        deadline = time.monotonic() + GRACE
        # Another attempt at the cell removes the folder, and sends the whole run itself.
        while time.monotonic() < deadline and run_folder.exists():
            time.sleep(0.5)
        # W&B's service is killed too, and neither can tidy up.
        shutil.rmtree(temporary, ignore_errors=True)
        os.killpg(0, signal.SIGKILL)

    with sender_log(run_folder).open("wb") as log, (run_folder.parent / "sending.lock").open("wb") as turn:
        fcntl.flock(log, fcntl.LOCK_EX)
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        Thread(target=watch, daemon=True).start()
        # Wait until the process that sent an earlier attempt has ended: two at once would send rows twice.
        fcntl.flock(turn, fcntl.LOCK_EX)
        replay(next(run_folder.glob("*.wandb")), lambda: not gone.is_set(), patience=86400)
    shutil.rmtree(temporary, ignore_errors=True)


def sender_log(run_folder: Path) -> Path:
    """The output of the process that sends a run; it holds a lock on the file."""
    return run_folder / "sender.log"


def marker(file: Path) -> Path:
    """The marker file of a run that has been sent; ``wandb sync`` writes the same file."""
    return Path(f"{file}.synced")


def unsent_runs(results: Path) -> list[Path]:
    """The unsent runs below a results folder that no process is writing or sending, oldest first."""
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

    forget_foreign_runs()
    files = unsent_runs(results)
    sent = 0
    for number, file in enumerate(files, 1):
        print(f"[{number}/{len(files)}] {file}", flush=True)
        try:
            replay(file, lambda: False, patience=60)
            sent += 1
        except wandb.errors.CommError as error:
            print(f"Weights & Biases cannot be reached: {error}")
            break
        except Exception as error:
            print(f"not sent: {error}", flush=True)
    print(f"{sent} of {len(files)} offline runs sent")
    return len(files) - sent
