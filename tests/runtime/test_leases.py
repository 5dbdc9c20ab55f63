"""Leases of GPUs: which devices there are, and that no device is ever leased beyond its share, whatever is killed."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import defaultdict
from fractions import Fraction
from pathlib import Path

import pytest

from segloss.runtime import leases
from segloss.runtime.leases import LeaseError, devices, lease
from tests.conftest import BIN, run

LISTED = """\
GPU 0: NVIDIA H200 (UUID: GPU-aa11)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-bb22)
  MIG 3g.20gb     Device  0: (UUID: MIG-cc33)
  MIG 3g.20gb     Device  1: (UUID: MIG-dd44)
GPU 2: NVIDIA H200 (UUID: GPU-ab55)
"""
# A process that takes a lease as `segloss train` does, prints it, and keeps it until its input ends.
HOLDER = """
import os, sys
from segloss.runtime.leases import lease
with lease(int(sys.argv[1]), int(sys.argv[2]), notify=lambda text: print(text, flush=True)) as taken:
    print("has", os.environ.get("CUDA_VISIBLE_DEVICES"), flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Locks of this test alone, without the variables that name this machine's devices."""
    monkeypatch.setenv("SEGLOSS_LEASES", str(tmp_path / "leases"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("SEGLOSS_DEVICES", raising=False)
    return monkeypatch


@pytest.fixture
def driver(made: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """A machine whose nvidia-smi lists three GPUs, the second divided in two."""
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{LISTED}END\n")
    program.chmod(0o755)
    made.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return made


@pytest.fixture
def holders():
    """Start processes that hold a lease; those left at the end are killed."""
    started = []

    def start(count: int = 1, share: int = 1) -> subprocess.Popen:
        command = [sys.executable, "-c", HOLDER, str(count), str(share)]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, ["GPU-aa11", "MIG-cc33", "MIG-dd44", "GPU-ab55"]),
        ("2,0", ["GPU-ab55", "GPU-aa11"]),
        ("1", ["MIG-cc33", "MIG-dd44"]),
        ("MIG-dd44,GPU-ab", ["MIG-dd44", "GPU-ab55"]),
        ("0,0", ["GPU-aa11"]),
        ("0,-1,2", ["GPU-aa11"]),
        ("7", []),
        ("", []),
        ("-1", []),
    ],
)
def test_devices_are_those_the_driver_lists_and_the_variable_leaves(driver, visible, expected) -> None:
    if visible is not None:
        driver.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert devices() == expected


def test_declared_devices_replace_those_of_the_driver(driver) -> None:
    driver.setenv("SEGLOSS_DEVICES", "0, 1,2")
    assert devices() == ["0", "1", "2"]
    driver.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert devices() == ["1"]


def test_where_no_device_is_nothing_is_leased(made, tmp_path: Path) -> None:
    made.setenv("PATH", str(tmp_path))
    with lease() as taken:
        assert taken == []
        assert "CUDA_VISIBLE_DEVICES" not in os.environ
    assert not (tmp_path / "leases").exists()


@pytest.mark.parametrize(
    ("count", "share", "sentence"),
    [
        (3, 1, r"a cell on 3 GPUs: this machine offers 1 to 2 \(a, b\)"),
        (1, 0, "0 cells on one GPU: expected 1 to 16"),
        (1, 17, "17 cells on one GPU: expected 1 to 16"),
    ],
)
def test_an_impossible_lease_is_one_sentence(made, count: int, share: int, sentence: str) -> None:
    made.setenv("SEGLOSS_DEVICES", "a,b")
    with pytest.raises(LeaseError, match=sentence), lease(count, share):
        pass


def test_a_folder_of_another_user_is_refused(made, tmp_path: Path) -> None:
    made.setenv("SEGLOSS_DEVICES", "a")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "leases").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LeaseError, match="belongs to another user"), lease():
        pass


def test_a_device_is_leased_once_and_free_again_after_a_kill(made, holders) -> None:
    made.setenv("SEGLOSS_DEVICES", "a,b")
    first, second = holders(), holders()
    assert {first.stdout.readline(), second.stdout.readline()} == {"leased a\n", "leased b\n"}
    third = holders()
    assert third.stdout.readline() == "waiting for 1 of the 2 GPUs, which other cells have leased\n"
    held = first.stdout.readline()
    first.kill()
    assert third.stdout.readline().startswith("leased ")
    assert third.stdout.readline() == held


def test_shares_of_different_sizes_keep_to_each_other(made, holders) -> None:
    made.setenv("SEGLOSS_DEVICES", "a")
    half = holders(share=2)
    assert half.stdout.readline() == "leased a, one of 2 cells on it\n"
    whole = holders()
    assert whole.stdout.readline().startswith("waiting")
    other = holders(share=2)
    assert other.stdout.readline().startswith("leased a")
    third = holders(share=3)
    assert third.stdout.readline().startswith("waiting")
    whole.kill()
    half.stdin.close()  # the first third of a device lies in its first half
    assert third.stdout.readline() == "leased a, one of 3 cells on it\n"


def test_several_devices_are_taken_together_and_empty_ones_first(made, holders) -> None:
    made.setenv("SEGLOSS_DEVICES", "a,b,c")
    sharing = [holders(share=2)]
    sharing[0].stdout.readline()
    sharing.append(holders(share=2))
    assert sharing[1].stdout.readline().startswith("leased b")
    pair = holders(count=2)
    assert pair.stdout.readline().startswith("waiting for 2 of the 3")
    # A process that waits for two holds none meanwhile.
    single = holders()
    assert single.stdout.readline() == "leased c\n"
    for process in sharing:
        process.stdin.close()
    assert pair.stdout.readline() == "leased a, b\n"
    assert pair.stdout.readline() == "has a,b\n"


