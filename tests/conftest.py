"""A workplace for tests: a copy of everything but the code, with a grid so small that real trainings take seconds."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks.faults.place import BIN, ROOT, copy_workflow

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


def run(*command: str, cwd: Path, check: bool = True, **variables: str | None) -> subprocess.CompletedProcess:
    """Run a command of the environment with W&B offline and one thread; None takes a variable away. Output is kept."""
    own = {"WANDB_MODE": "offline", "OMP_NUM_THREADS": "1", "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    environment = {name: value for name, value in {**os.environ, **own, **variables}.items() if value is not None}
    done = subprocess.run(
        [str(BIN / command[0]), *command[1:]], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert not check or done.returncode == 0, f"{' '.join(command)}:\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
    return done


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Fast tests first."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)


@pytest.fixture(scope="session")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that holds the embedded data set, made once; by a run of pytest inside a test it is only read."""
    from segloss.datasets import DATASETS

    if made := os.environ.get("SEGLOSS_TEST_PHANTOM"):
        return Path(made)
    root = tmp_path_factory.mktemp("generated")
    DATASETS["phantom"].prepare(root)
    return root


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
    """A fresh copy of the repository's workflow and configs beside phantom, with the grid and schedule ``tiny``."""
    copy_workflow(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "phantom").symlink_to(phantom / "phantom")
    (tmp_path / "configs/mmseg/schedules/tiny.py").write_text(TINY_SCHEDULE)
    (tmp_path / "configs/grids/tiny.yaml").write_text(TINY_GRID)
    return tmp_path


@pytest.fixture(scope="session")
def server_socket() -> Iterator[str]:
    """The socket of a fork server that lasts as long as this run of pytest."""
    code = "import os; from segloss.workflow import start_forkserver; start_forkserver(); "
    code += "print(os.environ['SEGLOSS_FORKSERVER'], flush=True); input()"
    environment = {**os.environ, "SEGLOSS_FORKSERVER": ""}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-W", "ignore", "-c", code], env=environment, **pipes) as process:
        yield process.stdout.readline().strip()
        process.communicate("\n")


@pytest.fixture
def forked(server_socket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cells that this test trains are forked from one server that has the imports: the same result, seconds sooner."""
    monkeypatch.setenv("SEGLOSS_FORKSERVER", server_socket)


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
