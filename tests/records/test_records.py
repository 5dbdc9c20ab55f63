"""Records that cannot be trusted: damaged ones are stale and run again, forged ones are refused with a sentence."""

import json
import platform
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from segloss import records
from segloss.files import sha256_of
from segloss.grid import Cell
from segloss.records.record import command, processor
from segloss.records.status import grid_status
from segloss.records.verification import RECORD_VERSION, RecordError, check_counts, read, record_text
from segloss.workflow import stale_records
from tests.conftest import experiment_of, grid_of, run
from tests.written_records import PROTOCOL, write_cell


@pytest.fixture
def filled(in_workplace: Path) -> Path:
    """A workplace whose grid ``tiny`` has all records."""
    for cell in grid_of("tiny").cells:
        write_cell(in_workplace / "results", cell)
    return in_workplace


def first_cells() -> list[Cell]:
    return list(grid_of("tiny").cells[:2])


def rewrite(results: Path, cell: Cell, **changes: Any) -> None:
    shutil.rmtree(results / str(cell))
    write_cell(results, cell, **changes)


def edit_record(results: Path, cell: Cell, change: Callable[[dict], None], seal: bool) -> None:
    """Edit a record by hand, with or without a new checksum."""
    path = results / str(cell) / "record.json"
    record = json.loads(path.read_text())
    change(record)
    path.write_text(record_text(record) if seal else json.dumps(record))


def refused(results: Path, *words: str) -> None:
    with pytest.raises(RecordError) as caught:
        records.collect(grid_of("tiny"), results)
    sentence = str(caught.value)
    assert "\n" not in sentence
    for word in words:
        assert word in sentence


def is_stale(results: Path, cell: Cell, *words: str) -> None:
    """The cell is stale for that reason: in the table, in the status, and planned again."""
    grid = grid_of("tiny")
    table = records.collect(grid, results)
    (row,) = table[(table[list(vars(cell))] == list(vars(cell).values())).all(axis=1)].to_dict("records")
    (shown,) = [status for status in grid_status(grid, results) if status.cell == cell]
    planned = stale_records(grid, results)
    assert row["status"] == shown.state == "stale"
    assert row["reason"] == shown.reason == planned[str(results / str(cell) / "record.json")]
    assert "\n" not in row["reason"]
    for word in words:
        assert word in row["reason"]
    assert len(planned) == 1
    assert set(table[table.status == "done"].metric) >= {"mIoU", "ECE"}


def test_whole_records_make_a_table_with_the_metrics_after_scaling(filled: Path) -> None:
    table = records.collect(grid_of("tiny"), filled / "results")
    done = table[table.status == "done"]
    assert {"mIoU", "ECE", "ECE_scaled", "temperature"} <= set(done.metric)
    assert len(done[done.metric == "ECE"]) == len(grid_of("tiny").cells)


def test_a_changed_value_is_stale_and_with_a_new_checksum_refused(filled: Path) -> None:
    cell, results = first_cells()[0], filled / "results"
    edit_record(results, cell, lambda record: record["metrics"].update(mIoU=99.0), seal=False)
    is_stale(results, cell, str(cell), "was changed after it was written")
    # A new checksum does not help: the counts contradict it.
    edit_record(results, cell, lambda record: None, seal=True)
    refused(results, str(cell), "the mIoU of", "in the record next to it 99.0")
    rewrite(results, cell, metrics={"mIoU": 20.0, "ECE": 0.0})
    refused(results, str(cell), "counts.npz")


def test_every_metric_is_held_against_the_counts(filled: Path) -> None:
    cell, results = first_cells()[0], filled / "results"
    path = results / str(cell) / "record.json"
    record, counts = read(path), path.parent / "counts.npz"
    assert len(record["metrics"]) >= 29
    for name, value in record["metrics"].items():
        changed = record | {"metrics": record["metrics"] | {name: value * (1 + 1e-8)}}  # just beyond rounding
        message = re.escape(f"the {name} of {counts} is {value}, in the record next to it")
        with pytest.raises(RecordError, match=message):
            check_counts(changed, path.parent)
        without = record | {
            "metrics": {other: record["metrics"][other] for other in record["metrics"] if other != name}
        }
        with pytest.raises(RecordError, match=re.escape(f"have different metrics ({name})")):
            check_counts(without, path.parent)
    with pytest.raises(RecordError, match=r"have different metrics \(mIoU_best\)"):
        check_counts(record | {"metrics": record["metrics"] | {"mIoU_best": 100.0}}, path.parent)
    rounded = {name: value * (1 + 1e-12) for name, value in record["metrics"].items()}
    check_counts(record | {"metrics": rounded}, path.parent)


def test_counts_that_are_not_those_of_the_record_are_stale(filled: Path) -> None:
    (cell, other), results = first_cells(), filled / "results"
    path = results / str(cell) / "counts.npz"
    shutil.copy(results / str(other) / "counts.npz", path)
    is_stale(results, cell, "its counts.npz is not the file that its record was made from")
    path.write_bytes(path.read_bytes()[:100])
    is_stale(results, cell, "its counts.npz is not the file that its record was made from")
    edit_record(results, cell, lambda record: record["evaluation"].update(counts_sha256=sha256_of(path)), seal=True)
    refused(results, str(path), "damaged or contains no counts")
    path.unlink()
    is_stale(results, cell, "its counts.npz is missing")


