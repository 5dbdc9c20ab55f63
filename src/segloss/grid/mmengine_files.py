"""MMEngine configs read as source, without MMEngine: literals they assign, the files they are based on, their hash."""

import ast
import functools
import hashlib
import importlib.util
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segloss.grid.errors import ConfigError

ZOO_PREFIX = "mmseg::"
# Assignments that do not change a cell's result.
NOT_HASHED = ("resources",)


@functools.cache
def package_folder() -> Path | None:
    """The folder of configs in the installed MMSegmentation; None without it."""
    spec = importlib.util.find_spec("mmseg")
    return None if spec is None or spec.origin is None else (Path(spec.origin).parent / ".mim" / "configs").resolve()


def zoo() -> dict[str, Path]:
    """MMSegmentation's model zoo in the installed wheel: the name of each config and its file."""
    folder = package_folder()
    return {file.stem: file for file in folder.glob("[!_]*/*.py")} if folder else {}


def parse(file: Path) -> ast.Module:
    """The syntax tree of a config.

    Raises:
        ConfigError: if it is not Python in UTF-8, or is missing.
    """
    try:
        return ast.parse(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from error
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:  # UnicodeDecodeError is a ValueError
        raise ConfigError(f"{file}: not valid Python: {' '.join(str(error).split())}") from error


def bases_of(tree: ast.Module, file: Path) -> list[str]:
    """The configs that a config names in ``_base_``.

    Raises:
        ConfigError: if ``_base_`` is anything but a path or a list of paths.
    """
    for node in tree.body:
        if _assigned_name(node) == "_base_":
            bases: Any = None
            with suppress(ValueError):
                bases = ast.literal_eval(node.value)
            bases = [bases] if isinstance(bases, str) else bases
            if isinstance(bases, list | tuple) and all(isinstance(base, str) for base in bases):
                return list(bases)
            raise ConfigError(f"{file}: _base_ must be a path or a list of paths, got {ast.unparse(node.value)}")
    return []


def _assigned_name(node: ast.stmt) -> str | None:
    return getattr(node.targets[0], "id", None) if isinstance(node, ast.Assign) else None


def literals(tree: ast.Module) -> dict[str, Any]:
    """The variables to which a config assigns a literal at top level, with their values."""
    values = {}
    for node in tree.body:
        if name := _assigned_name(node):
            with suppress(ValueError):  # an expression, which MMEngine evaluates
                values[name] = ast.literal_eval(node.value)
    return values


def canonical(node: Any) -> Any:
    """A syntax tree as nested lists without positions, the same in every version of Python.

    ``ast.dump`` is unsuitable: its output for empty fields depends on the version.
    """
    if isinstance(node, ast.AST):
        fields = [(name, canonical(value)) for name, value in ast.iter_fields(node)]
        return [type(node).__name__, *([name, value] for name, value in fields if value not in (None, []))]
    if isinstance(node, list):
        return [canonical(item) for item in node]
    return None if node is None else repr(node)


@dataclass(frozen=True)
class MMEngineFile:
    """A config of configs/mmseg or of the model zoo, read once.

    Attributes:
        path: The file.
        literals: Variables with literal values, those of its bases included.
        assigned: All variables, those of its bases included.
        content_hash: SHA-256 of what it and its bases assign; comments, layout and ``NOT_HASHED`` do not count.
    """

    path: Path
    literals: Mapping[str, Any]
    assigned: frozenset[str]
    content_hash: str


def read_mmengine_file(path: Path) -> MMEngineFile:
    """Read a config and its bases; bases in ``mmseg::`` are fixed by the pinned package and are not read.

    Raises:
        ConfigError: if one of them is not Python in UTF-8, or is missing.
    """
    values: dict[str, Any] = {}
    assigned: set[str] = set()
    content: list[Any] = []

    def read(file: Path, above: tuple[Path, ...]) -> None:
        if file.resolve() in above:
            raise ConfigError(f"{file}: _base_ leads back to it")
        tree = parse(file)
        for base in bases_of(tree, file):
            if not base.startswith(ZOO_PREFIX):
                read(file.parent / base, (*above, file.resolve()))
        values.update(literals(tree))
        assigned.update(name for node in tree.body if (name := _assigned_name(node)) and name != "_base_")
        content.append(canonical([node for node in tree.body if _assigned_name(node) not in NOT_HASHED]))

    read(path, ())
    return MMEngineFile(path, values, frozenset(assigned), hashlib.sha256(repr(content).encode()).hexdigest())
