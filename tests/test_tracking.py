"""Weights & Biases for real: its files read back, a run against a server, a sync, failures that change nothing."""

import functools
import json
import os
import struct
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segloss import tracking
from segloss.datasets import DATASETS
from segloss.metrics import Counts, per_class, reliability
from segloss.records.run_lock import is_locked
from segloss.tracking.evaluation import prediction_images
from tests import conftest
from tests.conftest import BIN, grid_of
from tests.wandb_server import Server, serving
from tests.written_records import write_cell

CELL = "phantom/unet-tiny/tiny/hard/ce/seed0"
KEY = "0123456789abcdef0123456789abcdef01234567"
# The command; at its end it prints for how long its main thread neither ran nor waited for a processor, which does not
# depend on how busy the machine is.
SEGLOSS = """
import atexit, sys, time
from pathlib import Path
started = time.monotonic()
@atexit.register
def report():
    ran, queued, _ = map(int, Path("/proc/self/schedstat").read_text().split())
    print("blocked for", time.monotonic() - started - (ran + queued) / 1e9)
from segloss.cli import main
main()
"""
pytestmark = pytest.mark.slow
run = functools.partial(conftest.run, WANDB_MODE="offline")


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
    return [nested(record.history.item) for record in records if record.WhichOneof("record_type") == "history"]


def nested(items: list) -> dict:
    """Keys and values as they were logged."""
    row: dict = {}
    for item in items:
        *outer, last = item.nested_key or [item.key]
        level = row
        for key in outer:
            level = level.setdefault(key, {})
        level[last] = json.loads(item.value_json)
    return row


def media_folder(folder: Path) -> Path:
    """The files of the one offline run of a cell."""
    (files,) = folder.glob("work/wandb/offline-run-*/files")
    return files


def table(row: dict, key: str, files: Path) -> list[dict]:
    """A table of a row, read back."""
    content = json.loads((files / row[key]["path"]).read_text())
    return [dict(zip(content["columns"], values, strict=True)) for values in content["data"]]


def test_offline_a_cell_is_a_run_with_its_axes_rows_final_numbers_and_evaluation(workplace: Path) -> None:
    foreign = dict(WANDB_SWEEP_ID="sweep", WANDB_RUN_ID="other", WANDB_RESUME="must")
    run("segloss", "train", CELL, cwd=workplace, **foreign)
    folder = workplace / "results" / CELL
    record = json.loads((folder / "record.json").read_text())
    records = offline(folder)
    (started,) = [entry.run for entry in records if entry.WhichOneof("record_type") == "run"]
    assert started.run_id == record["config_hash"][:16]
    assert started.sweep_id == ""
    assert started.run_group == "phantom/hard"
    assert started.display_name == CELL
    assert started.job_type == "train"
    assert set(started.tags) == {"phantom", "unet-tiny", "hard", "ce"}
    config = {item.key: json.loads(item.value_json) for item in started.config.update}
    expected = {"loss_functions": "cross_entropy", "target": "hard", "pretrained": "none", "distilled": False}
    assert {key: config[key] for key in (*record["axes"], *expected)} == record["axes"] | expected
    tracked = rows(records)
    assert [row["iteration"] for row in tracked] == list(range(1, 17))
    assert [row["_step"] for row in tracked] == list(range(1, 17))
    assert [row["train/loss"] for row in tracked] == [row["train/loss"] for row in record["training"]["rows"]]
    assert all(row["train/lr"] >= 0 < row["train/images_per_second"] for row in tracked)
    assert all(0.1 < row["train/memory_gb"] < 50 for row in tracked)
    summary = {}
    for entry in records:
        if entry.WhichOneof("record_type") == "summary":
            summary |= nested(entry.summary.update)
    for name in ("mIoU", "ECE"):
        assert summary[name] == record["metrics"][name]
        assert summary[f"validation/{name}"] == record["validation"]["metrics"][name]
    assert summary["ECE_vector"] == record["calibration"]["vector"]["metrics"]["ECE"]
    assert summary["temperature"] == record["calibration"]["scaled"]["temperature"]
    check_evaluation(tracked[-1], folder)