# A quick cell: leases as `segloss train` does and logs when it held which device. One write is one line.
CELL = """
import os, sys, time
from segloss.runtime.leases import lease
log = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND)
def note(what, device):
    os.write(log, f"{what} {device} {sys.argv[2]} {os.getpid()}\\n".encode())
with lease(share=int(sys.argv[2])) as (device,):
    note("start", device)
    time.sleep(float(sys.argv[3]))
    note("end", device)
"""
SNAKEFILE = """
import random
rule all:
    input: [f"{config['run']}/{index}" for index in range(config["cells"])]
rule cell:
    output: "{run}/{index}"
    retries: 5
    params: seconds=lambda wildcards: random.Random(int(wildcards.index)).uniform(0.1, 0.3)
    shell: "{config[python]} cell.py log {config[share]} {params.seconds} && touch {output}"
"""


def beyond_its_share(log: str) -> str | None:
    """The first line at which a device was leased beyond its share: its cells' parts added up to more than one."""
    holders: defaultdict[str, dict[str, Fraction]] = defaultdict(dict)
    for line in log.splitlines():
        what, device, share, pid = line.split()
        if what == "start":
            holders[device][pid] = Fraction(1, int(share))
        else:
            holders[device].pop(pid, None)
        if sum(holders[device].values()) > 1:
            return f"{line}: {dict(holders[device])}"
    return None


def compete(folder: Path, shares: tuple[int, int], cells: int, kills: int, **variables: str) -> str:
    """Two Snakemake runs of quick cells on one machine's devices, some cells killed; returns the cells' log."""
    (folder / "cell.py").write_text(CELL)
    (folder / "Snakefile").write_text(SNAKEFILE)
    log = folder / "log"
    log.touch()
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", **variables}
    runs = [
        subprocess.Popen(
            [
                *(BIN / "snakemake", "--cores", "12", "--nolock", "--quiet", "all", "--config"),
                *(f"run={name}", f"share={share}", f"cells={cells // 2}", f"python={sys.executable}"),
            ],
            cwd=folder,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name, share in zip(("one", "two"), shares, strict=True)
    ]
    chance = random.Random(0)
    while any(process.poll() is None for process in runs):
        time.sleep(0.3)
        if kills:
            lines = [line.split() for line in log.read_text().splitlines()]
            ended = {pid for what, _, _, pid in lines if what == "end"}
            alive = [line for line in lines if line[0] == "start" and line[3] not in ended]
            if alive:
                _, device, share, pid = chance.choice(alive)
                with log.open("a") as file:
                    file.write(f"end {device} {share} {pid}\n")
                try:
                    os.kill(int(pid), signal.SIGKILL)
                    kills -= 1
                except ProcessLookupError:
                    pass
    for process in runs:
        assert process.wait() == 0, process.stderr.read()[-2000:]
        process.stderr.close()
    assert kills == 0
    assert sum(1 for name in ("one", "two") for _ in (folder / name).iterdir()) == cells
    return log.read_text()


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.parametrize(("number", "shares", "cells"), [(8, (1, 1), 100), (2, (2, 3), 60)])
def test_two_grids_that_compete_for_devices(made, tmp_path: Path, number: int, shares: tuple, cells: int) -> None:
    names = {f"made{index}" for index in range(number)}
    made.setenv("SEGLOSS_DEVICES", ",".join(names))
    log = compete(tmp_path, shares, cells, kills=8)
    assert beyond_its_share(log) is None
    assert {line.split()[1] for line in log.splitlines()} == names
    assert log.count("start") >= cells + 8
    # Where a device may be shared, it is.
    alone = "\n".join(" ".join((what, device, "1", pid)) for what, device, _, pid in map(str.split, log.splitlines()))
    assert (beyond_its_share(alone) is None) == (shares == (1, 1))


@pytest.mark.slow
def test_the_observer_sees_a_device_leased_twice(made, tmp_path: Path) -> None:
    # Each process has its own locks, so that nothing separates their leases.
    made.setenv("SEGLOSS_DEVICES", "a,b")
    own_locks = "import os; os.environ['SEGLOSS_LEASES'] = f'own/{os.getpid()}'"
    made.setattr(sys.modules[__name__], "CELL", own_locks + CELL)
    assert beyond_its_share(compete(tmp_path, (1, 1), cells=24, kills=0)) is not None


@pytest.mark.slow
def test_a_training_leases_its_device_and_the_next_waits(workplace: Path, made) -> None:
    made.setenv("SEGLOSS_DEVICES", "made0")
    cells = [f"phantom/unet-tiny/tiny/hard/ce/seed{seed}" for seed in (0, 1)]
    command = [str(BIN / "segloss"), "train"]
    environment = {**os.environ, "WANDB_MODE": "disabled", "OMP_NUM_THREADS": "1"}
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    both = [subprocess.Popen([*command, cell], cwd=workplace, env=environment, **pipes) for cell in cells]
    outputs = [process.communicate(timeout=120)[0] for process in both]
    assert all(process.returncode == 0 for process in both), outputs
    assert all("leased made0" in text for text in outputs)
    # The one that waited imported torch only after the other had ended.
    assert sum("waiting for 1 of the 1 GPUs" in text for text in outputs) == 1
    free = run("segloss", "train", cells[0], "--device", "cpu", cwd=workplace)
    assert "leased" not in free.stdout


def test_a_whole_device_is_divisible_by_every_share() -> None:
    assert all(leases.WHOLE % share == 0 for share in range(1, leases.LARGEST_SHARE + 1))
