"""The articles' grids: they load, their cells are those of their axes, and their comments state what was inferred."""

import pytest

from segloss.grid.configs import Configs
from segloss.grid.grids import load_grid
from tests.conftest import ROOT

CELLS = {
    "paper-jml": 4 * 13 * 2 * 3 * 3,
    "paper-dml": 7 * 6 * 4 * 3 * 5,
    "paper-fine-grained": 12 * 15 * 4 * 3,
    "paper-kd": 2 * 3 * 3 * 2 * 3,
    "paper-semi": 2 * 2 * 9 * 3 * 3,
}


@pytest.mark.parametrize("name", CELLS)
def test_a_paper_grid_loads(name):
    grid = load_grid(name, Configs(ROOT))
    assert len(grid.cells) + len(grid.skipped) == CELLS[name]
    assert not grid.skipped
    assert all(experiment.pretrained for experiment in grid.experiments if not experiment.trained)
    assert {experiment.resources["gpus"] for experiment in grid.experiments} == {1}


@pytest.mark.parametrize("name", CELLS)
def test_deviations_and_inferences_stand_in_its_comment(name):
    text = (ROOT / f"configs/grids/{name}.yaml").read_text(encoding="utf-8")
    comment = [line for line in text.splitlines() if line.startswith("#")]
    for word in ("Inferred", "Deviations", "till to come", "arXiv"):
        assert any(word in line for line in comment), word
    assert all(len(line) <= 120 for line in text.splitlines())
