"""The pinned environment: one set of packages, listed in three places, and all of it installed."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]


def pinned() -> dict[str, str]:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    return {canonicalize_name(name): version for name, version in pins.items()}


def required() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    requirements = [Requirement(line) for group in groups for line in group]
    return [requirement for requirement in requirements if requirement.name != "segloss"]


def test_every_line_pins_one_version() -> None:
    lines = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!]+", line) for line in lines)
    assert len(pinned()) == len(lines)


def test_every_requirement_is_pinned_at_a_version_that_meets_it() -> None:
    pins = pinned()
    for requirement in required():
        name = canonicalize_name(requirement.name)
        assert name in pins, f"{requirement.name} is not in requirements.txt"
        assert requirement.specifier.contains(pins[name]), f"{requirement} but {pins[name]} is pinned"


@pytest.mark.xdist_group("probe")
def test_pytest_xdist_sees_groups(request: pytest.FixtureRequest) -> None:
    """Else every worker makes what the tests of a group share: a grid on CamVid, a site, a server of faulty copies."""
    if getattr(request.config.option, "loadgroup", False):
        assert request.node.nodeid.endswith("@probe")


def test_the_whole_tree_is_pinned() -> None:
    pins = pinned()
    open_ends = {
        f"{package} needs {requirement.name}"
        for package in pins
        for line in importlib.metadata.requires(package) or []
        if (requirement := Requirement(line)).marker is None or requirement.marker.evaluate({"extra": ""})
        if canonicalize_name(requirement.name) not in pins
        # What torch needs differs between its CPU and CUDA builds; pip takes the versions torch itself pins.
        if package != "torch"
    }
    assert open_ends == set()


def test_what_is_pinned_is_what_is_installed() -> None:
    for name, version in pinned().items():
        assert importlib.metadata.version(name).split("+")[0] == version, name


def test_the_packages_fit_together() -> None:
    # -I: without the peers that lie beside the environment and whose requirements are not met there.
    done = subprocess.run([sys.executable, "-I", "-m", "pip", "check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_hooks_before_a_commit_are_what_make_check_runs() -> None:
    makefile = (ROOT / "Makefile").read_text()
    recipe = re.search(r"^check:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)[1]
    commands = {line.strip().replace("$(BIN)", ".venv/bin") for line in recipe.splitlines()}
    (local,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    # Hooks get the changed files where the command takes ".".
    hooks = {hook["entry"].replace(" --force-exclude", " .") for hook in local["hooks"]}
    assert hooks == commands
    steps = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]["check-and-test"]["steps"]
    assert steps[-1] == {"run": ".ci/run"}
    assert "make check\nmake test\n" in (ROOT / ".ci/run").read_text()


def test_conda_installs_the_same_set() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    *conda, pip = environment["dependencies"]
    assert conda == ["python=3.11", "pip"]
    assert pip == {"pip": ["-r requirements.txt", "--editable ."]}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == ">=3.11"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with nothing but the project's Makefile and lists of packages."""
    for name in ("Makefile", "requirements.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def make(folder: Path, *words: str) -> subprocess.CompletedProcess:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(["make", *words], cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("version", ["2.7", "3.9", "3.10", "3.14"])
def test_a_python_that_does_not_fit_is_one_sentence_and_leaves_nothing(place: Path, version: str) -> None:
    python = place / "python"
    numbers = ", ".join(version.split("."))
    code = f"import sys; sys.version_info, sys.version = ({numbers}, 0), '{version}.0'; exec(sys.argv[1])"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{code}" "$2"\n')
    python.chmod(0o755)
    done = make(place, "bench", f"PYTHON={python}")
    assert done.returncode != 0
    assert f"segloss needs Python 3.11, 3.12 or 3.13, {sys.executable} is {version}.0: make PYTHON=" in done.stderr
    assert not (place / ".venv").exists()


def test_an_environment_whose_python_changed_is_made_anew(place: Path) -> None:
    python, ready = place / ".venv/bin/python", place / ".venv/.ready"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    for version, anew in ((f"3.{sys.version_info.minor}", False), ("3.10", True), ("", True)):
        ready.write_text(f"{version}\n")
        plan = make(place, "-n", "bench")
        assert plan.returncode == 0
        assert ("-m venv --clear" in plan.stdout) == anew
    python.unlink()
    ready.write_text(f"3.{sys.version_info.minor}\n")
    assert "-m venv --clear" in make(place, "-n", "bench").stdout
