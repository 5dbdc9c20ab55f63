"""Published numbers: complete, in range, each once, and none that its source does not have."""

import csv
import importlib.util
from collections import Counter
from pathlib import Path

import pytest
import yaml

from segloss.datasets import DATASETS
from segloss.grid.configs import zoo
from segloss.records.published import COLUMNS, FILE, NOTES, ZOO, published, table
from tests.conftest import DATA

SOURCES = DATA.parent / "published"  # the tables as they were typed from their sources, where these are at hand


def test_every_row_is_complete():
    rows = table()
    assert tuple(rows.columns) == COLUMNS
    assert len(rows) > 1500
    assert set(rows.source) == set(NOTES)
    assert (rows[["source", "url", "date", "metric", "unit"]] != "").all(axis=None)
    assert rows.url.str.startswith("https://").all()
    assert rows.value.notna().all()
    # What the source does not state is empty: no data set in a dozen lines of the wheel, no number of trainings.
    assert (rows[rows.dataset == ""].source == ZOO).all()
    assert rows[~rows.source.isin([ZOO, "Average Calibration Losses"])].n.isna().all()
    assert set(rows.n.dropna()) == {1}


def test_values_have_their_units_range():
    rows = table()
    assert set(rows.unit) == {"%", "fraction"}
    percent, fraction = rows[rows.unit == "%"].value, rows[rows.unit == "fraction"].value
    assert percent.between(15, 100).all()
    assert fraction.between(0, 1).all()
    assert percent.map(lambda value: round(value, 2) == value).all()


def test_every_number_is_there_once():
    rows = table()
    assert not rows.duplicated([column for column in COLUMNS if column != "value"]).any()


def test_numbers_read_by_hand():
    """A few values as they stand in their sources."""
    odyssey = published("liver", loss="DiceTopK")
    assert odyssey.value.tolist() == [0.9690]
    jml = published("cityscapes", model="DeepLabV3-R18", loss="CE + JML")
    assert jml[["method", "value", "labels"]].values.tolist() == [["JML-KD", 78.14, "KD"]]
    stare = published("stare", model="unet-s5-d16_fcn_4xb4-40k_stare-128x128", metric="Dice")
    assert stare[["loss", "value", "n"]].values.tolist() == [["CE", 81.02, 1]]
    assert "Dice of the vessels" in published("stare", loss="Tversky").note[0]
    zoo_row = published("cityscapes", model="ann_r50-d8_4xb2-40k_cityscapes-512x1024")
    assert dict(zip(zoo_row.protocol, zoo_row.value, strict=True)) == {
        "single scale, batch 8, 4x V100 GPUS": 77.4,
        "multi-scale and flip, batch 8, 4x V100 GPUS": 78.57,
    }


def test_nothing_published_is_an_empty_table():
    assert published("phantom").empty
    assert [*published("phantom").columns] == [*COLUMNS, "note"]


def test_names_are_those_of_grids():
    """Data sets of this project carry its name, and models of the zoo the name they have in a grid."""
    rows = table()
    ours = {"cityscapes", "pascal-voc", "pascal-context", "ade20k", "coco-stuff", "mapillary-vistas", "camvid", "stare"}
    assert ours <= set(rows.dataset) & set(DATASETS)
    models = set(rows[rows.source == ZOO].model)
    assert len(models & set(zoo())) > 0.9 * len(models)


def test_the_zoo_is_the_wheels():
    """Every number under Metrics of the metafiles, except errors of depth."""
    configs = Path(importlib.util.find_spec("mmseg").origin).parent / ".mim" / "configs"
    stated = Counter()
    for file in configs.glob("*/metafile.yaml"):
        for entry in yaml.load(file.read_text(), Loader=yaml.CSafeLoader)["Models"]:
            for result in entry["Results"] if isinstance(entry["Results"], list) else [entry["Results"]]:
                stated.update(
                    (entry["Name"], value) for key, value in (result["Metrics"] or {}).items() if key != "RMSE"
                )
    zoo_rows = table()[table().source == ZOO]
    assert Counter(zip(zoo_rows.model, zoo_rows.value, strict=True)) == stated


# The source of each file as the package names it, and the columns with numbers.
TYPED = {
    "jml_kd.csv": ("JDTLosses README", ["mIoU"]),
    "cirkd_distillation.csv": ("CIRKD README", ["val_mIoU", "test_mIoU"]),
    "unimatch_semi.csv": ("UniMatch README", ["mIoU"]),
    "loss_odyssey.csv": ("Loss Odyssey", ["DSC"]),
    "retina_losses.csv": ("MMSegmentation PR #919", ["vessel_dice"]),
    "average_calibration_losses.csv": (
        "Average Calibration Losses",
        ["mean_dice", "macro_ece", "macro_ace", "macro_mce", "micro_ece", "micro_ace", "micro_mce"],
    ),
}


@pytest.mark.parametrize("name", TYPED)
def test_nothing_is_filled_in_that_was_not_read(name):
    if not (SOURCES / name).is_file():
        pytest.skip(f"{name} is not in {SOURCES}")
    source, columns = TYPED[name]
    typed = Counter()
    for row in csv.DictReader((SOURCES / name).read_text(encoding="utf-8").splitlines()):
        if name == "retina_losses.csv" and "wheel" in row["source"]:
            in_zoo = published(row["dataset"].lower().replace("_", "-"), metric="Dice")
            assert float(row["vessel_dice"]) in set(in_zoo[in_zoo.source == ZOO].value)
            continue
        model = row.get("model") or row.get("student") or row.get("backbone") or ""
        typed.update((model, row[column]) for column in columns if row[column])
    with open(FILE, encoding="utf-8", newline="") as file:
        kept = [row for row in csv.DictReader(file) if row["source"] == source]
    models = Counter((row["model"].replace("nnU-Net V1", ""), row["value"]) for row in kept)
    assert models == typed
