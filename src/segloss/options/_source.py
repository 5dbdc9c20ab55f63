"""Declarations of registered functions, read from the source of a room without importing it."""

import ast
import builtins
import collections.abc
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segloss.options import _types


@dataclass(frozen=True)
class Declaration:
    """A function decorated with ``@register(...)``.

    Attributes:
        name: Its name.
        registered: The keyword arguments of ``register``.
        options: Its keyword-only parameters and their annotations, as `check` takes them; ``object`` stands for a type
            that `check` does not handle, such as a tensor.
        required: The options without a default.
    """

    name: str
    registered: dict[str, Any]
    options: dict[str, Any]
    required: frozenset[str]


class _Names(dict):
    """The names used in annotations of options; any other name is a type that is not checked."""

    def __missing__(self, name: str) -> Any:
        return getattr(builtins, name, object)


def declared(folder: Path) -> dict[str, Declaration]:
    """Every registered function in the Python files of a folder, by name."""
    return {
        declaration.name: declaration
        for file in sorted(folder.glob("*.py"))
        for declaration in _declarations(ast.parse(file.read_text(encoding="utf-8")))
    }


def _declarations(tree: ast.Module) -> Iterator[Declaration]:
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef):
            continue
        for call in node.decorator_list:
            if isinstance(call, ast.Call) and getattr(call.func, "id", None) == "register":
                registered = {word.arg: ast.literal_eval(word.value) for word in call.keywords if word.arg}
                arguments = list(zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True))
                options = {argument.arg: _annotation(argument.annotation) for argument, _ in arguments}
                required = frozenset(argument.arg for argument, default in arguments if default is None)
                yield Declaration(node.name, registered, options, required)


def _annotation(node: ast.expr | None) -> Any:
    """Evaluate an annotation; one that cannot be evaluated without the function's own imports becomes ``object``."""
    if node is None:
        return object
    names = _Names(vars(typing) | vars(collections.abc) | vars(_types))
    try:
        return eval(compile(ast.Expression(node), "<annotation>", "eval"), {}, names)  # the package's own source
    except (AttributeError, TypeError):
        return object
