"""Every real data set trains for a few iterations and is scored, from its own files to its record."""

import gzip
import json
import re
from pathlib import Path

import numpy as np
import pytest

from segloss.datasets import DATASETS
from tests.conftest import DATA, TINY_SCHEDULE, run, shortened
from tests.datasets.test_qubiq import nifti

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("forked")]

# Sizes that let one CPU core train and score in seconds, by the data set's config.
SMALLER = {
    "bubil": ("(256, 256)", "(64, 64)"),
    "stare": ("(704, 608)", "(176, 152)"),
    "cwfid": ("(1296, 960)", "(324, 240)"),
    "qubiq-kidney": ("(256, 256)", "(64, 64)"),
    "bsds500-cpu": ("(224, 224)", "(64, 64)"),
    "ccp12-cpu": ("(192, 288)", "(64, 64)"),
}


def trained(workplace: Path, name: str, labels: str, data_root: Path) -> dict:
    """The record of a cell that trains for four iterations on crops of 64x64."""
    file = workplace / f"configs/mmseg/datasets/{name}.py"
    text = file.read_text()
    assert SMALLER[name][0] in text
    file.write_text(re.sub(r"crop_size = \(\d+, \d+\)", "crop_size = (64, 64)", text.replace(*SMALLER[name])))
    (workplace / "configs/mmseg/schedules/tiny.py").write_text(TINY_SCHEDULE.replace("16", "4"))
    cell = f"{name}/unet-tiny/tiny/{labels}/ce-jml/seed0"
    run("segloss", "train", cell, "--data-root", str(data_root), cwd=workplace, WANDB_MODE="disabled")
    return json.loads((workplace / "results" / cell / "record.json").read_text())


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("bubil", "dice-raters"),
        ("bubil", "staple"),
        ("stare", "random-rater"),
        ("cwfid", "hard"),
        ("bsds500-cpu", "raters"),
        ("ccp12-cpu", "hard"),
    ],
)
def test_a_real_data_set_trains_and_is_scored(workplace: Path, tmp_path: Path, name: str, labels: str) -> None:
    source = DATASETS[name.split("-")[0]]
    folder = DATA / (source.folder or source.name)
    if not folder.is_dir():
        pytest.skip(f"{folder.name} is not below {DATA}; set SEGLOSS_DATA")
    if name == "bsds500-cpu":  # whole images, nine raters: eight of each split are enough
        folder = shortened(folder, tmp_path / "short", 8)
    record = trained(workplace, name, labels, folder.parent)
    assert record["data"]["images"] == len(source.read_list(folder, "test"))
    assert record["evaluation"]["reference"] == ("majority" if name in ("bubil", "bsds500-cpu") else "label")
    assert 0 < record["metrics"]["mIoU"] < 100
    soft = {"KL", "Brier_soft", "mDice_soft", "Dice_thresholds", "mDice_raters"}
    assert soft & set(record["metrics"]) == (soft if source.raters else set())
    missing = record["data"]["missing_raters"]
    assert missing == {
        "bubil": {"train": {"0": 36, "1": 23}, "test": {"0": 33, "1": 7}},
        "stare": {"train": {"0": 10}, "test": {"0": 10}},
        "bsds500-cpu": {"train": {"2": 1, "3": 2, "4": 4, "5": 1}, "test": {"3": 2, "4": 6}},
    }.get(name)


def test_qubiq_trains_and_is_scored_in_its_layout(workplace: Path, tmp_path: Path) -> None:
    """Seven cases of synthetic discs, which each rater draws larger than the last; one rater's file is missing."""
    random = np.random.default_rng(0)
    x, y = np.mgrid[:48, :40]
    for part, numbers in (("Training", range(1, 6)), ("Validation", range(6, 8))):
        for number in numbers:
            case = tmp_path / "qubiq" / "kidney" / part / f"case{number:02d}"
            case.mkdir(parents=True)
            distance = np.hypot(x - 20, y - random.uniform(15, 25))
            image = (100 + 80 * (distance < 10) + random.normal(0, 5, distance.shape)).astype("f4")
            (case / "image.nii.gz").write_bytes(gzip.compress(nifti(image[..., None])))
            for rater in range(1, 4):
                mask = (distance < 8 + rater).astype("u1")
                if (number, rater) != (2, 3):
                    (case / f"task01_seg{rater:02d}.nii.gz").write_bytes(gzip.compress(nifti(mask[..., None])))
    record = trained(workplace, "qubiq-kidney", "raters", tmp_path)
    assert record["data"]["missing_raters"] == {"train": {"0": 3, "1": 1}, "test": {"0": 2}}
    assert record["evaluation"]["reference"] == "majority"
    assert record["metrics"]["mDice_raters"] > 0
    cell = "qubiq-kidney/unet-tiny/tiny/raters/ce-jml/seed0"
    with np.load(workplace / "results" / cell / "counts.npz") as counts:
        assert counts["names"].tolist() == [f"kidney/Validation/case{number:02d}/image.nii.gz" for number in (6, 7)]
        assert counts["row_rater_labelled"].sum(2).tolist() == [[48 * 40] * 3] * 2
    with np.load(workplace / "results" / cell / "predictions.npz") as predictions:
        assert predictions["kidney/Validation/case06/image.nii.gz"].shape == (40, 48)
