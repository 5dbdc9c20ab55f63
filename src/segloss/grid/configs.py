"""What stands in configs/: read and checked, down to the options of every loss. Imports no torch."""

import ast
import difflib
import functools
import hashlib
import importlib.util
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from segloss import options
from segloss.datasets import DATASETS

PACKAGE = Path(__file__).parents[1]
CONFIGS = Path("configs")
ZOO_PREFIX = "mmseg::"
# What a line of labels.yaml says beside its target and the target's options.
TRAINING_PARTS = ("teacher", "labelled", "mean_teacher")
CHECKPOINTS = ("last", "best")  # which weights of a training are evaluated
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


class ConfigError(ValueError):
    """What is wrong with a file in configs/ or with a name, in one sentence."""


def unknown(kind: str, name: str, known: Iterable[str]) -> ConfigError:
    """The error for a name that does not exist: names the nearest and all known ones."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return ConfigError(f"unknown {kind} {name!r}{hint}; known: {', '.join(known) or 'none'}")


def read_yaml(path: Path) -> Any:
    """The content of a YAML file, safely loaded."""
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error


def validate(data: Any, schema: str, where: str) -> None:
    """Check data against configs/schemas/<schema>.schema.json.

    Raises:
        ConfigError: one sentence with the place, what was found and what is possible.
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
    raise ConfigError(f"{where}: {f'{place}: ' if place else ''}{message}")


@functools.cache
def signatures(room: str) -> dict[str, dict[str, Any]]:
    """The functions registered in segloss.<room>, read from the source so that nothing imports torch.

    Returns:
        For each function the keyword arguments of its ``@register(...)`` line and, under ``options``, its keyword-only
        parameters with their annotations.
    """
    return {
        name: function.registered | {"options": function.options}
        for name, function in options.declared(PACKAGE / room).items()
    }


# Keyword-only parameters that belong to a call, or that the engine supplies, beside all that are tensors.
NO_SETTINGS = {"reduction", "terms", "class_counts"}


def check_options(room: str, function: str, settings: Mapping[str, Any], where: str) -> None:
    """Check the options of a function of segloss.<room> by name and value.

    Raises:
        ConfigError: the function or an option is unknown, or a value is outside its range.
    """
    known = signatures(room)
    if function not in known:
        raise ConfigError(f"{where}: {unknown({'losses': 'loss', 'labels': 'target'}[room], function, known)}")
    supplied = {*NO_SETTINGS, *known[function].get("needs", ())}
    allowed = {
        name: kind
        for name, kind in known[function]["options"].items()
        if name not in supplied and options.is_setting(kind)
    }
    for option, value in settings.items():
        if option not in allowed:
            raise ConfigError(f"{where}: {unknown(f'option of {function}', option, allowed)}")
        try:
            options.check(option, value, allowed[option])
        except ValueError as error:
            raise ConfigError(f"{where}: {error}") from None


