"""Options of losses and label scenarios, checked against the functions' own signatures. Imports no torch."""

import ast
import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from segloss.grid.errors import ConfigError, unknown

PACKAGE = Path(__file__).parents[1]


@functools.cache  # of the installed package, which does not change while a process runs
def signatures(room: str) -> dict[str, dict[str, Any]]:
    """Declarations of the functions registered in segloss.<room>, read from the source so that nothing imports torch.

    Returns:
        For each function its keyword-only ``options`` and the arguments of its ``@register(...)`` line.
    """
    declarations = {}
    for file in sorted((PACKAGE / room).glob("*.py")):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            for call in getattr(node, "decorator_list", ()):
                if isinstance(call, ast.Call) and getattr(call.func, "id", None) == "register":
                    declared = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
                    declarations[node.name] = declared | {
                        "options": {argument.arg for argument in node.args.kwonlyargs}
                    }
    return declarations


def check_options(room: str, function: str, options: Iterable[str], where: str) -> None:
    """Raise ConfigError unless segloss.<room> has that function and it takes these options."""
    known = signatures(room)
    if function not in known:
        raise ConfigError(f"{where}: {unknown({'losses': 'loss', 'labels': 'target'}[room], function, known)}")
    allowed = known[function]["options"] - {"valid", "terms", "class_counts", *known[function].get("needs", ())}
    for option in options:
        if option not in allowed:
            raise ConfigError(f"{where}: {unknown(f'option of {function}', option, allowed)}")
