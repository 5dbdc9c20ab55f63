"""Resources of cells: declared in configs/, no part of a cell's identity, and requested from Snakemake."""

import re
from pathlib import Path

import pytest

from segloss.grid import ConfigError
from segloss.grid.resources import DEFAULTS
from tests.conftest import ROOT, experiment_of, run

CELL = "phantom/unet-tiny/tiny/hard/ce/seed0"


def test_the_largest_request_counts_and_else_the_default(in_workplace: Path) -> None:
    assert experiment_of(CELL).resources == DEFAULTS
    for kind, name, declared in (
        ("datasets", "phantom", {"memory_gb": 8}),
        ("models", "unet-tiny", {"memory_gb": 12, "gpus": 0}),
        ("schedules", "tiny", {"memory_gb": 10, "minutes": 5}),
    ):
        with (in_workplace / f"configs/mmseg/{kind}/{name}.py").open("a") as file:
            file.write(f"resources = {declared}\n")
    assert experiment_of(CELL).resources == {"gpus": 0, "cpus": DEFAULTS["cpus"], "memory_gb": 12, "minutes": 5}


def test_a_loss_in_several_processes_requests_as_much_for_each(in_workplace: Path) -> None:
    single, four = (experiment_of(CELL.replace("/ce/", f"/{loss}/")).resources for loss in ("ce-jml", "ce-jml-4"))
    assert four == {key: value * (1 if key == "minutes" else 4) for key, value in single.items()}


def test_resources_are_no_part_of_a_cell(in_workplace: Path) -> None:
    before = experiment_of(CELL).config_hash
    file = in_workplace / "configs/mmseg/schedules/tiny.py"
    for text, same in (("resources = {'gpus': 2}\n", True), ("iterations = 17\n", False)):
        file.write_text(file.read_text() + text)
        assert (experiment_of(CELL).config_hash == before) == same


@pytest.mark.parametrize(
    ("declared", "sentence"),
    [
        ({"gpu": 1}, r"tiny.py: resources: unknown key 'gpu' \(did you mean 'gpus'\?\); known: cpus, gpus, memory_gb"),
        ({"minutes": 0}, "tiny.py: resources: minutes=0: expected a whole number from 1"),
        ({"gpus": 0.5}, "tiny.py: resources: gpus=0.5: expected a whole number from 0"),
    ],
)
def test_an_impossible_request_is_one_sentence(in_workplace: Path, declared: dict, sentence: str) -> None:
    with (in_workplace / "configs/mmseg/schedules/tiny.py").open("a") as file:
        file.write(f"resources = {declared}\n")
    with pytest.raises(ConfigError, match=sentence):
        experiment_of(CELL)


@pytest.mark.parametrize("name", ["camvid", "camvid-cpu", "demo", "raters", "raters-cpu"])
def test_every_schedule_declares_all(name: str) -> None:
    resources = experiment_of(f"phantom/unet-tiny/{name}/hard/ce/seed0", ROOT).resources
    assert resources["gpus"] == (name in ("camvid", "raters"))
    assert resources["minutes"] < DEFAULTS["minutes"]


@pytest.mark.slow
def test_snakemake_gets_the_requests(workplace: Path) -> None:
    with (workplace / "configs/mmseg/schedules/tiny.py").open("a") as file:
        file.write("resources = {'gpus': 2, 'cpus': 3, 'memory_gb': 7, 'minutes': 11}\n")
    plan = run("snakemake", "-n", "--cores", "8", "--verbose", "--config", "grid=tiny", cwd=workplace).stdout
    (requests,) = set(re.findall(r"threads: 3\n +resources: (.*)", plan))
    assert "gpu=2" in requests
    assert "mem_mb=7000" in requests
    assert "runtime=11" in requests
