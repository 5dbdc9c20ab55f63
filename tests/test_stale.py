"""Stale results in real workflows: status, table and plan see changed settings, changed labels and lost counts."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.faults.place import copy_workflow
from tests.conftest import TINY_GRID, TINY_SCHEDULE, run

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("stale"), pytest.mark.usefixtures("forked")]

CELL = "phantom/unet-tiny/tiny/hard/ce/seed0"
ONE_CELL = (
    TINY_GRID.replace("losses: [ce, lovasz]", "losses: [ce]").replace("[hard, raters]", "[hard]").replace("2", "1")
)


def make(folder: Path, phantom: Path) -> Path:
    """A checkout with a grid of one cell and a private copy of phantom."""
    folder.mkdir(exist_ok=True)
    copy_workflow(folder)
    shutil.copytree(phantom / "phantom", folder / "data/phantom")
    (folder / "configs/mmseg/schedules/tiny.py").write_text(TINY_SCHEDULE)
    (folder / "configs/grids/tiny.yaml").write_text(ONE_CELL)
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, phantom: Path) -> Path:
    """A checkout whose only cell Snakemake has trained and reported."""
    folder = make(tmp_path_factory.mktemp("trained"), phantom)
    snakemake(folder)
    return folder


@pytest.fixture
def checkout(trained: Path, tmp_path: Path) -> Path:
    """A copy of the trained checkout, times of files and Snakemake's metadata included."""
    return Path(shutil.copytree(trained, tmp_path / "checkout", symlinks=True))


def snakemake(folder: Path, *options: str) -> str:
    done = run("snakemake", "--cores", "1", *options, "--config", "grid=tiny", cwd=folder)
    return done.stdout + done.stderr


def planned(folder: Path) -> set[str]:
    """The rules that Snakemake would run now."""
    plan = snakemake(folder, "-n", "--verbose")
    return set(re.findall(r"^(?:local)?rule (\w+):", plan, re.MULTILINE)) - {"all"}


def status(folder: Path) -> str:
    return run("segloss", "status", "tiny", cwd=folder).stdout


def record(folder: Path) -> dict:
    return json.loads((folder / "results" / CELL / "record.json").read_text())


def halve_learning_rate(folder: Path) -> None:
    schedule = folder / "configs/mmseg/schedules/tiny.py"
    schedule.write_text(schedule.read_text().replace("lr=1e-2", "lr=5e-3"))


def assert_stale(folder: Path, reason: str) -> None:
    """Status, table and plan agree that the cell is stale, for that reason."""
    text = status(folder)
    assert "0/1: 1 stale" in text
    assert f"stale     {CELL}  {reason}" in text
    table = folder / "stale.csv"
    run("segloss", "collect", "tiny", "--output", str(table), "--partial", cwd=folder)
    assert f"stale,,,{reason}" in table.read_text()
    refused = run("segloss", "collect", "tiny", "--output", str(table), cwd=folder, check=False)
    assert refused.returncode == 1
    assert f"the first is {CELL} (stale: {reason})" in refused.stderr
    assert planned(folder) == {"train", "collect", "report"}


OTHER_SETTINGS = "it was trained with settings other than those in configs/"


def test_a_changed_setting_is_seen_without_snakemakes_metadata_and_the_cell_trained_again(checkout: Path) -> None:
    assert planned(checkout) == set()
    shutil.rmtree(checkout / ".snakemake")
    assert planned(checkout) == set()
    before, table = record(checkout), (checkout / "reports/tiny/results.csv").read_text()
    halve_learning_rate(checkout)
    assert_stale(checkout, OTHER_SETTINGS)
    snakemake(checkout)
    after = record(checkout)
    assert after["config_hash"] != before["config_hash"]
    assert after["training"]["started_at_iteration"] == 0
    assert after["metrics"] != before["metrics"]
    assert (checkout / "reports/tiny/results.csv").read_text() != table
    assert "1/1: 1 done" in status(checkout)
    assert planned(checkout) == set()


@pytest.mark.parametrize("with_reports", [True, False])
def test_results_copied_to_a_new_checkout_are_taken_if_current_and_seen_if_not(
    trained: Path, tmp_path: Path, phantom: Path, with_reports: bool
) -> None:
    folder = make(tmp_path / "new", phantom)
    for name in ("results", "reports")[: 1 + with_reports]:
        shutil.copytree(trained / name, folder / name)
    assert planned(folder) == (set() if with_reports else {"collect", "report"})
    assert "1/1: 1 done" in status(folder)
    halve_learning_rate(folder)
    assert_stale(folder, OTHER_SETTINGS)


def test_a_cell_trained_by_hand_is_taken_if_current_and_seen_if_not(tmp_path: Path, phantom: Path) -> None:
    folder = make(tmp_path / "by-hand", phantom)
    run("segloss", "train", CELL, cwd=folder)
    assert planned(folder) == {"collect", "report"}
    halve_learning_rate(folder)
    assert_stale(folder, OTHER_SETTINGS)


@pytest.mark.parametrize(
    ("split", "data", "starts_at"), [("train", "training", 0), ("test", "evaluation", 16)], ids=["train", "test"]
)
def test_labels_corrected_on_disk_make_the_cell_stale(checkout: Path, split: str, data: str, starts_at: int) -> None:
    """With other training labels it is trained again, with other test labels only evaluated again."""
    assert planned(checkout) == set()
    for line in (checkout / f"data/phantom/{split}.txt").read_text().splitlines():
        label = checkout / "data/phantom" / line.split()[1]
        with Image.open(label) as image:
            corrected = np.array(image)
        corner = corrected[:8, :8]
        corner[corner != 255] = 1  # void stays: the raters have none there
        Image.fromarray(corrected).save(label)
    assert_stale(checkout, f"its {data} data have changed since it was trained")
    before = record(checkout)
    snakemake(checkout)
    after = record(checkout)
    assert after["config_hash"] == before["config_hash"]  # the settings are the same
    assert after["data"]["fingerprints"][data] != before["data"]["fingerprints"][data]
    assert after["training"]["started_at_iteration"] == starts_at
    assert after["metrics"] != before["metrics"]
    assert "1/1: 1 done" in status(checkout)


@pytest.mark.parametrize("content", [b"", None, b"PK\x03\x04"], ids=["emptied", "gone", "cut"])
def test_a_done_cell_whose_counts_are_lost_is_evaluated_again_without_training(
    checkout: Path, content: bytes | None
) -> None:
    counts = checkout / "results" / CELL / "counts.npz"
    whole, before = counts.read_bytes(), record(checkout)
    if content is None:
        counts.unlink()
        reason = "its counts.npz is missing"
    else:
        counts.write_bytes(content)
        reason = "its counts.npz is not the file that its record was made from"
    assert_stale(checkout, reason)
    snakemake(checkout)
    after = record(checkout)
    assert after["training"]["started_at_iteration"] == before["training"]["iterations"] == 16
    assert counts.read_bytes() == whole
    assert after["metrics"] == before["metrics"]
    assert planned(checkout) == set()


def test_a_stale_cell_trained_by_hand_is_current(checkout: Path) -> None:
    halve_learning_rate(checkout)
    run("segloss", "train", CELL, cwd=checkout)
    assert "1/1: 1 done" in status(checkout)
    assert "train" not in planned(checkout)
