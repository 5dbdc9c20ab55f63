"""Which room may import what: read from the source, and tried with everything else taken away."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "segloss"

# Beside the standard library and the room itself.
ALLOWED = {
    "losses": {"torch", "triton"},
    "labels": {"torch"},
    "metrics": {"torch", "numpy", "segloss.files"},
    "datasets": {"numpy", "PIL", "scipy", "segloss.files"},
    "grid": {"yaml", "jsonschema", "segloss.datasets"},
    "records": {
        "numpy",
        "pandas",
        "segloss.files",
        "segloss.grid",
        "segloss.metrics",
        "segloss.datasets",
    },
    "runtime": set(),
    "reports": {
        "numpy",
        "pandas",
        "scipy",
        "matplotlib",
        "scikit_posthocs",
        "segloss.datasets",
        "segloss.files",
        "segloss.grid",
        "segloss.metrics",
        "segloss.records",
    },
    "tracking": {"wandb", "segloss.files", "segloss.records"},
    "files.py": set(),
    "workflow.py": {"snakemake", "segloss.cli", "segloss.datasets", "segloss.grid", "segloss.records"},
    "cli.py": {"torch", "pandas", "segloss"},
}
WITHOUT_TORCH = (
    "cli",
    "datasets",
    "files",
    "grid",
    "metrics",
    "records",
    "records.status",
    "reports",
    "runtime",
    "runtime.forkserver",
    "runtime.leases",
    "runtime.torchrun",
    "tracking",
    "workflow",
)
HEAVY = {
    "torch",
    "numpy",
    "scipy",
    "pandas",
    "matplotlib",
    "mmengine",
    "mmcv",
    "mmseg",
    "wandb",
    "snakemake",
    "yaml",
    "jsonschema",
    "PIL",
}


def imports(file: Path) -> set[str]:
    """Every module a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names if node.module == "segloss"}
    return found - {"segloss", "segloss.__version__"}


def trespasses(room: Path, allowed: set[str]) -> list[str]:
    """What a room imports though it may not."""
    own = f"segloss.{room.stem}"
    files = sorted(room.glob("*.py")) if room.is_dir() else [room]
    return [
        f"{file.name} imports {module}"
        for file in files
        for module in sorted(imports(file))
        if module.split(".")[0] not in sys.stdlib_module_names
        and not (module == own or module.startswith(f"{own}."))
        and not any(module == name or module.startswith(f"{name}.") for name in allowed)
    ]


def try_import(module: str, blocked: set[str], folder: Path | None = None) -> subprocess.CompletedProcess:
    """Import a module where others cannot be imported."""
    code = f"""
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ImportError(name + " is blocked")
sys.meta_path.insert(0, Blocked())
sys.path[:0] = {[str(folder)] if folder else []!r}
import {module}
"""
    return subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("room", ALLOWED)
def test_a_room_imports_only_what_it_may(room: str) -> None:
    assert trespasses(PACKAGE / room, ALLOWED[room]) == []


@pytest.mark.parametrize("room", ["losses", "labels", "metrics"])
def test_the_mathematics_imports_without_the_suite(room: str) -> None:
    # torch itself looks for numpy, and does without it where it is absent.
    done = try_import(f"segloss.{room}", HEAVY - {"torch", "numpy"})
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", WITHOUT_TORCH)
def test_what_plans_and_reports_imports_without_torch(module: str) -> None:
    done = try_import(f"segloss.{module}", {"torch", "mmengine", "mmseg", "mmcv", "wandb"})
    assert done.returncode == 0, done.stderr


def test_metrics_import_torch_only_where_it_is_used() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, segloss.metrics as metrics; assert 'torch' not in sys.modules; "
            "metrics.TemperatureFit; assert 'torch' in sys.modules; assert set(metrics.__all__) <= set(dir(metrics))",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["wandb", "mmengine", "mmseg", "mmcv", "snakemake"])
def test_each_outside_system_has_one_door(name: str) -> None:
    doors = {"wandb": {"tracking"}, "snakemake": {"workflow.py"}}
    users = {
        str(file.relative_to(PACKAGE)).split("/")[0]
        for file in PACKAGE.rglob("*.py")
        if any(module.split(".")[0] == name for module in imports(file))
    }
    assert users == doors.get(name, {"engine"})


def test_a_trespass_is_seen(tmp_path: Path) -> None:
    room = tmp_path / "losses"
    room.mkdir()
    (room / "__init__.py").write_text(
        "import torch\ndef f():\n    from mmseg.models import losses\n    import segloss.labels\n"
    )
    assert trespasses(room, {"torch"}) == ["__init__.py imports mmseg.models", "__init__.py imports segloss.labels"]
    (tmp_path / "wanderer.py").write_text("import pandas\n")
    done = try_import("wanderer", {"pandas"}, tmp_path)
    assert done.returncode == 1
    assert "pandas is blocked" in done.stderr
