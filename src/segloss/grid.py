"""From the files in configs/ to the cells of a grid, and why others are left out. Imports no torch.

A cell is one point of the grid. Its path is its name, ``<dataset>/<model>/<schedule>/<labels>/<loss>/seed<k>``, and the
name says everything: what a cell does follows from its name and the files in configs/, whichever grid lists it. So
grids share cells.
"""

import ast
import difflib
import functools
import hashlib
import importlib.util
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from segloss.datasets import DATASETS

PACKAGE = Path(__file__).parent
CONFIGS = Path("configs")
ZOO_PREFIX = "mmseg::"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


class GridError(ValueError):
    """What is wrong with a grid or a name in it, in one sentence."""


@dataclass(frozen=True, order=True)
class Cell:
    """One training and its evaluation; ``str(cell)`` is its name and its path below the results folder."""

    dataset: str
    model: str
    schedule: str
    labels: str
    loss: str
    seed: int

    def __str__(self) -> str:
        return "/".join((*astuple(self)[:-1], f"seed{self.seed}"))

    @classmethod
    def parse(cls, name: str) -> "Cell":
        """The cell of that name.

        Raises:
            GridError: if the name has not the form of a cell's name.
        """
        *axes, seed = name.strip("/").split("/")
        if len(axes) != 5 or not all(map(NAME.fullmatch, axes)) or not re.fullmatch(r"seed(0|[1-9]\d*)", seed):
            raise GridError(f"{name!r} is no cell: expected <dataset>/<model>/<schedule>/<labels>/<loss>/seed<k>")
        return cls(*axes, int(seed.removeprefix("seed")))


@dataclass(frozen=True)
class Grid:
    """The cells of a grid file in its order, and those it asks for that make no sense, with the reason."""

    name: str
    title: str
    cells: tuple[Cell, ...]
    skipped: Mapping[Cell, str]


def unknown(kind: str, name: str, known: Iterable[str]) -> GridError:
    """The error for a name that does not exist: names the nearest and all known ones."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return GridError(f"unknown {kind} {name!r}{hint}; known: {', '.join(known) or 'none'}")


def read_yaml(path: Path) -> Any:
    """The content of a YAML file, safely loaded."""
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise GridError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error


def validate(data: Any, schema: str, where: str) -> None:
    """Check data against configs/schemas/<schema>.schema.json.

    Raises:
        GridError: one sentence with the place, what was found and what is possible.
    """
    rules = json.loads((CONFIGS / "schemas" / f"{schema}.schema.json").read_text(encoding="utf-8"))
    error = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(rules).iter_errors(data))
    if error is None:
        return
    place = ".".join(map(str, error.absolute_path))
    message = error.message
    if error.validator == "additionalProperties":
        known = error.schema["properties"]
        extra = next(key for key in error.instance if key not in known)
        message = str(unknown("key", extra, known))
    raise GridError(f"{where}: {f'{place}: ' if place else ''}{message}")


@functools.cache
def signatures(room: str) -> dict[str, dict[str, Any]]:
    """What the functions registered in segloss.<room> declare, read from the source so that nothing imports torch.

    Returns:
        For each function its keyword-only ``options`` and what its ``@register(...)`` line says.
    """
    found = {}
    for file in sorted((PACKAGE / room).glob("*.py")):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            for call in getattr(node, "decorator_list", ()):
                if isinstance(call, ast.Call) and getattr(call.func, "id", None) == "register":
                    declared = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
                    found[node.name] = declared | {"options": {argument.arg for argument in node.args.kwonlyargs}}
    return found


def check_options(room: str, function: str, options: Iterable[str], where: str) -> None:
    """Raise GridError unless segloss.<room> has that function and it takes these options."""
    known = signatures(room)
    if function not in known:
        raise GridError(f"{where}: {unknown({'losses': 'loss', 'labels': 'target'}[room], function, known)}")
    allowed = known[function]["options"] - {"valid", "terms", "class_counts", *known[function].get("needs", ())}
    for option in options:
        if option not in allowed:
            raise GridError(f"{where}: {unknown(f'option of {function}', option, allowed)}")


def loss_terms(line: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A line of losses.yaml as terms ``{loss, weight, options...}``; a single loss is one term of weight 1."""
    return line.get("terms") or [{"weight": 1.0} | {key: value for key, value in line.items() if key != "title"}]


