"""Options of losses and label scenarios, checked by name and value before any job. Imports no torch."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segloss import options
from segloss.grid.errors import ConfigError, unknown

PACKAGE = Path(__file__).parents[1]
# Keyword-only parameters that belong to a call, or that the engine supplies, in addition to all tensors.
NO_SETTINGS = {"reduction", "terms", "class_counts"}


@functools.cache  # of the installed package, which does not change while a process runs
def signatures(room: str) -> dict[str, dict[str, Any]]:
    """The functions registered in segloss.<room>, read from the source, so torch is not imported.

    Returns:
        For each function the keyword arguments of its ``@register(...)`` line and, under ``options``, its keyword-only
        parameters with their annotations.
    """
    return {
        name: function.registered | {"options": function.options}
        for name, function in options.declared(PACKAGE / room).items()
    }


def check_options(room: str, function: str, settings: Mapping[str, Any], where: str) -> None:
    """Check the options of a function of segloss.<room> by name and value.

    Raises:
        ConfigError: if the function or an option is unknown, or a value is outside its range.
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
