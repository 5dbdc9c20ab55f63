"""Weights & Biases for real: its files read back, a run against a server, a sync, failures that change nothing."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import run
from tests.wandb_server import serving

CELL = "phantom/unet-tiny/tiny/hard/ce/seed0"
KEY = "0123456789abcdef0123456789abcdef01234567"
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


def test_with_a_key_it_is_online_and_what_was_offline_is_sent_once(workplace: Path) -> None:
    with serving() as server:
        online = {"WANDB_API_KEY": KEY, "WANDB_BASE_URL": server.url, "WANDB_MODE": None}
        run("segloss", "train", CELL, cwd=workplace, **online)
        record = json.loads((workplace / "results" / CELL / "record.json").read_text())
        identity = record["config_hash"][:16]
        assert [row["iteration"] for row in server.history[identity]] == list(range(1, 17))
        assert server.summary[identity]["mIoU"] == record["metrics"]["mIoU"]
        assert server.runs[identity]["groupName"] == "phantom/hard"

        other = CELL.replace("seed0", "seed1")
        run("segloss", "train", other, cwd=workplace)
        hidden = json.loads((workplace / "results" / other / "record.json").read_text())["config_hash"][:16]
        assert hidden not in server.history
        sent = run("segloss", "sync", cwd=workplace, **online)
        assert "1 of 1 offline runs sent" in sent.stdout
        assert [row["iteration"] for row in server.history[hidden]] == list(range(1, 17))
        assert "0 of 0 offline runs sent" in run("segloss", "sync", cwd=workplace, **online).stdout
    everything = [path.read_bytes() for path in workplace.rglob("*") if path.is_file() and "work" not in path.parts]
    assert not any(KEY.encode() in content for content in everything)


def test_whatever_wandb_does_the_cell_is_the_same(workplace: Path) -> None:
    run("segloss", "train", CELL, "--results", "undisturbed", cwd=workplace, WANDB_MODE="disabled")
    with np.load(workplace / "undisturbed" / CELL / "counts.npz") as file:
        expected = {name: file[name].tobytes() for name in file}
    with serving() as server:
        server.failing = True
        failing = {"WANDB_API_KEY": KEY, "WANDB_BASE_URL": server.url, "WANDB_MODE": None}
        run("segloss", "train", CELL, "--results", "failing", cwd=workplace, **failing)
        assert server.requests
    refused = {"WANDB_API_KEY": KEY, "WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_MODE": None}
    run("segloss", "train", CELL, "--results", "refused", cwd=workplace, **refused)
    # What could not be sent is kept, to be sent later.
    assert list((workplace / "refused" / CELL).glob("work/wandb/offline-run-*/*.wandb"))
    run("segloss", "train", CELL, "--results", "wrong", cwd=workplace, WANDB_MODE="nonsense")
    for results in ("failing", "refused", "wrong"):
        with np.load(workplace / results / CELL / "counts.npz") as file:
            assert {name: file[name].tobytes() for name in file} == expected
    log = run("segloss", "train", CELL, "--results", "wrong", cwd=workplace, WANDB_MODE="nonsense")
    assert "Weights & Biases stopped tracking this cell, its training goes on" in log.stdout + log.stderr