@functools.cache
def load_losses() -> dict[str, dict[str, Any]]:
    """configs/losses.yaml, checked down to the options of each loss."""
    path = CONFIGS / "losses.yaml"
    lines = read_yaml(path)
    validate(lines, "losses", str(path))
    for name, line in lines.items():
        if "terms" in line and (extra := set(line) - {"title", "terms"}):
            raise GridError(f"{path}: {name}: {unknown('key', min(extra), ('title', 'terms'))}")
        for term in loss_terms(line):
            check_options("losses", term["loss"], set(term) - {"loss", "weight"}, f"{path}: {name}")
    return lines


@functools.cache
def load_labels() -> dict[str, dict[str, Any]]:
    """configs/labels.yaml, checked down to the options of each scenario."""
    path = CONFIGS / "labels.yaml"
    lines = read_yaml(path)
    validate(lines, "labels", str(path))
    for name, line in lines.items():
        check_options("labels", line["target"], set(line) - {"title", "target"}, f"{path}: {name}")
    return lines


@functools.cache
def zoo() -> dict[str, Path]:
    """MMSegmentation's model zoo, as its wheel carries it: the name of each config and its file."""
    spec = importlib.util.find_spec("mmseg")
    if spec is None:
        return {}
    return {file.stem: file for file in (Path(spec.origin).parent / ".mim" / "configs").glob("[!_]*/*.py")}


def mmengine_file(kind: str, name: str) -> Path:
    """The MMEngine config behind a name: a file of configs/mmseg/<kind>, or for models one of MMSegmentation's zoo."""
    file = CONFIGS / "mmseg" / kind / f"{name}.py"
    if NAME.fullmatch(name) and file.is_file():
        return file
    if kind == "models" and name in zoo():
        return zoo()[name]
    known = [path.stem for path in file.parent.glob("*.py")]
    error = unknown(kind.rstrip("s"), name, known)
    raise GridError(f"{error}{' or a config of the zoo as mmseg::<name>' if kind == 'models' else ''}")


def model_name(entry: str) -> str:
    """A model as grids name it, ``mmseg::<folder>/<config>`` included, as one part of a path."""
    return Path(entry.removeprefix(ZOO_PREFIX)).name.removesuffix(".py") if entry.startswith(ZOO_PREFIX) else entry


