"""The catalogue of losses: a name, a function, and the name it carries in MMSegmentation's registry."""

import inspect
from collections.abc import Callable, Sequence

from torch import Tensor

Loss = Callable[..., Tensor]

CATALOGUE: dict[str, Loss] = {}


def register(
    module_name: str,
    *,
    soft_targets: bool = True,
    sums: Sequence[str] = (),
    pixelwise: bool | None = None,
    needs: Sequence[str] = (),
) -> Callable[[Loss], Loss]:
    """Put a loss function into the catalogue under its own name.

    The function then also carries what is given here, ``takes_class_counts``: whether it has that argument, the number
    of pixels of each class in the training set, and ``pixelwise``: whether it is a mean over pixels of a function of
    the target's likelihood, as cross-entropy is, and not of sums over regions.

    Args:
        module_name: Its CamelCase name in MMSegmentation's ``MODELS``; must not shadow one of MMSegmentation's.
        soft_targets: Whether the loss is defined on target probabilities.
        sums: What the loss reads of a `Batch`: some of likelihood, minimum, product, predicted, squares. A compound
            loss computes what any of its terms reads, once.
        pixelwise: Sets that attribute where `sums` does not show it. Default: None: the sums decide.
        needs: Names of the keyword arguments that are tensors of the batch, not settings: the caller supplies them, or
            the loss computes them anew.
    """

    def add(function: Loss) -> Loss:
        function.module_name = module_name
        function.soft_targets = soft_targets
        function.sums = frozenset(sums)
        function.pixelwise = function.sums == {"likelihood"} if pixelwise is None else pixelwise
        function.needs = tuple(needs)
        function.takes_class_counts = "class_counts" in inspect.signature(function).parameters
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
