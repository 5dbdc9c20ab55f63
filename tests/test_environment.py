"""The pinned environment: one set of packages, said three ways, and all of it installed."""

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]


def pinned() -> dict[str, str]:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    return {canonicalize_name(name): version for name, version in pins.items()}


def wanted() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    requirements = [Requirement(line) for group in groups for line in group]
    return [requirement for requirement in requirements if requirement.name != "segloss"]


def test_every_line_pins_one_version() -> None:
    lines = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!]+", line) for line in lines)
    assert len(pinned()) == len(lines)


def test_what_the_project_wants_is_pinned_at_a_version_it_accepts() -> None:
    pins = pinned()
    for requirement in wanted():
        name = canonicalize_name(requirement.name)
        assert name in pins, f"{requirement.name} is not in requirements.txt"
        assert requirement.specifier.contains(pins[name]), f"{requirement} but {pins[name]} is pinned"


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
    # -I: without the peers that lie beside the environment and whose own needs are not met there.
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