def check_evaluation(row: dict, folder: Path) -> None:
    """The tables and pictures of a run's last row are those of the counts and of the kept predictions."""
    files, measured, classes = media_folder(folder), Counts.load(folder / "counts.npz"), DATASETS["phantom"].classes
    scores = table(row, "evaluation/per_class", files)
    assert [entry["class"] for entry in scores] == list(classes)
    iou = per_class(measured)["IoU"]
    assert [entry["IoU"] for entry in scores] == [iou.get(index) for index in range(len(classes))]
    confusion = table(row, "evaluation/confusion_table", files)
    pixels = [entry["nPredictions"] for entry in confusion]
    assert np.array_equal(np.reshape(pixels, (5, 5)), measured.total("confusion"))
    assert (confusion[1]["Actual"], confusion[1]["Predicted"]) == classes[:2]
    bins = table(row, "evaluation/reliability_table", files)
    assert [entry["accuracy"] for entry in bins] == reliability(measured)["accuracy"].tolist()
    assert sum(entry["pixels"] for entry in bins) == measured.rows["labelled"].sum()
    pictures = row["evaluation/predictions"]
    with np.load(folder / "predictions.npz") as kept:
        for caption, name, masks in zip(
            pictures["captions"], pictures["filenames"], pictures["all_masks"], strict=True
        ):
            assert np.array_equal(np.array(Image.open(files / name)), kept[f"image/{caption}"])
            for key, values in (("prediction", kept[caption]), ("label", kept[f"label/{caption}"])):
                assert np.array_equal(np.array(Image.open(files / masks[key]["path"])), values)


def test_what_may_not_be_redistributed_is_a_class_map_without_its_image(tmp_path: Path) -> None:
    maps = {"a": np.ones((700, 1200), np.uint8), "label/a": np.full((700, 1200), 255, np.uint8)}
    (image,) = prediction_images(maps, ["thing", "stuff"])
    assert image.image.size == (600, 350)
    assert set(np.array(image.image).ravel()) == {128}


FORKS = """
import os, sys
import numpy as np
from segloss import tracking
from segloss.tracking.evaluation import prediction_images
tracking.preload()
maps = {"a": np.ones((7, 12), np.uint8), "label/a": np.ones((7, 12), np.uint8)}
for number in range(2):
    if not (child := os.fork()):
        tracking.renew_media_folder()
        prediction_images(maps, ["thing", "stuff"])
        sys.exit(3)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
    assert os.listdir(sys.argv[1]) != []  # the folder of this process
"""


def test_a_forked_cell_that_ends_takes_the_pictures_of_no_other(tmp_path: Path) -> None:
    run("python", "-W", "ignore", "-c", FORKS, str(tmp_path), cwd=tmp_path, TMPDIR=str(tmp_path))
    assert list(tmp_path.iterdir()) == []


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
        run("segloss", "sync", cwd=workplace, own_process=True, **online(server))  # what a busy machine left unsent
        record = json.loads((workplace / "results" / CELL / "record.json").read_text())
        assert [row["iteration"] for row in server.history[sent]] == list(range(1, 17))
        assert server.summary[sent]["mIoU"] == record["metrics"]["mIoU"]
        last = server.history[sent][-1]
        scores = last["evaluation/per_class"]
        assert "artifact_path" not in scores
        media = {scores["path"], *last["evaluation/predictions"]["filenames"]}
        media |= {mask["path"] for masks in last["evaluation/predictions"]["all_masks"] for mask in masks.values()}
        assert media <= server.files[sent]
        settings = json.loads(server.runs[sent]["config"])["_wandb"]["value"]
        assert set(settings["visualize"]) == {"evaluation/confusion", "evaluation/reliability"}
        assert len(settings["mask/class_labels"]) == 2
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
    with (workplace / "configs/mmseg/schedules/tiny.py").open("a") as file:
        file.write('checkpoint = "best"\nvalidation_interval = 4\n')
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
        tracked = rows(offline(folder))
        assert [row["iteration"] for row in tracked] == list(range(1, 17))
        validated = [(row["iteration"], row["val/mIoU"]) for row in tracked if "val/mIoU" in row]
        record = json.loads((folder / "record.json").read_text())
        assert validated == [tuple(entry.values()) for entry in record["training"]["checkpoint"]["validations"]]
        assert [iteration for iteration, _ in validated] == [4, 8, 12, 16]
        wait_for(lambda: sent_or_given_up(workplace))
        run("segloss", "sync", cwd=workplace, **online(server))  # what a busy machine left unsent
        assert [row["iteration"] for row in server.history[identity(folder)]] == list(range(1, 17))


