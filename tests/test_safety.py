"""What must not happen: code run from a data file, a path that leaves its folder, a key in a file."""

import ast
import re
from pathlib import Path

import pytest

from segloss.grid import Cell, ConfigError
from tests.conftest import ROOT, TINY_GRID, TINY_SCHEDULE, grid_of, run

SOURCES = sorted(file for room in ("src", "workflows", "benchmarks", "tests") for file in (ROOT / room).rglob("*.py"))
KEY = "fedcba9876543210fedcba9876543210fedcba98"


def unsafe_loads(code: str) -> list[str]:
    """Calls and imports that could run the content of a file, as ``line: call``."""
    calls = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None)]
            calls += [
                f"{node.lineno}: import {name}" for name in names if name in ("pickle", "dill", "joblib", "marshal")
            ]
        if not isinstance(node, ast.Call):
            continue
        name, options = ast.unparse(node.func), {word.arg: ast.unparse(word.value) for word in node.keywords}
        wrong = (
            (name == "torch.load" and options.get("weights_only") != "True")
            or (name == "yaml.load" and not options.get("Loader", "").endswith("SafeLoader"))
            or (name in ("yaml.full_load", "yaml.unsafe_load", "eval", "exec"))
            or options.get("allow_pickle", "False") != "False"
            or options.get("shell", "False") != "False"
        )
        calls += [f"{node.lineno}: {name}"] if wrong else []
    return calls


# Files that load trusted content: memory shared by workers, annotations in the source of this package and of those that
# are installed, a copied module, examples of the documentation.
OWN_CONTENT = {
    "src/segloss/engine/cache.py",
    "src/segloss/grid/library_options.py",
    "src/segloss/options/_source.py",
    "tests/losses/test_loss_modules.py",
    "tests/test_docs.py",
}


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_files_are_loaded_without_running_code_in_them(file: Path) -> None:
    seen = unsafe_loads(file.read_text(encoding="utf-8"))
    assert bool(seen) == (str(file.relative_to(ROOT)) in OWN_CONTENT), seen


def test_an_unsafe_load_is_seen() -> None:
    code = (
        "import pickle\ntorch.load(f)\ntorch.load(f, weights_only=False)\nyaml.load(f)\nnp.load(f, allow_pickle=True)\n"
    )
    assert [line.split(":")[0] for line in unsafe_loads(code)] == ["1", "2", "3", "4", "5"]
    assert unsafe_loads("torch.load(f, weights_only=True)\nyaml.safe_load(f)\nnp.load(f)\n") == []


@pytest.mark.parametrize("part", ["..", ".", "", "/etc", "a/b", "~", "-x", "a b", "a\nb", "a\0b", "$HOME", "*"])
def test_no_part_of_a_name_leaves_the_results_folder(in_workplace: Path, part: str) -> None:
    names = ["phantom", "unet-tiny", "tiny", "hard", "ce"]
    for place, axis in enumerate(("datasets", "models", "schedule", "labels", "losses")):
        with pytest.raises(ConfigError):
            Cell.parse("/".join([*names[:place], part, *names[place + 1 :], "seed0"]))
        value = part if axis == "schedule" else [part]
        file = in_workplace / "hostile.yaml"
        text = re.sub(
            rf"^{axis}: .*$", lambda _, axis=axis, value=value: f"{axis}: {value!r}", TINY_GRID, flags=re.MULTILINE
        )
        file.write_text(text)
        with pytest.raises(ConfigError):
            grid_of(str(file))


@pytest.mark.parametrize("name", ["...yaml", "..yaml", ".yaml", "a b.yaml", "-x.yaml", "$x.yaml"])
def test_no_grid_name_leaves_the_reports_folder(in_workplace: Path, name: str) -> None:
    (in_workplace / name).write_text(TINY_GRID)
    with pytest.raises(ConfigError, match=r"a grid file's name must consist of|no grid file"):
        grid_of(name)


@pytest.mark.slow
def test_a_key_reaches_no_file_and_no_output_whether_a_cell_succeeds_or_fails(workplace: Path) -> None:
    refused = {"WANDB_API_KEY": KEY, "WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_MODE": None}
    succeeded = run("segloss", "train", "phantom/unet-tiny/tiny/hard/ce/seed0", cwd=workplace, **refused)
    schedule = TINY_SCHEDULE.replace("lr=1e-2", "lr=float('inf')")
    (workplace / "configs/mmseg/schedules/tiny.py").write_text(schedule)
    failed = run("segloss", "train", "phantom/unet-tiny/tiny/hard/ce/seed1", cwd=workplace, check=False, **refused)
    assert failed.returncode == 1
    assert list(workplace.rglob("failure.json"))
    assert KEY not in succeeded.stdout + succeeded.stderr + failed.stdout + failed.stderr
    written = [path for path in workplace.rglob("*") if path.is_file()]
    assert len(written) > 20
    assert [path for path in written if KEY.encode() in path.read_bytes()] == []
