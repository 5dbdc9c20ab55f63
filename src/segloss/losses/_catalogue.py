"""The catalogue of losses: a name, a function, and the name it carries in MMSegmentation's registry."""

from collections.abc import Callable

from torch import Tensor

Loss = Callable[..., Tensor]

CATALOGUE: dict[str, Loss] = {}


def register(module_name: str, *, soft_targets: bool = True) -> Callable[[Loss], Loss]:
    """Put a loss function into the catalogue under its own name.

    Args:
        module_name: Its CamelCase name in MMSegmentation's ``MODELS``; must not shadow one of MMSegmentation's.
        soft_targets: Whether the loss is defined on target probabilities.
    """

    def add(function: Loss) -> Loss:
        function.module_name = module_name
        function.soft_targets = soft_targets
        CATALOGUE[function.__name__] = function
        return function

    return add


def get(name: str) -> Loss:
    """Look a loss up by its name.

    Raises:
        ValueError: an unknown name; the sentence lists the known ones.
    """
    if name not in CATALOGUE:
        raise ValueError(f"Expected the name of a loss, got {name!r}; known are {', '.join(sorted(CATALOGUE))}.")
    return CATALOGUE[name]
