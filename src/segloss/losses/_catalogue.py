"""The catalogue of losses: a name, a function, and the name of its module."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec, Protocol, cast

import torch
from torch import Tensor

from segloss.options import NonNegative, check, is_setting, keyword_options

P = ParamSpec("P")


class Loss(Protocol[P]):
    """A registered loss function.

    Attributes:
        module_name: The name of its ``nn.Module``, in `segloss.losses` and in MMSegmentation's ``MODELS``.
        soft_targets: Whether it is defined on target probabilities.
        sums: The sums it reads from a `Batch`.
        options: Its keyword-only parameters and their annotations.
        pixelwise: Whether it is a mean over pixels of a function of the target's likelihood, like cross-entropy, and
            not a function of sums over regions.
        needs: Names of its keyword arguments that are tensors of the batch, not options.
        takes_class_counts: Whether it has the option ``class_counts``, the number of training pixels of each class.
    """

    __name__: str
    module_name: str
    soft_targets: bool
    sums: frozenset[str]
    options: dict[str, Any]
    pixelwise: bool
    needs: tuple[str, ...]
    takes_class_counts: bool

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Tensor: ...


CATALOGUE: dict[str, Loss[...]] = {}
# Keys of a term besides the options of its loss. A ramp needs a module, which has a `progress`.
TERM_KEYS = ("loss", "weight", "exchange", "ramp")


def register(
    module_name: str,
    *,
    soft_targets: bool = True,
    sums: Sequence[str] = (),
    pixelwise: bool | None = None,
    needs: Sequence[str] = (),
) -> Callable[[Callable[P, Tensor]], Loss[P]]:
    """Add a loss function to the catalogue under its own name.

    On each call its options are checked against their annotations (see `segloss.options`).

    Args:
        module_name: The CamelCase name of its module; must not shadow one of MMSegmentation's.
        soft_targets: Whether the loss is defined on target probabilities.
        sums: The sums the loss reads from a `Batch`: some of likelihood, minimum, product, predicted, squares. A
            compound loss computes what any of its terms reads, and only once.
        pixelwise: The attribute of that name, where `sums` does not imply it. Default: None: derived from `sums`.
        needs: Names of the keyword arguments that are tensors of the batch, not options: the caller supplies them, or
            the loss computes them itself.
    """

    def add(function: Callable[P, Tensor]) -> Loss[P]:
        options = keyword_options(function)

        @functools.wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> Tensor:
            if not torch.compiler.is_compiling():
                for name, value in kwargs.items():
                    if name in options:
                        check(name, value, options[name])
            return function(*args, **kwargs)

        loss = cast(Loss[P], checked)
        loss.module_name = module_name
        loss.soft_targets = soft_targets
        loss.sums = frozenset(sums)
        loss.options = options
        loss.pixelwise = loss.sums == {"likelihood"} if pixelwise is None else pixelwise
        loss.needs = tuple(needs)
        loss.takes_class_counts = "class_counts" in options
        CATALOGUE[loss.__name__] = loss
        return loss

    return add


def get(name: str) -> Loss[...]:
    """Look up a loss by its name.

    Raises:
        ValueError: an unknown name; the message lists the known ones.
    """
    if name not in CATALOGUE:
        raise ValueError(f"Expected the name of a loss, got {name!r}; known losses: {', '.join(sorted(CATALOGUE))}.")
    return CATALOGUE[name]


def check_options(loss: Loss[...], options: Mapping[str, Any]) -> None:
    """Check the settings of a loss, and those of a compound's terms, before it is called.

    Raises:
        TypeError: an option the function does not have.
        ValueError: a value outside an option's range, a term without a loss or with an unknown one.
    """
    known = [name for name, kind in loss.options.items() if is_setting(kind) and name != "reduction"]
    for name, value in options.items():
        if name not in known:
            raise TypeError(f"{loss.module_name} got the unknown option {name!r}; known: {', '.join(known) or 'none'}")
        check(name, value, loss.options[name])
    if "terms" in options:
        for term in checked_terms(options["terms"]):
            settings = {key: value for key, value in term.items() if key not in TERM_KEYS}
            check_options(get(term["loss"]), settings)


def checked_terms(terms: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """Check the terms of a compound loss: each has a loss, and a weight that is a number.

    Raises:
        ValueError: no terms, a term without a loss, or a weight that is not a number.
    """
    if not terms:
        raise ValueError(f"Expected at least one term such as {{'loss': 'dice', 'weight': 0.5}}, got {terms!r}.")
    for term in terms:
        if "loss" not in term:
            raise ValueError(f"Expected a term to name its loss under 'loss', got {dict(term)!r}.")
        check("weight", term.get("weight", 1.0), NonNegative)
        check("exchange", term.get("exchange", True), bool)
    return terms
