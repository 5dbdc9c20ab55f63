"""Records that may not be believed are refused, each with one sentence that names the record."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from segloss import grid, records
from segloss.grid import Cell
from segloss.records.verification import RecordError, check_counts, checksum, read
from tests.conftest import grid_of, run
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


def edited(results: Path, cell: Cell, change: Callable[[dict], None], seal: bool) -> None:
    """A record as somebody would edit it, with or without a new checksum."""
    path = results / str(cell) / "record.json"
    record = json.loads(path.read_text())
    change(record)
    if seal:
        record["sha256"] = checksum(record)
    path.write_text(json.dumps(record))


def refused(results: Path, *words: str) -> None:
    with pytest.raises(RecordError) as caught:
        records.collect(grid_of("tiny"), results)
    sentence = str(caught.value)
    assert "\n" not in sentence
    for word in words:
        assert word in sentence


def test_whole_records_make_a_table_with_the_metrics_after_scaling(filled: Path) -> None:
    table = records.collect(grid_of("tiny"), filled / "results")
    done = table[table.status == "done"]
    assert {"mIoU", "ECE", "ECE_scaled", "temperature"} <= set(done.metric)
    assert len(done[done.metric == "ECE"]) == len(grid_of("tiny").cells)


def test_a_changed_value_is_refused(filled: Path) -> None:
    cell, results = first_cells()[0], filled / "results"
    edited(results, cell, lambda record: record["metrics"].update(mIoU=99.0), seal=False)
    refused(results, str(cell), "was changed after it was written")
    # A new checksum does not help: the counts say otherwise.
    edited(results, cell, lambda record: None, seal=True)
    refused(results, str(cell), "the mIoU of", "in the record beside it 99.0")
    rewrite(results, cell, metrics={"mIoU": 20.0, "ECE": 0.0})
    refused(results, str(cell), "counts.npz")


def test_every_metric_is_held_against_the_counts(filled: Path) -> None:
    cell, results = first_cells()[0], filled / "results"
    path = results / str(cell) / "record.json"
    record, counts = read(path), path.parent / "counts.npz"
    assert len(record["metrics"]) >= 29
    for name, value in record["metrics"].items():
        changed = record | {"metrics": record["metrics"] | {name: value * (1 + 1e-8)}}  # the smallest beyond rounding
        with pytest.raises(RecordError, match=re.escape(f"the {name} of {counts} is {value}, in the record beside it")):
            check_counts(changed, path.parent)
        without = record | {
            "metrics": {other: record["metrics"][other] for other in record["metrics"] if other != name}
        }
        with pytest.raises(RecordError, match=re.escape(f"differ in which metrics they have ({name})")):
            check_counts(without, path.parent)
    with pytest.raises(RecordError, match=r"differ in which metrics they have \(mIoU_best\)"):
        check_counts(record | {"metrics": record["metrics"] | {"mIoU_best": 100.0}}, path.parent)
    rounded = {name: value * (1 + 1e-12) for name, value in record["metrics"].items()}
    check_counts(record | {"metrics": rounded}, path.parent)


def test_counts_that_are_not_those_of_the_record_are_refused(filled: Path) -> None:
    (cell, other), results = first_cells(), filled / "results"
    path = results / str(cell) / "counts.npz"
    shutil.copy(results / str(other) / "counts.npz", path)
    refused(results, str(path), "is not the file that the record beside it was made of")
    path.write_bytes(path.read_bytes()[:100])
    refused(results, str(path), "is not the file that the record beside it was made of")
    edited(results, cell, lambda record: record["evaluation"].update(counts_sha256=records.digest_of(path)), seal=True)
    refused(results, str(path), "damaged or holds no counts")
    path.unlink()
    refused(results, str(path), "cannot be read")


@pytest.mark.parametrize("length", [0, 1, 0.5])
def test_a_truncated_record_is_refused(filled: Path, length: float) -> None:
    cell, results = first_cells()[0], filled / "results"
    path = results / str(cell) / "record.json"
    content = path.read_bytes()
    path.write_bytes(content[: int(length if length >= 1 else length * len(content))])
    refused(results, str(path), "not a whole record")


def test_a_record_without_a_part_is_refused(filled: Path) -> None:
    cell, results = first_cells()[0], filled / "results"
    edited(results, cell, lambda record: record.pop("validation"), seal=True)
    refused(results, str(cell), "not a whole record", "'validation' is a required property")


def test_a_record_of_another_version_is_refused(filled: Path) -> None:
    cell, results = first_cells()[0], filled / "results"
    edited(results, cell, lambda record: record.update(record_version=1), seal=True)
    refused(results, str(cell), "is a record of version 1, this is version")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"data__fingerprints": {"training": "t", "evaluation": "other"}}, "evaluation data"),
        ({"data__fingerprints": {"training": "other", "evaluation": "e"}}, "training data"),
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


def test_a_record_copied_into_another_cells_folder_is_refused(filled: Path) -> None:
    (cell, other), results = first_cells(), filled / "results"
    shutil.copytree(results / str(cell), results / str(other), dirs_exist_ok=True)
    refused(results, f"{results / str(other)}/record.json is the record of another cell, {cell}")
    # Named anew, its settings are still those of the cell it was.
    edited(results, other, lambda record: record.update(cell=str(other), axes=vars(other)), seal=True)
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
    assert f"1 cells of tiny have no record, the first is {cell} (missing: not trained yet)" in done.stderr
    run("segloss", "collect", "tiny", "--output", str(table), "--partial", cwd=filled)
    assert "missing,,,not trained yet" in table.read_text()
    text = table.read_text()
    for damaged in (text.replace("mIoU", "mIOU"), text[: len(text) // 2], text + text.splitlines()[1] + "\n"):
        table.write_text(damaged)
        done = run("segloss", "report", "tiny", str(table), cwd=filled, check=False)
        assert done.returncode == 1
        assert "is not what the records say: damaged, or older; collect it anew" in done.stderr
        assert "Traceback" not in done.stderr
