"""A cross-validation: folds are trained, their test images are pooled, and a table has one row for all of them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from segloss.grid import ConfigError
from segloss.metrics import Counts, summarize
from segloss.records.plan import all_experiments
from segloss.records.states import cell_status
from tests.conftest import experiment_of, grid_of, run
from tests.datasets.made_miniatures import make_deepglobe_land

LAND = """
source = "deepglobe-land"
crop_size = (32, 32)
no_validation = "its images are divided in two"
train_pipeline = [
    dict(type="LoadImage"),
    dict(type="LoadLabel"),
    dict(type="RandomCrop", crop_size=crop_size),
    dict(type="PackSegInputs"),
]
test_pipeline = [dict(type="LoadImage"), dict(type="LoadLabel"), dict(type="PackSegInputs")]
test_split = "val"
test_cfg = dict(mode="whole")
resources = {"gpus": 0, "cpus": 1, "memory_gb": 3, "minutes": 20}
"""
GRID = """
title: Folds
datasets: [land]
models: [unet-tiny]
schedule: tiny
iterations: 4
labels: [hard]
losses: [ce, jml]
folds: [0, 1, 2]
seeds: 2
"""
POOLED = "land@folds0+1+2/unet-tiny/tiny@4/hard/{}/seed{}"
FOLD = "land@fold{}/unet-tiny/tiny@4/hard/{}/seed{}"


@pytest.fixture
def folds(in_workplace: Path) -> Path:
    """The workplace with a miniature of DeepGlobe Land in three folds."""
    make_deepglobe_land(in_workplace / "data")
    (in_workplace / "configs/mmseg/datasets/land.py").write_text(LAND)
    (in_workplace / "configs/grids/folds.yaml").write_text(GRID)
    return in_workplace


def test_a_grid_has_a_cell_for_all_folds_that_depends_on_them(folds: Path) -> None:
    grid = grid_of("folds")
    assert [str(cell) for cell in grid.cells] == [
        POOLED.format(loss, seed) for loss in ("ce", "jml") for seed in (0, 1)
    ]
    first = grid.experiments[0]
    assert [str(entry) for entry in first.dependencies] == [FOLD.format(fold, "ce", 0) for fold in range(3)]
    assert len(all_experiments(grid)) == 4 * 4
    with pytest.raises(ConfigError, match=r"expected the folds in ascending order without repetition: land@folds0\+2"):
        experiment_of("land@folds2+0+2/unet-tiny/tiny/hard/ce/seed0")
    with pytest.raises(ConfigError, match="deepglobe-land has 5 folds, got fold 7"):
        experiment_of("land@folds0+7/unet-tiny/tiny/hard/ce/seed0")


@pytest.mark.slow
@pytest.mark.usefixtures("forked")
def test_a_row_pools_the_folds_and_their_images_are_different_images(folds: Path) -> None:
    command = ("snakemake", "--cores", "2", "--config", "grid=folds", f"data_root={folds / 'data'}")
    run(*command, cwd=folds)
    results, report = folds / "results", folds / "reports/folds"
    table = pd.read_csv(report / "results.csv")
    assert set(table.dataset) == {"land@folds0+1+2"}
    assert set(table.status) == {"done"}
    for loss, seed in (("ce", 0), ("jml", 1)):
        # mIoU of the summed pixels of all folds, from the arrays as numpy reads them.
        sums, names = np.zeros((3, 6)), []
        for fold in range(3):
            with np.load(results / FOLD.format(fold, loss, seed) / "counts.npz") as file:
                names += file["names"].tolist()
                sums += [file[f"row_{kind}"].sum(0) for kind in ("true_positives", "labelled", "predicted")]
        assert sorted(names) == ["100_sat", "119_sat", "20_sat"]
        hits, labelled, predicted = sums
        union = labelled + predicted - hits
        expected = 100 * (hits[union > 0] / union[union > 0]).mean()
        row = table[(table.loss == loss) & (table.seed == seed) & (table.metric == "mIoU")]
        assert row.value.tolist() == pytest.approx([expected])
    intervals = pd.read_csv(report / "intervals.csv")
    assert set(intervals.images) == {3}
    assert set(intervals.seeds) == {2}
    comparisons = pd.read_csv(report / "comparisons.csv")
    assert set(comparisons.images) == {3}
    assert (report / "table.md").read_text().count("land@folds0+1+2, unet-tiny") == 1

    # A fold that is trained again is pooled again.
    pooled = experiment_of(POOLED.format("ce", 0))
    assert cell_status(pooled, results).state == "done"
    path = results / FOLD.format(1, "ce", 0) / "record.json"
    path.write_text(path.read_text() + "\n")
    status = cell_status(pooled, results)
    assert (status.state, status.reason) == (
        "stale",
        f"its fold {FOLD.format(1, 'ce', 0)} has changed since it was pooled",
    )


def test_two_folds_that_hold_out_the_same_image_are_not_pooled(folds: Path) -> None:
    import torch

    from segloss.records.folds import _merge

    first, second = Counts(2), Counts(2)
    for counts in (first, second):
        counts.update(torch.full((1, 2, 2, 2), 0.5), torch.zeros(1, 2, 2, dtype=torch.int64), names=["a"])
    with pytest.raises(ConfigError, match=r"fold1/.* cannot be pooled with the folds before it"):
        _merge(first, second, experiment_of(FOLD.format(1, "ce", 0)))
    assert summarize(_merge(None, second, experiment_of(FOLD.format(1, "ce", 0)))) == summarize(second)