@pytest.mark.parametrize("length", [0, 1, 0.5])
def test_a_truncated_record_is_stale(filled: Path, length: float) -> None:
    cell, results = first_cells()[0], filled / "results"
    path = results / str(cell) / "record.json"
    content = path.read_bytes()
    path.write_bytes(content[: int(length if length >= 1 else length * len(content))])
    is_stale(results, cell, str(path), "not a complete record")


@pytest.mark.parametrize("key", ["config_hash", "data", "evaluation"])
def test_a_sealed_record_without_its_identity_is_stale(filled: Path, key: str) -> None:
    cell, results = first_cells()[0], filled / "results"
    edit_record(results, cell, lambda record: record.pop(key), seal=True)
    is_stale(results, cell, "not a complete record", key)


def test_a_record_without_a_part_is_refused(filled: Path) -> None:
    cell, results = first_cells()[0], filled / "results"
    edit_record(results, cell, lambda record: record.pop("validation"), seal=True)
    refused(results, str(cell), "not a complete record", "'validation' is a required property")


def test_a_record_of_another_version_is_stale(filled: Path) -> None:
    cell, results = first_cells()[0], filled / "results"
    edit_record(results, cell, lambda record: record.update(record_version=1), seal=True)
    is_stale(results, cell, str(cell), f"is a record of version 1, expected {RECORD_VERSION}")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"data__fingerprints__evaluation": "other"}, "evaluation data"),
        ({"data__fingerprints__training": "other"}, "training data"),
        ({"data__split": "val"}, "evaluation split"),
        ({"evaluation__metrics_version": 99}, "metrics version"),
        ({"evaluation__reference": "majority"}, "hard truth"),
        ({"evaluation__protocol": PROTOCOL | {"flip": True}}, "inference protocol"),
    ],
)
def test_what_cannot_be_compared_is_refused_and_both_are_named(filled: Path, change: dict, what: str) -> None:
    (cell, other), results = first_cells(), filled / "results"
    rewrite(results, other, **change)
    refused(results, f"the {what} of {other}", f"that of {cell}", "a table never mixes them")


def test_a_record_copied_into_another_cells_folder_is_stale_and_forged_refused(filled: Path) -> None:
    (cell, other), results = first_cells(), filled / "results"
    shutil.copytree(results / str(cell), results / str(other), dirs_exist_ok=True)
    is_stale(results, other, f"its record is that of another cell, {cell}")
    with pytest.raises(RecordError, match=f"seed1/record.json is the record of another cell, {cell}"):
        read(results / str(other) / "record.json")
    # Renamed, it still has the settings of the original cell.
    edit_record(results, other, lambda record: record.update(cell=str(other), axes=vars(other)), seal=True)
    is_stale(results, other, "it was trained with settings other")
    config_hash = experiment_of(str(other)).config_hash
    edit_record(results, other, lambda record: record.update(config_hash=config_hash), seal=True)
    refused(results, str(other), "contradicts itself")


def test_two_records_of_one_cell_are_refused(filled: Path) -> None:
    from segloss.records.verification import check_comparable

    cell = first_cells()[0]
    record = read(filled / "results" / str(cell) / "record.json")
    with pytest.raises(RecordError, match=f"there are two records of {cell}"):
        check_comparable([record, record])


def test_partial_shows_what_is_missing_and_a_changed_table_is_refused(filled: Path) -> None:
    cell, results = first_cells()[1], filled / "results"
    shutil.rmtree(results / str(cell))
    table = filled / "reports/tiny/results.csv"
    done = run("segloss", "collect", "tiny", "--output", str(table), cwd=filled, check=False)
    assert done.returncode == 1
    assert f"1 cells of tiny have no current record, the first is {cell} (missing: not trained yet)" in done.stderr
    run("segloss", "collect", "tiny", "--output", str(table), "--partial", cwd=filled)
    assert "missing,,,not trained yet" in table.read_text()
    text = table.read_text()
    for damaged in (text.replace("mIoU", "mIOU"), text[: len(text) // 2], text + text.splitlines()[1] + "\n"):
        table.write_text(damaged)
        done = run("segloss", "report", "tiny", str(table), cwd=filled, check=False)
        assert done.returncode == 1
        assert "differs from the records: damaged, or older; collect it again" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_record_names_the_kind_of_processor() -> None:
    assert processor().startswith(platform.machine())
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""
    for name, value in re.findall(r"^(cpu family|model|stepping)\s*: (\S+)$", info, re.MULTILINE):
        assert f"{name} {value}" in processor()


@pytest.mark.parametrize("program", ["/somewhere/bin/segloss", "/somewhere/segloss/__main__.py"])
def test_a_record_names_the_command_that_trains_the_cell_again(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", [program, "train", "a/b/c/hard/ce/seed0", "--results", "my results"])
    assert command() == "segloss train a/b/c/hard/ce/seed0 --results 'my results'"
