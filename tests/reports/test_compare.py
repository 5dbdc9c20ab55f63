"""Two results folders: copies are equal, a missing point and chance are told apart, and damage is one sentence."""

import shutil
from pathlib import Path

import pytest

from segloss.records import RecordError
from segloss.reports.compare import compare_folders
from tests.conftest import grid_of
from tests.written_records import write_cell


@pytest.fixture
def first(in_workplace: Path) -> Path:
    for cell in grid_of("tiny").cells:
        write_cell(in_workplace / "first", cell)
    return in_workplace / "first"


def test_a_copy_is_equal(first: Path) -> None:
    second = first.with_name("second")
    shutil.copytree(first, second)
    points = len({cell.parent for cell in first.glob("*/*/*/*/*/*")})
    assert compare_folders(first, second) == (
        f"{points} points are in both: {points} have the same counts image by image, 0 differ; "
        "0 of the 0 numbers of these differ beyond their interval.\n"
    )


def test_a_missing_point_differs_from_chance(first: Path) -> None:
    second = first.with_name("second")
    shutil.copytree(first, second)
    # Records of seed 1 as seed 0 of another cell would be refused; a point without seed 1 differs, by chance alone.
    (kept, gone, *_) = sorted(second.glob("*/*/*/*/*"))
    shutil.rmtree(gone)
    shutil.rmtree(kept / "seed1")
    text = compare_folders(first, second)
    assert "1 differ" in text
    assert f"1 only in {first}, such as {gone.relative_to(second)}" in text.replace("\\", "")
    assert "0 of the 2 numbers" in text


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda path: None, "expected a results folder, got .*, which is missing"),
        (lambda path: path.write_text(""), "expected a results folder, got .*, which is a file"),
        (lambda path: path.mkdir(), "has no finished cell"),
    ],
)
def test_what_is_no_results_folder_ends_in_one_sentence(first: Path, make, sentence: str) -> None:
    second = first.with_name("second")
    make(second)
    with pytest.raises(RecordError, match=sentence):
        compare_folders(first, second)


def test_a_damaged_record_ends_in_one_sentence(first: Path) -> None:
    second = first.with_name("second")
    shutil.copytree(first, second)
    path = next(second.rglob("record.json"))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(RecordError, match="not a complete record"):
        compare_folders(first, second)