def loss_terms(line: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A line of losses.yaml as terms ``{loss, weight, options...}``; a single loss is one term of weight 1."""
    if "terms" in line:
        exchange = {key: line[key] for key in ("exchange",) if key in line}
        return [term | exchange for term in line["terms"]]
    return [{"weight": 1.0} | {key: value for key, value in line.items() if key != "title"}]


@functools.cache
def load_losses() -> dict[str, dict[str, Any]]:
    """configs/losses.yaml, checked down to the options of each loss."""
    path = CONFIGS / "losses.yaml"
    lines = read_yaml(path)
    validate(lines, "losses", str(path))
    for name, line in lines.items():
        if "terms" in line and (extra := set(line) - {"title", "terms", "exchange"}):
            raise ConfigError(f"{path}: {name}: {unknown('key', min(extra), ('title', 'terms', 'exchange'))}")
        for term in loss_terms(line):
            where, apart = f"{path}: {name}", {"loss", "weight", "exchange", *(("defer",) if "loss" in line else ())}
            settings = {key: value for key, value in term.items() if key not in apart}
            check_options("losses", term["loss"], settings, where)
            for option in term.get("defer", {}):
                if option not in settings:
                    kind = f"option of {term['loss']} to defer"
                    raise ConfigError(f"{where}: {unknown(kind, option, settings)}")
    return lines


@functools.cache
def load_labels() -> dict[str, dict[str, Any]]:
    """configs/labels.yaml, checked down to the options of each scenario."""
    path = CONFIGS / "labels.yaml"
    lines = read_yaml(path)
    validate(lines, "labels", str(path))
    losses = load_losses()
    for name, line in lines.items():
        where = f"{path}: {name}"
        settings = {key: value for key, value in line.items() if key not in ("title", "target", *TRAINING_PARTS)}
        check_options("labels", line["target"], settings, where)
        taught, asks = "teacher" in line, "teacher_logits" in signatures("labels")[line["target"]].get("needs", ())
        if taught != asks:
            raise ConfigError(f"{where}: the target {line['target']} {'needs a' if asks else 'has no'} teacher")
        if taught:
            teacher = line["teacher"]
            if teacher["labels"] not in lines:
                raise ConfigError(f"{where}: teacher: {unknown('labels', teacher['labels'], lines)}")
            if "teacher" in lines[teacher["labels"]]:
                raise ConfigError(f"{where}: teacher: its labels {teacher['labels']} would need a teacher themselves")
            if teacher["loss"] not in losses:
                raise ConfigError(f"{where}: teacher: {unknown('loss', teacher['loss'], losses)}")
    return lines


def titles() -> dict[str, dict[str, str]]:
    """What losses and kinds of label are called in reports."""
    lines = {"losses": load_losses(), "labels": load_labels()}
    return {kind: {name: line["title"] for name, line in of.items()} for kind, of in lines.items()}


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
    raise ConfigError(f"{error}{' or a config of the zoo as mmseg::<name>' if kind == 'models' else ''}")


def model_name(entry: str) -> str:
    """A model as grids name it, ``mmseg::<folder>/<config>`` included, as one part of a path."""
    return Path(entry.removeprefix(ZOO_PREFIX)).name.removesuffix(".py") if entry.startswith(ZOO_PREFIX) else entry


def is_named(node: ast.Assign, variable: str) -> bool:
    """Whether an assignment is to that variable."""
    return getattr(node.targets[0], "id", None) == variable


def assigned(file: Path, variable: str) -> Any:
    """The literal a config assigns to a variable at top level; None without one."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and is_named(node, variable):
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
    """Hash of what an MMEngine config says, its bases included; comments, layout and ``needs`` do not count."""
    code = []
    for part in files(file):
        tree = ast.parse(part.read_text(encoding="utf-8"))
        tree.body = [node for node in tree.body if not (isinstance(node, ast.Assign) and is_named(node, "needs"))]
        code.append(ast.dump(tree))
    return hashlib.sha256("\n".join(code).encode()).hexdigest()


def declared(file: Path, variable: str) -> Any:
    """The literal an MMEngine config or what it is based on assigns to a variable; None without one."""
    return next((value for part in files(file) if (value := assigned(part, variable)) is not None), None)


@functools.cache
def dataset_source(name: str) -> str:
    """The data on disk (a name of segloss.datasets) that a data set of configs/mmseg/datasets reads."""
    file = mmengine_file("datasets", name)
    source = declared(file, "source")
    if source not in DATASETS:
        raise ConfigError(f"{file}: {unknown('source', str(source), DATASETS)}")
    return source


def check_validation(dataset: str, schedule: str) -> None:
    """Raise ConfigError unless the data set says how it is validated and the schedule which weights are evaluated."""
    data_file, file = mmengine_file("datasets", dataset), mmengine_file("schedules", schedule)
    split, reason = declared(data_file, "val_split"), declared(data_file, "no_validation")
    if (split is None) == (reason is None):
        raise ConfigError(f"{data_file} must say either val_split or, in a sentence, why there is no_validation")
    choice, interval = declared(file, "checkpoint") or "last", declared(file, "validation_interval")
    if choice not in CHECKPOINTS:
        raise ConfigError(f"{file}: {unknown('checkpoint', str(choice), CHECKPOINTS)}")
    if (choice == "best") != (isinstance(interval, int) and interval > 0):
        raise ConfigError(
            f'{file}: checkpoint = "best" and validation_interval, a number of iterations from 1, go together; '
            f"got {choice!r} and {interval!r}"
        )
    if choice == "best" and split is None:
        raise ConfigError(f'{file}: checkpoint = "best" needs validation images, and {dataset} has none: {reason}')
