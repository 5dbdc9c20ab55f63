"""The variables of an MMEngine config, evaluated from its syntax tree without executing it or importing MMEngine."""

import ast
import copy
import functools
import operator
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from segloss.grid.errors import ConfigError
from segloss.grid.mmengine_files import ZOO_PREFIX, bases_of, package_folder, parse

DELETE = "_delete_"
OPERATORS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
}


class NotStatic(ValueError):
    """An expression outside the subset that is evaluated."""


def evaluate(node: ast.expr, names: Mapping[str, Any], base: Mapping[str, Any]) -> Any:
    """The value of an expression of literals, names, ``dict(...)``, arithmetic and ``_base_``.

    Args:
        node: The expression.
        names: The variables assigned above it.
        base: The variables of the configs in ``_base_``.

    Raises:
        NotStatic: if it contains something else.
    """
    value = functools.partial(evaluate, names=names, base=base)
    match node:
        case ast.Constant():
            return node.value
        case ast.Name() if node.id in names:
            return names[node.id]
        case ast.List():
            return [value(item) for item in node.elts]
        case ast.Tuple():
            return tuple(value(item) for item in node.elts)
        case ast.Dict():
            pairs = [
                (None if key is None else value(key), value(item))
                for key, item in zip(node.keys, node.values, strict=True)
            ]
            return {name: item for key, entry in pairs for name, item in ([(key, entry)] if key else entry.items())}
        case ast.Call(func=ast.Name(id="dict"), args=[]):
            pairs = [(entry.arg, value(entry.value)) for entry in node.keywords]
            return {name: item for key, entry in pairs for name, item in ([(key, entry)] if key else entry.items())}
        case ast.Call(func=ast.Name(id="sum"), args=[numbers]):
            return sum(value(numbers))
        case ast.Call(func=ast.Name(id="range"), args=[stop]):
            return range(value(stop))
        case ast.ListComp(generators=[ast.comprehension(target=ast.Name(), ifs=[]) as loop]):
            return [evaluate(node.elt, {**names, loop.target.id: item}, base) for item in value(loop.iter)]
        case ast.UnaryOp(op=ast.USub()):
            return -value(node.operand)
        case ast.BinOp() if type(node.op) in OPERATORS:
            return OPERATORS[type(node.op)](value(node.left), value(node.right))
        case ast.Set(elts=[ast.Set(elts=[inner])]):  # MMEngine's {{_base_.name}}
            return value(inner)
        case ast.Name(id="_base_"):
            return base
        case ast.Attribute():
            return _item(value(node.value), node.attr)
        case ast.Subscript():
            return _item(value(node.value), value(node.slice))
    raise NotStatic(ast.unparse(node))


def _item(container: Any, key: Any) -> Any:
    try:
        return container[key]
    except (KeyError, IndexError, TypeError):
        raise NotStatic(f"no {key!r}") from None


def merged(child: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """A dictionary merged into its base by MMEngine's rules: nested ones are merged unless they have ``_delete_``."""
    result = dict(base)
    for key, value in child.items():
        if isinstance(value, Mapping):
            below = result.get(key)
            whole = value.get(DELETE, False) or not isinstance(below, Mapping)
            result[key] = merged({name: item for name, item in value.items() if name != DELETE}, {} if whole else below)
        else:
            result[key] = value
    return result


def config_values(file: Path, replaced: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The variables of a config and its bases that can be evaluated.

    Args:
        file: The config.
        replaced: Variables that the config itself assigns, with the values to use instead. Default: none.

    Raises:
        ConfigError: if a file is not Python in UTF-8, is missing, or does not assign a replaced variable.
    """
    if replaced:
        return _values(file, replaced)
    zoo_folder = package_folder()
    if zoo_folder and file.resolve().is_relative_to(zoo_folder):
        return copy.deepcopy(_fixed_values(file.resolve()))
    return _values(file)


@functools.cache
def _fixed_values(file: Path) -> dict[str, Any]:
    """The variables of a config of the installed package, which does not change."""
    return _values(file)


def _values(file: Path, replaced: Mapping[str, Any] | None = None) -> dict[str, Any]:
    tree, base, replaced = parse(file), {}, replaced or {}
    for name in bases_of(tree, file):
        zoo_folder = package_folder()
        if name.startswith(ZOO_PREFIX) and zoo_folder is None:
            continue
        path = zoo_folder / name.removeprefix(ZOO_PREFIX) if name.startswith(ZOO_PREFIX) else file.parent / name
        base |= config_values(path)
    assigned: dict[str, Any] = {}
    nodes = [node for node in tree.body if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)]
    if missing := replaced.keys() - {node.targets[0].id for node in nodes}:
        raise ConfigError(f"{file} assigns no {min(missing)} itself: {replaced} cannot replace them")
    for node in nodes:
        name = node.targets[0].id
        try:
            assigned[name] = replaced[name] if name in replaced else evaluate(node.value, assigned, base)
        except (NotStatic, ArithmeticError, AttributeError, RecursionError, TypeError):
            assigned.pop(name, None)
    assigned.pop("_base_", None)
    return merged(assigned, base)