def test_without_a_server_or_with_a_wrong_mode_the_cell_is_the_same(workplace: Path) -> None:
    run("segloss", "train", CELL, "--results", "undisturbed", cwd=workplace, WANDB_MODE="disabled")
    refused = {"WANDB_API_KEY": KEY, "WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_MODE": None}
    (workplace / "temporary").mkdir()
    temporary = str(workplace / "temporary")
    run("segloss", "train", CELL, "--results", "refused", cwd=workplace, TMPDIR=temporary, **refused)
    log = run("segloss", "train", CELL, "--results", "wrong", cwd=workplace, WANDB_MODE="nonsense")
    assert "Weights & Biases stopped tracking this cell, its training continues" in log.stdout + log.stderr
    assert counts(workplace, "refused") == counts(workplace, "wrong") == counts(workplace, "undisturbed")
    # What could not be sent is kept, to be sent later.
    wait_for(lambda: sent_or_given_up(workplace))
    assert len(tracking.unsent_runs(workplace / "refused")) == 1
    # The process that could not send it was killed, and left only the files of the training.
    left = [path.name for path in (workplace / "temporary").iterdir()]
    assert [name for name in left if "wandb" in name] == []
    assert files_with(KEY, workplace) == []


def test_a_grid_is_one_run_with_its_table_and_its_report(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    grid = grid_of("tiny")
    for cell in grid.cells[:2]:
        write_cell(Path("results"), cell)
    refused = run("segloss", "dashboard", "tiny", cwd=workplace, check=False)
    assert "reports/tiny/results.csv does not exist: segloss collect and segloss report write it" in refused.stderr
    run("segloss", "collect", "tiny", "--output", "reports/tiny/results.csv", "--partial", cwd=workplace)
    Path("reports/tiny/table.md").write_text("a table")
    shown = run("segloss", "dashboard", "tiny", cwd=workplace, own_process=True, WANDB_RUN_ID="other").stdout
    assert "group by      dataset, labels, loss" in shown
    folder = Path("results/.dashboard/tiny")
    records = offline(folder)
    (started,) = [entry.run for entry in records if entry.WhichOneof("record_type") == "run"]
    assert (started.job_type, started.run_group, started.display_name) == ("report", "tiny", "report of tiny")
    assert started.run_id != "other"
    shown_rows = table(rows(records)[0], "results", media_folder(folder))
    assert [entry["status"] for entry in shown_rows[: len(grid.cells)]] == [
        "done",
        "done",
        *["missing"] * (len(grid.cells) - 2),
    ]
    metrics = json.loads((Path("results") / str(grid.cells[1]) / "record.json").read_text())["metrics"]
    assert {name: shown_rows[1][name] for name in metrics} == metrics
    assert shown_rows[2]["mIoU"] is None
    artifacts = [entry.artifact for entry in records if entry.WhichOneof("record_type") == "artifact"]
    (report,) = [artifact for artifact in artifacts if artifact.type == "report"]
    assert report.name == "report-tiny"
    assert {entry.path for entry in report.manifest.contents} == {"results.csv", "table.md"}
    assert tracking.unsent_runs(Path("results")) == [next(folder.glob("work/wandb/offline-run-*/*.wandb"))]
    with serving() as server:
        assert "1 of 1 offline runs sent" in run("segloss", "sync", cwd=workplace, **online(server)).stdout
        assert server.history[started.run_id][0]["results"]["path"] in server.files[started.run_id]
        files = {"results.csv", "table.md"}
        assert server.artifacts == {"report-tiny": {"type": "report", "files": files, "committed": True}}
