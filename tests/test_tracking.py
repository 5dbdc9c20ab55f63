"""Weights & Biases for real: its files read back, a run against a server, a sync, failures that change nothing."""

import json
import os
import struct
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from segloss import tracking
from segloss.records.run_lock import is_locked
from tests.conftest import BIN, run
from tests.wandb_server import Server, serving

CELL = "phantom/unet-tiny/tiny/hard/ce/seed0"
KEY = "0123456789abcdef0123456789abcdef01234567"
# The command, which says last of all for how long its main thread neither ran nor waited for a processor: the same on a
# busy machine.
SEGLOSS = """
import atexit, sys, time
from pathlib import Path
started = time.monotonic()
@atexit.register
def say():
    ran, queued, _ = map(int, Path("/proc/self/schedstat").read_text().split())
    print("blocked for", time.monotonic() - started - (ran + queued) / 1e9)
from segloss.cli import main
main()
"""
pytestmark = pytest.mark.slow


def log_records(path: Path) -> list[bytes]:
    """The records of a LevelDB log: chunks with a 7-byte header in blocks of 32 KiB, after W&B's own 7-byte header."""
    data, position, parts, records = path.read_bytes(), 7, [], []
    while position + 7 <= len(data):
        left = 32768 - position % 32768
        if left < 7:
            position += left
            continue
        _, length, kind = struct.unpack("<IHB", data[position : position + 7])
        parts.append(data[position + 7 : position + 7 + length])
        position += 7 + length
        if kind in (1, 4):  # whole, or the last of several
            records.append(b"".join(parts))
            parts = []
    return records


def offline(folder: Path) -> list:
    """Every record of the offline runs below a folder, in the order of their start."""
    from wandb.proto.wandb_internal_pb2 import Record

    files = sorted(folder.glob("work/wandb/offline-run-*/*.wandb"))
    return [Record.FromString(data) for file in files for data in log_records(file)]