def assigned(file: Path, variable: str) -> Any:
    """The literal a config assigns to a variable at top level; None without one."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) == variable:
            return ast.literal_eval(node.value)
    return None


@functools.cache
def files(file: Path) -> tuple[Path, ...]:
    """An MMEngine config and all it is based on in its own tree; ``mmseg::`` bases are fixed by the pinned package."""
    bases = assigned(file, "_base_") or []
    bases = [bases] if isinstance(bases, str) else bases
    return (file, *(found for base in bases if not base.startswith(ZOO_PREFIX) for found in files(file.parent / base)))


@functools.cache
def digest(file: Path) -> str:
    """Hash of what an MMEngine config says, its bases included; comments and layout do not count."""
    code = [ast.dump(ast.parse(part.read_text(encoding="utf-8"))) for part in files(file)]
    return hashlib.sha256("\n".join(code).encode()).hexdigest()


@functools.cache
def dataset_source(name: str) -> str:
    """The data on disk (a name of segloss.datasets) that a data set of configs/mmseg/datasets reads."""
    file = mmengine_file("datasets", name)
    source = next((value for part in files(file) if (value := assigned(part, "source"))), None)
    if source not in DATASETS:
        raise GridError(f"{file}: {unknown('source', str(source), DATASETS)}")
    return source


@functools.cache
def axes_settings(dataset: str, model: str, schedule: str) -> dict[str, str]:
    """The part of a cell's settings that stands in MMEngine's language, by its hashes."""
    return {
        "dataset": digest(mmengine_file("datasets", dataset)),
        "model": digest(mmengine_file("models", model)),
        "schedule": digest(mmengine_file("schedules", schedule)),
    }


def settings(cell: Cell) -> dict[str, Any]:
    """All that decides a cell's result, as plain data: what Snakemake compares to see whether it must run again.

    Raises:
        GridError: if a part of the name does not exist.
    """
    losses, labels = load_losses(), load_labels()
    if cell.loss not in losses:
        raise unknown("loss", cell.loss, losses)
    if cell.labels not in labels:
        raise unknown("labels", cell.labels, labels)
    scenario = {key: value for key, value in labels[cell.labels].items() if key != "title"}
    return {
        "cell": str(cell),
        **axes_settings(cell.dataset, cell.model, cell.schedule),
        "labels": scenario,
        "loss": loss_terms(losses[cell.loss]),
    }


def config_hash(cell: Cell) -> str:
    """SHA-256 of the cell's settings: the identity of its checkpoint, its record and its W&B run."""
    return hashlib.sha256(json.dumps(settings(cell), sort_keys=True).encode()).hexdigest()


def seed(cell: Cell) -> int:
    """The seed of every random number of a cell: a stable hash of its name, seed index included."""
    return int.from_bytes(hashlib.sha256(str(cell).encode()).digest()[:4], "big") % 2**31


def why_skipped(cell: Cell) -> str | None:
    """Why a cell makes no sense, or None if it does."""
    scenario = signatures("labels")[load_labels()[cell.labels]["target"]]
    if scenario.get("source") == "raters" and not DATASETS[dataset_source(cell.dataset)].raters:
        return f"{dataset_source(cell.dataset)} has one annotator"
    if scenario.get("soft_targets", True):
        for term in loss_terms(load_losses()[cell.loss]):
            if not signatures("losses")[term["loss"]].get("soft_targets", True):
                return f"{term['loss']} is defined on hard labels only"
    return None


def grid_file(name: str) -> Path:
    """The file of a grid given by its name in configs/grids or by the path of a .yaml file."""
    if name.endswith((".yaml", ".yml")):
        if not Path(name).is_file():
            raise GridError(f"no grid file {name}")
        return Path(name)
    file = CONFIGS / "grids" / f"{name}.yaml"
    if not NAME.fullmatch(name) or not file.is_file():
        raise unknown("grid", name, (path.stem for path in file.parent.glob("*.yaml")))
    return file


def load_grid(name: str) -> Grid:
    """Read and check a grid file and everything its names stand for.

    Raises:
        GridError: one sentence saying what is wrong and what exists.
    """
    if not CONFIGS.is_dir():
        raise GridError("no configs/ here: run this in the root of the repository")
    file = grid_file(name)
    raw = read_yaml(file)
    validate(raw, "grid", str(file))
    axes = (raw["datasets"], map(model_name, raw["models"]), [raw["schedule"]], raw["labels"], raw["losses"])
    asked = [Cell(*point) for point in product(*axes, range(raw["seeds"]))]
    cells, skipped = [], {}
    for cell in asked:
        try:
            settings(cell)
            reason = why_skipped(cell)
        except GridError as error:
            raise GridError(f"{file}: {error}") from error
        if reason:
            skipped[cell] = reason
        else:
            cells.append(cell)
    if not cells:
        raise GridError(f"{file}: no cell is left: {'; '.join(sorted(set(skipped.values())))}")
    return Grid(file.stem, raw["title"], tuple(cells), skipped)
