"""The articles' grids: they load, their cells are those of their axes, and their comments state what was inferred."""

import pytest

from segloss.grid import Cell, resolve
from segloss.grid.configs import Configs
from segloss.grid.grids import load_grid
from segloss.records.plan import all_experiments, format_outline
from segloss.records.throughput import estimated_hours, model_costs
from tests.conftest import ROOT

CELLS = {
    "paper-jml": 4 * 13 * 2 * 3 * 3,
    "paper-dml": 7 * 6 * 4 * 3,  # of five folds each
    "paper-fine-grained": 12 * 15 * 4 * 3,
    "paper-kd": 2 * 3 * 3 * 2 * 3,
    "paper-semi": 2 * 2 * 9 * 3 * 3,
}


@pytest.mark.parametrize("name", CELLS)
def test_a_paper_grid_loads(name):
    grid = load_grid(name, Configs(ROOT))
    assert len(grid.cells) + len(grid.skipped) == CELLS[name]
    assert not grid.skipped
    trained = [entry for entry in all_experiments(grid) if not (entry.trained or entry.folds or entry.control)]
    assert all(experiment.pretrained for experiment in trained)
    assert {experiment.resources["gpus"] for experiment in trained} == {1}
    assert {len(experiment.folds) for experiment in grid.experiments} == {5 if name == "paper-dml" else 0}


@pytest.mark.parametrize("name", CELLS)
def test_deviations_and_inferences_stand_in_its_comment(name):
    text = (ROOT / f"configs/grids/{name}.yaml").read_text(encoding="utf-8")
    comment = [line for line in text.splitlines() if line.startswith("#")]
    for word in ("Inferred", "Deviations", "till to come", "arXiv"):
        assert any(word in line for line in comment), word
    assert all(len(line) <= 120 for line in text.splitlines())


@pytest.mark.parametrize("name", CELLS)
def test_its_plan_in_reports_is_current(name, monkeypatch):
    """The same file on every machine: ``make plans`` writes it."""
    monkeypatch.chdir(ROOT)
    configs = Configs(ROOT)
    written = (ROOT / f"reports/plans/{name}.txt").read_text(encoding="utf-8")
    assert written == f"{format_outline(load_grid(name, configs), configs)}\n"


@pytest.mark.parametrize(
    ("cell", "images_per_second"),
    [
        # 3 passes of 2 x 525.6e9 operations on two squares of 512 pixels at 30 TFLOP/s.
        ("cityscapes/deeplabv3-r101d/paper-40k/hard/paper-ce/seed0", 30e12 / (6 * 525.6e9 * 2)),
        # A small network, at the assumed limit of 100 images per second.
        ("pascal-voc/deeplabv3-mobilenetv2/paper-40k/hard/paper-ce/seed0", 100),
        # The teacher's forward pass.
        (
            "pascal-voc-teacher/deeplabv3-r18d@imagenet/paper-40k/kd-deeplabv3-r50d/paper-ce/seed0",
            30e12 / (6 * 109.3e9 + 2 * 370.5e9),
        ),
        # As many unlabelled images, for the mean teacher and for its student.
        ("pascal-voc/deeplabv3plus-r50d/paper-40k/um-mt-8th/paper-ce/seed0", 30e12 / (14 * 277.1e9)),
    ],
)
def test_hours_follow_from_operations(cell, images_per_second):
    configs = Configs(ROOT)
    hours = estimated_hours(resolve(Cell.parse(cell), configs), configs, model_costs(configs))
    assert hours == pytest.approx(40_000 * 8 / images_per_second / 3600)
