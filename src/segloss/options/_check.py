"""The check of a value against an annotation."""

import collections.abc
import inspect
import numbers
from collections.abc import Callable, Mapping, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

LARGEST, LARGEST_FLOAT = 2**63, 3.4e38  # limits of torch's integers and of float32


def keyword_options(function: Callable[..., Any]) -> dict[str, Any]:
    """The keyword-only parameters of a function and their annotations, `object` if there is none."""
    hints = get_type_hints(function, include_extras=True)
    parameters = inspect.signature(function).parameters.values()
    return {entry.name: hints.get(entry.name, object) for entry in parameters if entry.kind is entry.KEYWORD_ONLY}


def check(name: str, value: Any, annotation: Any) -> None:
    """Check the value of an option.

    Raises:
        ValueError: one sentence with the option's name, what it may be, and the value.
    """
    if not fits(value, annotation):
        raise ValueError(f"Expected {name} to be {describe(annotation)}, got {value!r}.")


def fits(value: Any, annotation: Any) -> bool:
    """Whether a value is of an annotated type and inside its range.

    NaN, infinity and values that torch cannot hold do not count as numbers.
    Other types (a tensor, a function) are not checked: any value fits.
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return fits(value, arguments[0]) and all(rule.holds(value) for rule in arguments[1:] if hasattr(rule, "holds"))
    if origin is Literal:
        return any(value == choice and type(value) is type(choice) for choice in arguments)
    if origin in (Union, UnionType):
        return any(fits(value, choice) for choice in arguments)
    if annotation is None or annotation is NoneType:
        return value is None
    if annotation in (bool, str):
        return isinstance(value, annotation)
    if annotation is int:
        return isinstance(value, numbers.Integral) and not isinstance(value, bool) and abs(int(value)) < LARGEST
    if annotation is float:
        return isinstance(value, numbers.Real) and not isinstance(value, bool) and _is_finite(value)
    if origin is collections.abc.Sequence:
        values = value.tolist() if hasattr(value, "tolist") else value  # arrays and tensors
        ordered = isinstance(values, Sequence) and not isinstance(values, str)
        return ordered and all(fits(item, arguments[0]) for item in values)
    if origin is collections.abc.Mapping:
        return isinstance(value, Mapping)
    return True


def _is_finite(value: Any) -> bool:
    return abs(int(value)) < LARGEST if isinstance(value, numbers.Integral) else abs(value) <= LARGEST_FLOAT


def is_setting(annotation: Any) -> bool:
    """Whether an option can be given in a configuration file: any whose type is checked, so not a tensor."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return is_setting(arguments[0])
    if origin in (Union, UnionType):
        return all(is_setting(choice) for choice in arguments)
    plain = (None, NoneType, bool, str, int, float)
    return annotation in plain or origin in (Literal, collections.abc.Sequence, collections.abc.Mapping)


def describe(annotation: Any) -> str:
    """An annotated type in words, such as "a number of at least 0"."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        # The ranges of a sequence come before its items: "a sequence of length 3, each item a number".
        kind, comma, items = describe(arguments[0]).partition(", ")
        return f"{kind} {' and '.join(map(str, arguments[1:]))}{comma}{items}"
    if origin is Literal:
        choices = ", ".join(map(str, arguments))
        return f"one of {choices}" if len(arguments) > 1 else choices
    if origin in (Union, UnionType):
        return " or ".join(describe(choice) for choice in sorted(arguments, key=lambda choice: choice is not NoneType))
    if annotation is None or annotation is NoneType:
        return "None"
    if origin is collections.abc.Sequence:
        return f"a sequence, each item {describe(arguments[0])}"
    if origin is collections.abc.Mapping:
        return "a mapping"
    words = {bool: "true or false", str: "text", int: "a whole number", float: "a number"}
    return words.get(annotation, "a value of another type")
