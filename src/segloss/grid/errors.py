"""Errors in configs/ and in names, each one sentence: expected, got, possible."""

import difflib
import functools
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema


class ConfigError(ValueError):
    """An error in a file of configs/ or in a name, in one sentence."""


def unknown(kind: str, name: object, known: Iterable[str], hint: str = "") -> ConfigError:
    """The error for a name that does not exist, with the nearest and all known names."""
    known = sorted(known)
    near = difflib.get_close_matches(str(name), known, n=1)
    suggestion = f" (did you mean {near[0]!r}?)" if near else ""
    return ConfigError(f"unknown {kind} {name!r}{suggestion}; known: {', '.join(known) or 'none'}{hint}")


def _additional_properties(
    validator: jsonschema.protocols.Validator, allowed: Any, instance: Any, schema: Mapping[str, Any]
) -> Iterator[jsonschema.ValidationError]:
    """The keyword ``additionalProperties``, without descending into maps of names to numbers, as a record's metrics."""
    numbers = allowed == {"type": "number"} and not schema.keys() & {"properties", "patternProperties"}
    if numbers and isinstance(instance, dict) and all(type(value) in (int, float) for value in instance.values()):
        return
    yield from jsonschema.Draft202012Validator.VALIDATORS["additionalProperties"](validator, allowed, instance, schema)


Validator = jsonschema.validators.extend(
    jsonschema.Draft202012Validator, {"additionalProperties": _additional_properties}
)


@functools.cache  # of the installed package, whose schemas do not change while a process runs
def validator(schema: Path) -> jsonschema.protocols.Validator:
    """The validator of a schema, made once: a report validates thousands of records."""
    return Validator(json.loads(schema.read_text(encoding="utf-8")))


def validate(data: Any, schema: Path, where: str) -> None:
    """Check data against a JSON schema.

    Raises:
        ConfigError: with the place, the value and what is possible.
    """
    errors = list(validator(schema).iter_errors(data))
    if not errors:
        return
    # A misspelt key is also reported as a missing one; the misspelt name is the more useful of the two.
    misspelt = [error for error in errors if error.validator == "additionalProperties"]
    error = jsonschema.exceptions.best_match(misspelt or errors)
    place = ".".join(map(str, error.absolute_path))
    message = " ".join(error.message.split())
    if error.validator == "additionalProperties" and "properties" in error.schema:
        known = error.schema["properties"]
        message = str(unknown("key", next(key for key in error.instance if key not in known), known))
    if error.validator == "oneOf" and "description" in error.schema:
        message = f"expected {error.schema['description']}, got {error.instance!r}"
    raise ConfigError(f"{where}: {f'{place}: ' if place else ''}{message}")
