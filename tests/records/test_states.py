"""The order of states and what makes records comparable, from written records: no training."""

import json
import os
import shlex
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from segloss import records
from segloss.datasets import DATASETS, fingerprints
from segloss.files import write_atomic
from segloss.grid import Cell
from segloss.metrics import Counts
from segloss.records import cell_status
from segloss.records.run_lock import lock_file
from segloss.records.verification import RecordError, check_comparable, read, record_text
from segloss.workflow import Plan
from tests.conftest import experiment_of, grid_of
from tests.written_records import write_cell

CELL = "phantom/unet-tiny/tiny/hard/ce/seed0"
TEACHER = CELL.removesuffix("/seed0")
STUDENT = "phantom/unet-tiny/tiny/kd/ce/seed0"
KD = "\nkd: {title: KD, target: teacher, teacher: {labels: hard, loss: ce, seeds: 2}}\n"


@pytest.fixture
def results(in_workplace: Path) -> Path:
    """A results folder with the record of one cell."""
    write_cell(in_workplace / "results", Cell.parse(CELL))
    return in_workplace / "results"


def state(results: Path, cell: str = CELL, prints: dict | None = None) -> tuple[str, str]:
    status = cell_status(experiment_of(cell), results, prints)
    return status.state, status.reason


def test_a_current_record_is_done_whatever_else_lies_in_its_folder(results: Path) -> None:
    (results / CELL / "failure.json").write_text(json.dumps({"reason": "an older failure"}))
    assert state(results) == ("done", "")


def test_other_settings_make_a_cell_stale_and_other_comments_do_not(results: Path, edit) -> None:
    schedule = Path("configs/mmseg/schedules/tiny.py")
    schedule.write_text(schedule.read_text() + "# a comment\n")
    assert state(results)[0] == "done"
    edit(schedule, "lr=1e-2", "lr=2e-2")
    assert state(results) == ("stale", "it was trained with settings other than those in configs/")


@pytest.mark.parametrize("name", ["training", "evaluation"])
def test_other_data_make_a_cell_stale_and_unknown_data_do_not(results: Path, name: str) -> None:
    prints = fingerprints(DATASETS["phantom"], Path("data/phantom"), None)
    assert state(results, prints=prints)[0] == state(results, prints=None)[0] == "done"
    assert state(results, prints=prints | {name: "other"}) == (
        "stale",
        f"its {name} data have changed since it was trained",
    )


@pytest.mark.parametrize("content", [b"", b"PK", None])
def test_lost_counts_make_a_cell_stale(results: Path, content: bytes | None) -> None:
    counts = results / CELL / "counts.npz"
    counts.unlink()
    if content is not None:
        counts.write_bytes(content)
    assert state(results)[0] == "stale"
    reason = "its counts.npz is missing" if content is None else "its counts.npz is not "
    assert state(results)[1].startswith(reason)


def test_a_failed_teacher_blocks_its_student_until_it_has_a_record(in_workplace: Path) -> None:
    with open(in_workplace / "configs/labels.yaml", "a") as file:
        file.write(KD)
    results = in_workplace / "results"
    assert state(results, STUDENT) == ("missing", "not trained yet")
    (results / CELL).mkdir(parents=True)
    (results / CELL / "failure.json").write_text(json.dumps({"reason": "the loss is nan"}))
    assert state(results) == ("failed", "the loss is nan")
    assert state(results, STUDENT) == ("blocked", f"its teacher {CELL} failed: the loss is nan")
    failure = (results / CELL / "failure.json").read_text()
    shutil.rmtree(results / CELL)
    write_cell(results, Cell.parse(CELL))
    (results / CELL / "failure.json").write_text(failure)  # of an earlier run
    assert state(results, STUDENT) == ("missing", "not trained yet")


def test_a_killed_cell_is_stopped_though_it_failed_before(in_workplace: Path) -> None:
    results, folder = in_workplace / "results", in_workplace / "results" / CELL
    lock_file(folder).parent.mkdir(parents=True)
    (folder / "failure.json").write_text(json.dumps({"reason": "the disk is full"}))
    lock_file(folder).write_text("2026-11-26T00:00:00+00:00")
    assert state(results)[0] == "stopped"
    assert "was killed" in state(results)[1]
    lock_file(folder).write_text("")
    assert state(results) == ("failed", "the disk is full")


@pytest.mark.parametrize(
    "content", [b"\xff", b"", b"[]", b"3", b'{"reason": 3}', b'{"reason": null}', b"{}", b"[" * 100_000]
)
def test_a_damaged_failure_or_progress_is_a_state_and_never_a_traceback(in_workplace: Path, content: bytes) -> None:
    folder = in_workplace / "results" / CELL
    (folder / "work").mkdir(parents=True)
    (folder / "work/progress.json").write_bytes(content)
    assert state(in_workplace / "results") == ("missing", "not trained yet")
    (folder / "failure.json").write_bytes(content)
    assert state(in_workplace / "results")[0] == "failed"
    assert "its failure.json is damaged" in state(in_workplace / "results")[1]


