"""The borders of the rooms: imports read from the source and tried with all else blocked, circles, old words."""

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "segloss"
ROOMS = {
    "cli",
    "datasets",
    "engine",
    "grid",
    "labels",
    "losses",
    "metrics",
    "options",
    "records",
    "reports",
    "runtime",
    "tracking",
}
DOORS = {"__init__.py", "__main__.py", "workflow.py", "files.py"}

# Beside the standard library and the room itself.
ALLOWED = {
    "options": set(),
    "losses": {"torch", "triton", "segloss.options"},
    "labels": {"torch", "segloss.options"},
    "metrics": {"torch", "numpy", "segloss.files"},
    "datasets": {"numpy", "PIL", "scipy", "yaml", "jsonschema", "nibabel", "tifffile", "segloss.files"},
    "grid": {"yaml", "jsonschema", "segloss.datasets", "segloss.files", "segloss.options"},
    "records": {
        "numpy",
        "pandas",
        "rich",
        "yaml",
        "segloss.datasets",
        "segloss.files",
        "segloss.grid",
        "segloss.metrics",
    },
    "runtime": set(),
    "reports": {
        "numpy",
        "pandas",
        "scipy",
        "matplotlib",
        "statsmodels",
        "PIL",
        "altair",
        "jinja2",
        "vl_convert",
        "segloss.datasets",
        "segloss.files",
        "segloss.grid",
        "segloss.metrics",
        "segloss.records",
    },
    "tracking": {"wandb", "numpy", "segloss.files", "segloss.grid", "segloss.metrics", "segloss.records"},
    "files.py": set(),
    "workflow.py": {
        "rich",
        "snakemake",
        "segloss.cli",
        "segloss.datasets",
        "segloss.grid",
        "segloss.records",
        "segloss.runtime",
    },
    "cli": {"torch", *(f"segloss.{room}" for room in ROOMS - {"losses", "labels", "metrics"}), "segloss.files"},
    "__main__.py": {"segloss.cli"},
    "engine": {
        *("torch", "numpy", "cv2", "PIL", "mmengine", "mmseg", "mmcv", "timm", "torchvision", "safetensors"),
        *(f"segloss.{room}" for room in ROOMS - {"cli", "reports"}),
        "segloss.files",
    },
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
    modules = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add(node.module)
            modules |= {f"{node.module}.{alias.name}" for alias in node.names if node.module == "segloss"}
    return modules - {"segloss", "segloss.__version__"}


def module_name(file: Path, package: Path) -> str:
    """The dotted name of a file of the package."""
    parts = [package.name, *file.relative_to(package).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def import_graph(package: Path) -> dict[str, set[str]]:
    """The modules of the package that each of its modules imports: anywhere, in functions and for types alone too."""
    files = {module_name(file, package): file for file in package.rglob("*.py")}
    graph: dict[str, set[str]] = {}
    for name, file in files.items():
        graph[name] = set()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                graph[name] |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                submodules = {alias.name: f"{node.module}.{alias.name}" for alias in node.names}
                graph[name] |= {path if path in files else node.module for path in submodules.values()}
        graph[name] &= files.keys() - {name}
    return graph


def circle(graph: Mapping[str, set[str]]) -> list[str]:
    """The nodes of a circle in a graph, in its order; empty without one."""
    finished: set[str] = set()

    def search(node: str, path: list[str]) -> list[str]:
        if node in path:
            return path[path.index(node) :]
        if node in finished:
            return []
        for target in sorted(graph.get(node, ())):
            if nodes := search(target, [*path, node]):
                return nodes
        finished.add(node)
        return []

    return next((nodes for start in sorted(graph) if (nodes := search(start, []))), [])


def room_graph(graph: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """The same between rooms; a module at the top is a room of its own."""
    rooms: dict[str, set[str]] = {}
    for name, targets in graph.items():
        room = ".".join(name.split(".")[:2])
        rooms.setdefault(room, set()).update(".".join(target.split(".")[:2]) for target in targets)
    return {room: targets - {room} for room, targets in rooms.items()}


def identifiers(file: Path) -> Iterator[str]:
    """Every name that a file defines, assigns, imports or uses; texts and comments do not count."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            yield node.name
        elif isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.arg) or (isinstance(node, ast.keyword) and node.arg):
            yield node.arg
        elif isinstance(node, ast.alias):
            yield from (node.asname or node.name).split(".")


# Private paraphrases that the code has lost, as identifiers, and the field's terms that took their place.
OLD_WORDS = {
    "warm": "forkserver",
    "delegate": "run_in_server",
    "attend": "handle_client, handle_exit",
    "become": "take_over",
    "end_as": "exit_with",
    "PLACE": "SOCKET",
    "needs_of": "resources",
    "attempts": "run_lock",
    "killed": "crash_reason",
    "is_one_of_several": "under_torchrun",
    "integrity": "verification",
    "digest_of": "sha256_of",
    "hash_of": "settings_hash",
    "why_failed": "failure_reason",
    "why_skipped": "not_applicable",
    "Part": "TargetTerm, BatchShardSampler, ImageSums",
    "Watched": "TrainingLog",
    "Visits": "SampleSequence",
    "visits": "samples",
    "MeasureHook": "LogHook",
    "WeightsHook": "BestWeightsHook",
    "RestartHook": "CheckpointHook",
    "save_state": "save_checkpoint",
    "load_state": "load_checkpoint",
    "bare": "unwrap",
    "from_all": "all_gather",
    "wait_for_all": "barrier",
    "lost_another": "peer_failed",
    "own_images": "shard_of_images",
    "decoded": "cache",
    "DecodedPipeline": "CachedPipeline",
    "REPEATABLE": "DETERMINISTIC",
    "compiled_ops": "mmcv_stub",
    "Seen": "CellStatus",
    "look": "grid_status",
    "look_at": "cell_status",
    "data_told": "data_entry",
    "training_told": "training_entry",
    "put_there_by_hand": "manual_download",
    "appearing_at_once": "atomic_folder",
    "how_to_get": "instructions",
    "slope": "derivative",
    "tells": "is_conclusive",
    **dict.fromkeys(("tell", "told", "say", "says", "said"), "notify, describe, log, message"),
    **dict.fromkeys(("ask", "asks", "asked"), "grid, request"),
    **dict.fromkeys(("of", "one", "each", "own", "found"), "what the variable holds"),
}
EXEMPT = {"metrics": {"slope"}}  # the parameter of a scale-and-shift calibrator


def trespasses(room: Path, allowed: set[str]) -> list[str]:
    """What a room imports though it may not."""
    name = f"segloss.{room.stem}"
    files = sorted(room.rglob("*.py")) if room.is_dir() else [room]
    return [
        f"{file.name} imports {module}"
        for file in files
        for module in sorted(imports(file))
        if module.split(".")[0] not in sys.stdlib_module_names
        and not any(module == other or module.startswith(f"{other}.") for other in {name, *allowed})
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


def test_the_rooms_are_all_there_is() -> None:
    """The folder listing alone shows the flow."""
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    modules = {path.name for path in PACKAGE.glob("*.py")}
    assert folders == ROOMS
    assert modules == DOORS
    assert ALLOWED.keys() >= ROOMS
    assert DOORS - {"__init__.py"} <= ALLOWED.keys()


def test_no_module_and_no_room_imports_itself_in_a_circle() -> None:
    graph = import_graph(PACKAGE)
    assert len(graph) > 80
    assert circle(graph) == []
    assert circle(room_graph(graph)) == []


def test_a_circle_is_seen(tmp_path: Path) -> None:
    package = tmp_path / "segloss"
    for name, text in {
        "one/__init__.py": "",
        "one/a.py": "def f():\n    from segloss.one import b\n",
        "one/b.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from segloss.one.a import f\n",
        "two/__init__.py": "",
        "two/c.py": "import segloss.three.d\n",
        "two/e.py": "",
        "three/__init__.py": "",
        "three/d.py": "import segloss.two.e\n",
    }.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text)
    graph = import_graph(package)
    assert circle(graph) == ["segloss.one.a", "segloss.one.b"]
    graph["segloss.one.b"].clear()
    assert circle(graph) == []
    assert circle(room_graph(graph)) == ["segloss.three", "segloss.two"]  # though no two modules import each other


@pytest.mark.parametrize("room", sorted(ROOMS | DOORS | {"tests", "benchmarks"}))
def test_no_old_word_is_a_name(room: str) -> None:
    path = (PACKAGE if room in ROOMS | DOORS else PACKAGE.parents[1]) / room
    files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
    words = OLD_WORDS.keys() - EXEMPT.get(room, set())
    assert [f"{file.name}: {name}" for file in files for name in identifiers(file) if name in words] == []


def test_an_old_word_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text("import segloss.warm\ndef told(asked, *, x=0):\n    'says'\n    return asked.found + f(own=x)\n")
    assert OLD_WORDS.keys() & set(identifiers(file)) == {"warm", "told", "asked", "found", "own"}
    assert len(OLD_WORDS) > 50


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
