"""What cells need of a machine: declared in configs/, no part of what they are, and told to Snakemake."""

import re
from pathlib import Path

import pytest

from segloss import grid
from segloss.grid.configs import ConfigError
from segloss.grid.resources import DEFAULTS, needs_of
from tests.conftest import run, grid_of

AXES = ("phantom", "unet-tiny", "tiny")


def test_the_largest_of_what_is_declared_counts_and_else_the_default(in_workplace: Path) -> None:
    assert needs_of(*AXES) == DEFAULTS
    needs_of.cache_clear()
    for kind, name, declared in (
        ("datasets", "phantom", {"memory_gb": 8}),
        ("models", "unet-tiny", {"memory_gb": 12, "gpus": 0}),
        ("schedules", "tiny", {"memory_gb": 10, "minutes": 5}),
    ):
        with (in_workplace / f"configs/mmseg/{kind}/{name}.py").open("a") as file:
            file.write(f"needs = {declared}\n")
    assert needs_of(*AXES) == {"gpus": 0, "cpus": DEFAULTS["cpus"], "memory_gb": 12, "minutes": 5}


def test_needs_are_no_part_of_a_cell(in_workplace: Path) -> None:
    cell = grid_of("tiny").cells[0]
    before = grid.config_hash(cell)
    file = in_workplace / "configs/mmseg/schedules/tiny.py"
    for text, same in (("needs = {'gpus': 2}\n", True), ("iterations = 17\n", False)):
        file.write_text(file.read_text() + text)
        grid.axes_settings.cache_clear()
        grid.digest.cache_clear()
        assert (grid.config_hash(cell) == before) == same


@pytest.mark.parametrize(
    ("declared", "sentence"),
    [
        ({"gpu": 1}, r"tiny.py: needs: unknown key 'gpu' \(did you mean 'gpus'\?\); known: cpus, gpus, memory_gb"),
        ({"minutes": 0}, "tiny.py: needs: minutes=0: expected a whole number from 1"),
        ({"gpus": 0.5}, "tiny.py: needs: gpus=0.5: expected a whole number from 0"),
    ],
)
def test_what_cannot_be_needed_is_one_sentence(in_workplace: Path, declared: dict, sentence: str) -> None:
    with (in_workplace / "configs/mmseg/schedules/tiny.py").open("a") as file:
        file.write(f"needs = {declared}\n")
    with pytest.raises(ConfigError, match=sentence):
        needs_of(*AXES)


@pytest.mark.parametrize("name", ["camvid", "camvid-cpu", "demo", "raters", "raters-cpu"])
def test_every_schedule_declares_all(name: str) -> None:
    assert needs_of("phantom", "unet-tiny", name)["gpus"] == (name in ("camvid", "raters"))
    assert needs_of("phantom", "unet-tiny", name)["minutes"] < DEFAULTS["minutes"]


@pytest.mark.slow
def test_snakemake_is_told(workplace: Path) -> None:
    with (workplace / "configs/mmseg/schedules/tiny.py").open("a") as file:
        file.write("needs = {'gpus': 2, 'cpus': 3, 'memory_gb': 7, 'minutes': 11}\n")
    plan = run("snakemake", "-n", "--cores", "8", "--quiet", "host", "--config", "grid=tiny", cwd=workplace).stdout
    (told,) = set(re.findall(r"threads: 3\n +resources: (.*)", plan))
    assert "gpu=2" in told
    assert "mem_mb=7000" in told
    assert "runtime=11" in told
