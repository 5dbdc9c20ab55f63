"""A workplace for tests: a copy of everything but the code, with a grid so small that real trainings take seconds."""

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks.faults.place import BIN, ROOT, copy_workflow
from tests import command_server

if TYPE_CHECKING:
    from segloss.grid import Experiment, Grid

# Where the real data sets lie, for the tests that need them.
DATA = Path(os.environ.get("SEGLOSS_DATA", ROOT.parent / "shared" / "data"))

TINY_SCHEDULE = """
iterations = 16
batch_size = 4
optimizer = dict(type="AdamW", lr=1e-2, weight_decay=0.01)
param_scheduler = [dict(type="PolyLR", power=0.9, eta_min=0.0, begin=0, end=iterations, by_epoch=False)]
"""

TINY_GRID = """
title: Tiny
datasets: [phantom]
models: [unet-tiny]
schedule: tiny
labels: [hard, raters]
losses: [ce, lovasz]
seeds: 2
"""


def run(
    *command: str, cwd: Path, check: bool = True, own_process: bool = False, **variables: str | None
) -> subprocess.CompletedProcess:
    """Run a command of the environment without W&B and with one thread, and capture its output.

    ``segloss`` and ``snakemake`` are forked from one server, and so are the cells that they train, unless
    ``own_process`` or a SEGLOSS_FORKSERVER set by the test requires a new process.

    Args:
        command: Name and arguments.
        cwd: The working directory.
        check: Expect the exit status 0.
        own_process: Start a new process, as a shell does.
        variables: Variables of the environment; None removes one.
    """
    defaults = {"WANDB_MODE": "disabled", "OMP_NUM_THREADS": "1", "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    environment = {name: value for name, value in {**os.environ, **defaults, **variables}.items() if value is not None}
    done = None
    if command_server.serves(command) and not own_process and "SEGLOSS_FORKSERVER" not in variables:
        environment["SEGLOSS_FORKSERVER"] = command_server.socket_path() if command[0] == "snakemake" else ""
        done = command_server.run(command, cwd, environment)
    if done is None:
        words = [str(BIN / command[0]), *command[1:]]
        done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, f"{' '.join(command)}:\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
    return done


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Fast tests first; side by side last, since they fill the time in which one process has a long test left.

    Side by side, what mostly waits comes before all others: its time costs nothing as long as others run.
    """
    side_by_side = "PYTEST_XDIST_WORKER" in os.environ

    def order(item: pytest.Item) -> tuple[bool, bool]:
        slow = item.get_closest_marker("slow")
        return (slow is not None) != side_by_side, side_by_side and not (slow and slow.kwargs.get("waits"))

    items.sort(key=order)


def pytest_sessionfinish() -> None:
    command_server.stop()


@pytest.fixture(scope="session")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that holds the embedded data set, made once; a run of pytest inside a test only reads it."""
    from segloss.datasets import DATASETS

    if made := os.environ.get("SEGLOSS_TEST_PHANTOM"):
        return Path(made)
    root = tmp_path_factory.mktemp("generated")
    DATASETS["phantom"].prepare(root)
    return root


def make_workplace(folder: Path, phantom: Path) -> Path:
    """A copy of the repository's workflow and configs beside phantom, with the grid and schedule ``tiny``."""
    copy_workflow(folder)
    (folder / "data").mkdir()
    (folder / "data" / "phantom").symlink_to(phantom / "phantom")
    (folder / "configs/mmseg/schedules/tiny.py").write_text(TINY_SCHEDULE)
    (folder / "configs/grids/tiny.yaml").write_text(TINY_GRID)
    return folder


def shortened(folder: Path, root: Path, count: int) -> Path:
    """The same data set as links, with lists of ``count`` images."""
    copy = root / folder.name
    copy.mkdir(parents=True)
    for path in folder.iterdir():
        if path.suffix == ".txt":
            (copy / path.name).write_text("\n".join(path.read_text().split("\n")[:count]))
        else:
            (copy / path.name).symlink_to(path)
    return copy


def in_memory(folder: Path) -> Iterator[Path]:
    """A folder in memory, where the machine has one, in place of that folder.

    ext4 writes a file that is rewritten to the disk at once: 6 ms for each of thousands of fuzzed files, against 0.1.
    """
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield folder
        return
    with tempfile.TemporaryDirectory(dir=memory) as path:
        yield Path(path)


@pytest.fixture
def workplace(tmp_path: Path, phantom: Path) -> Path:
    """A fresh workplace."""
    return make_workplace(tmp_path, phantom)


@pytest.fixture(scope="session")
def camvid_grid(tmp_path_factory: pytest.TempPathFactory, phantom: Path) -> Path:
    """A workplace in which Snakemake has trained a cell on some of CamVid and made its report: for two tests, once."""
    if not (DATA / "camvid").is_dir():
        pytest.skip("CamVid is not there: SEGLOSS_DATA names no folder with it")
    folder = make_workplace(tmp_path_factory.mktemp("camvid"), phantom)
    (folder / "configs/grids/tiny.yaml").write_text(
        "{title: Few, datasets: [camvid-cpu], models: [unet-small], schedule: tiny,"
        " labels: [bls], losses: [ce-jml], seeds: 1}"
    )
    schedule = TINY_SCHEDULE.replace("iterations = 16", "iterations = 4")
    (folder / "configs/mmseg/schedules/tiny.py").write_text(schedule)
    shortened(DATA / "camvid", folder / "real", 24)
    run("snakemake", "--cores", "2", "--config", "grid=tiny", "data_root=real", cwd=folder)
    return folder


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cells of processes that this test starts itself are forked from the server of `run`, too."""
    monkeypatch.setenv("SEGLOSS_FORKSERVER", command_server.socket_path())


@pytest.fixture
def in_workplace(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The workplace as the working directory."""
    monkeypatch.chdir(workplace)
    return workplace


def grid_of(name: str, root: Path = Path()) -> "Grid":
    """A grid, resolved against the configs of a checkout as they are now."""
    from segloss.grid import Configs, load_grid

    return load_grid(name, Configs(root))


def experiment_of(cell: str, root: Path = Path()) -> "Experiment":
    """A cell, resolved against the configs of a checkout as they are now."""
    from segloss.grid import Cell, Configs, resolve

    return resolve(Cell.parse(cell), Configs(root))


@pytest.fixture
def edit() -> Callable[[Path, str, str], None]:
    """Replace a text that occurs once in a file."""

    def replace(path: Path, old: str, new: str) -> None:
        text = path.read_text()
        assert text.count(old) == 1, f"{old!r} occurs {text.count(old)} times in {path}"
        path.write_text(text.replace(old, new))

    return replace
