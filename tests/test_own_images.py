"""A folder of images and masks, trained on by the documented commands without writing Python or a config."""

import json
from pathlib import Path

import pytest

from segloss.grid import ConfigError
from tests.conftest import grid_of, run
from tests.datasets.test_described import make

GRID = """
title: Own images
datasets: [shapes]
models: [unet-tiny]
schedule: tiny
labels: [hard, bls]
losses: [ce]
seeds: 1
"""


@pytest.mark.slow
def test_a_folder_is_described_planned_trained_and_tabulated(workplace: Path, tmp_path_factory) -> None:
    folder = tmp_path_factory.mktemp("pictures") / "shapes"
    make(folder)
    shown = run("segloss", "new", "dataset", str(folder), cwd=workplace, own_process=True).stdout
    assert "configs/datasets/shapes.yaml: name the classes" in shown
    assert (
        "; images: train 7, val 1, test 2"
        in run("segloss", "prepare", "shapes", cwd=workplace, own_process=True).stdout
    )
    assert (workplace / "configs/datasets/shapes-pairs.png").is_file()
    (workplace / "configs/grids/own.yaml").write_text(GRID)
    assert "shapes" in run("segloss", "list", "datasets", cwd=workplace, own_process=True).stdout
    assert "cells: 2 and 0 that they depend on" in run("segloss", "plan", "own", cwd=workplace, own_process=True).stdout
    run("snakemake", "--cores", "1", "--config", "grid=own", cwd=workplace, own_process=True)
    record = json.loads((workplace / "results/shapes/unet-tiny/tiny/hard/ce/seed0/record.json").read_text())
    assert record["data"]["source"] == "shapes"
    assert record["data"]["images"] > 0
    assert "| CE |" in (workplace / "reports/own/table.md").read_text()


def test_a_wrong_description_is_one_sentence_while_planning(in_workplace: Path, tmp_path_factory) -> None:
    folder = tmp_path_factory.mktemp("pictures") / "shapes"
    make(folder)
    run("segloss", "new", "dataset", str(folder), cwd=in_workplace)
    assert "shapes" in run("segloss", "prepare", "--list", cwd=in_workplace).stdout
    done = run("segloss", "prepare", "shape", cwd=in_workplace, check=False)
    assert "unknown data set 'shape' (did you mean 'shapes'?)" in done.stderr
    (in_workplace / "configs/grids/own.yaml").write_text(GRID)
    assert len(grid_of("own").cells) == 2
    file = in_workplace / "configs/datasets/shapes.yaml"
    file.write_text(file.read_text().replace("classes:", "clases:"))
    with pytest.raises(ConfigError, match=r"shapes\.yaml.*clases"):
        grid_of("own")