def test_training_data_may_differ_between_label_scenarios_alone(in_workplace: Path) -> None:
    results = in_workplace / "results"
    fewer = [f"phantom/unet-tiny/tiny/mt-8th/{loss}/seed0" for loss in ("ce", "jml")]
    write_cell(results, Cell.parse(CELL))
    for name in fewer:
        write_cell(results, Cell.parse(name), data__fingerprints__training="of an eighth")
    written = [read(results / name / "record.json") for name in (CELL, *fewer)]
    assert written[1]["settings"]["labels"]["labelled"]
    check_comparable(written)
    other = Cell.parse(fewer[0].replace("seed0", "seed1"))
    write_cell(results, other, data__fingerprints__training="of another eighth")
    with pytest.raises(RecordError, match=rf"the training data of {other} .* differs from that of {fewer[0]}"):
        check_comparable([*written, read(results / str(other) / "record.json")])


@pytest.mark.parametrize("error", [1e-6, -1e-6])
def test_a_metric_that_is_off_by_a_millionth_is_refused_and_rounding_is_not(results: Path, error: float) -> None:
    path = results / CELL / "record.json"

    def off_by(relative: float) -> None:
        record = json.loads(path.read_text())
        record["metrics"]["mIoU"] *= 1 + relative
        path.write_text(record_text(record))

    off_by(error * 1e-8)
    assert "done" in set(records.collect(grid_of("tiny"), results).status)
    off_by(error)
    with pytest.raises(RecordError, match=r"the mIoU of .*counts.npz is"):
        records.collect(grid_of("tiny"), results)


def test_every_metric_is_checked_against_the_counts(results: Path) -> None:
    path = results / CELL / "record.json"
    whole = json.loads(path.read_text())
    for name in whole["metrics"]:
        record = {**whole, "metrics": {**whole["metrics"], name: (whole["metrics"][name] or 0.0) + 0.01}}
        path.write_text(record_text(record))
        with pytest.raises(RecordError, match=f"the {name} of "):
            records.collect(grid_of("tiny"), results)


def test_a_stale_cell_and_a_stale_teacher_are_forced(results: Path, edit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.environ["PATH"])  # the plan puts its Python's folder first
    with open("configs/labels.yaml", "a") as file:
        file.write(KD)
    edit(Path("configs/grids/tiny.yaml"), "labels: [hard, raters]", "labels: [kd]")
    write_cell(results, Cell.parse(CELL.replace("seed0", "seed1")))
    write_cell(results, Cell.parse(STUDENT))

    def forced() -> set[str]:
        plan, dag = Plan.from_config({"grid": "tiny"}), SimpleNamespace(forcefiles=set())
        inputs = [plan.train_input(cell, dag) for cell in (STUDENT, CELL, CELL.replace("seed0", "seed1"))]
        assert inputs == [[f"results/{TEACHER}/seed{seed}/record.json" for seed in (0, 1)], [], []]
        return dag.forcefiles

    assert forced() == set()
    (results / CELL / "counts.npz").write_bytes(b"")
    assert forced() == {f"results/{CELL}/record.json"}
    edit(Path("configs/mmseg/schedules/tiny.py"), "lr=1e-2", "lr=2e-2")
    names = (CELL, CELL.replace("seed0", "seed1"), STUDENT)
    assert forced() == {f"results/{name}/record.json" for name in names}


def test_the_partial_report_is_one_quoted_command(in_workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.environ["PATH"])
    name = "it's $(touch X) & more"
    plan = Plan.from_config({"grid": "tiny", "results": name, "reports": name})
    words = shlex.split(plan.partial_report)
    assert words.count(name) == 2
    assert words.count(f"{name}/tiny/results.csv") == 2
    assert words.count("&&") == 1


def flushed_before_renamed(monkeypatch: pytest.MonkeyPatch, folder: Path) -> set[str]:
    """Names of files in a folder that were flushed to the disk before they got their name, and the folder after."""
    flushed, renamed, whole = set(), {}, set()
    fsync, replace = os.fsync, os.replace

    def spy_fsync(handle: int) -> None:
        inode = os.fstat(handle).st_ino
        flushed.add(inode)
        if inode == folder.stat().st_ino:
            whole.update(name for name, source in renamed.items() if source in flushed)
        fsync(handle)

    def spy_replace(source: str, target: Path) -> None:
        renamed[Path(target).name] = os.stat(source).st_ino if os.stat(source).st_ino in flushed else None
        replace(source, target)

    monkeypatch.setattr(os, "fsync", spy_fsync)
    monkeypatch.setattr(os, "replace", spy_replace)
    return whole


def test_counts_records_and_predictions_survive_a_power_loss(
    in_workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a finished cell leaves is flushed before it gets its name, and its folder afterwards."""
    folder = in_workplace / "results" / CELL
    folder.mkdir(parents=True)
    whole = flushed_before_renamed(monkeypatch, folder)
    Counts(5).save(folder / "counts.npz")
    assert whole == {"counts.npz"}
    write_atomic(folder / "predictions.npz", lambda file: file.write(b"maps"))
    assert whole == {"counts.npz", "predictions.npz"}


def test_a_record_is_flushed_before_it_has_its_name(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = flushed_before_renamed(monkeypatch, results / CELL)
    record = read(results / CELL / "record.json")
    records.write(results / CELL, record)
    assert whole == {"record.json"}