def rows(records: list) -> list[dict]:
    found = [record.history for record in records if record.WhichOneof("record_type") == "history"]
    return [
        {".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in history.item}
        for history in found
    ]


def test_offline_a_cell_is_a_run_with_its_axes_rows_and_final_numbers(workplace: Path) -> None:
    run("segloss", "train", CELL, cwd=workplace)
    folder = workplace / "results" / CELL
    record = json.loads((folder / "record.json").read_text())
    records = offline(folder)
    (started,) = [one.run for one in records if one.WhichOneof("record_type") == "run"]
    assert started.run_id == record["config_hash"][:16]
    assert started.run_group == "phantom/hard"
    assert started.display_name == CELL
    assert started.job_type == "train"
    config = {item.key: json.loads(item.value_json) for item in started.config.update}
    assert {axis: config[axis] for axis in record["axes"]} == record["axes"]
    tracked = rows(records)
    assert [row["iteration"] for row in tracked] == list(range(1, 17))
    assert [row["_step"] for row in tracked] == list(range(1, 17))
    assert [row["train/loss"] for row in tracked] == [row["train/loss"] for row in record["training"]["rows"]]
    summary = {}
    for one in records:
        if one.WhichOneof("record_type") == "summary":
            summary |= {item.key: json.loads(item.value_json) for item in one.summary.update}
    assert summary["mIoU"] == record["metrics"]["mIoU"]
    assert summary["ECE"] == record["metrics"]["ECE"]


def identity(folder: Path) -> str:
    return json.loads((folder / "record.json").read_text())["config_hash"][:16]


def wait_for(condition: Callable[[], bool], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def online(server: Server) -> dict[str, str | None]:
    return {"WANDB_API_KEY": KEY, "WANDB_BASE_URL": server.url, "WANDB_MODE": None}


def files_with(text: str, folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


def test_with_a_key_it_is_sent_and_what_was_offline_is_sent_once(workplace: Path) -> None:
    with serving() as server:
        run("segloss", "train", CELL, cwd=workplace, **online(server))
        sent = identity(workplace / "results" / CELL)
        wait_for(lambda: sent_or_given_up(workplace))
        run("segloss", "sync", cwd=workplace, **online(server))  # what a busy machine left unsent
        record = json.loads((workplace / "results" / CELL / "record.json").read_text())
        assert [row["iteration"] for row in server.history[sent]] == list(range(1, 17))
        assert server.summary[sent]["mIoU"] == record["metrics"]["mIoU"]
        assert server.runs[sent]["groupName"] == "phantom/hard"

        other = CELL.replace("seed0", "seed1")
        run("segloss", "train", other, cwd=workplace)
        hidden = identity(workplace / "results" / other)
        assert hidden not in server.history
        done = run("segloss", "sync", cwd=workplace, **online(server))
        assert "1 of 1 offline runs sent" in done.stdout
        assert [row["iteration"] for row in server.history[hidden]] == list(range(1, 17))
        requests = server.requests
        assert "0 of 0 offline runs sent" in run("segloss", "sync", cwd=workplace, **online(server)).stdout
        assert server.requests == requests
    assert files_with(KEY, workplace) == []


def test_a_server_at_fault_costs_no_time_and_all_is_sent_later_once(workplace: Path) -> None:
    cells = {kind: CELL.replace("seed0", f"seed{seed}") for seed, kind in enumerate(("well", "hang", "fail", "drop"))}
    results = workplace / "results"
    with serving() as server:
        blocked = {}
        for kind, cell in cells.items():
            server.fault = None if kind == "well" else kind
            server.faults_after = server.requests + (4 if kind == "fail" else 0)  # it fails amid a run
            done = run("python", "-c", SEGLOSS, "train", cell, cwd=workplace, **online(server))
            blocked[kind] = float(done.stdout.split("blocked for ")[1])
            assert "Weights & Biases" not in done.stdout + done.stderr
        # `python -m benchmarks.faults.tracking` measures how much time it costs; a wait for a server is 20 s.
        assert max(blocked.values()) < blocked["well"] + 3, blocked
        server.fault = None
        # Some of the processes beside the trainings still try; what they give up is left to sync.
        wait_for(lambda: sent_or_given_up(results))
        run("segloss", "sync", cwd=workplace, **online(server))
        for cell in cells.values():
            assert [row["iteration"] for row in server.history[identity(results / cell)]] == list(range(1, 17))
            assert identity(results / cell) in server.complete
        requests = server.requests
        assert "0 of 0 offline runs sent" in run("segloss", "sync", cwd=workplace, **online(server)).stdout
        assert server.requests == requests
        assert server.received == 16 * len(cells)
    assert files_with(KEY, workplace) == []


def sent_or_given_up(results: Path) -> bool:
    """Whether no process beside a training sends any of its runs now."""
    return not any(is_locked(file) for file in results.rglob("sender.log"))


def counts(workplace: Path, results: str) -> dict[str, bytes]:
    with np.load(workplace / results / CELL / "counts.npz") as file:
        return {name: file[name].tobytes() for name in file}


def test_a_cell_that_is_killed_and_goes_on_is_one_run_with_every_row_once(workplace: Path) -> None:
    with serving() as server:
        process = subprocess.Popen(
            [str(BIN / "segloss"), "train", CELL, "--checkpoint-seconds", "0"],
            cwd=workplace,
            env={name: value for name, value in {**os.environ, **online(server)}.items() if value is not None},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert any("iteration 9/" in line for line in process.stdout)
        process.kill()
        process.communicate()
        run("segloss", "train", CELL, cwd=workplace, **online(server))
        folder = workplace / "results" / CELL
        assert json.loads((folder / "record.json").read_text())["training"]["started_at_iteration"] >= 8
        assert len(list(folder.glob("work/wandb/offline-run-*"))) == 1
        assert [row["iteration"] for row in rows(offline(folder))] == list(range(1, 17))
        wait_for(lambda: sent_or_given_up(workplace))
        run("segloss", "sync", cwd=workplace, **online(server))  # what a busy machine left unsent
        assert [row["iteration"] for row in server.history[identity(folder)]] == list(range(1, 17))


def test_without_a_server_or_with_a_wrong_mode_the_cell_is_the_same(workplace: Path) -> None:
    run("segloss", "train", CELL, "--results", "undisturbed", cwd=workplace, WANDB_MODE="disabled")
    refused = {"WANDB_API_KEY": KEY, "WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_MODE": None}
    run("segloss", "train", CELL, "--results", "refused", cwd=workplace, **refused)
    log = run("segloss", "train", CELL, "--results", "wrong", cwd=workplace, WANDB_MODE="nonsense")
    assert "Weights & Biases stopped tracking this cell, its training goes on" in log.stdout + log.stderr
    assert counts(workplace, "refused") == counts(workplace, "wrong") == counts(workplace, "undisturbed")
    # What could not be sent is kept, to be sent later.
    wait_for(lambda: sent_or_given_up(workplace))
    assert len(tracking.unsent_runs(workplace / "refused")) == 1
    assert files_with(KEY, workplace) == []
