"""The catalogue of label scenarios, and the check of their input."""

import functools
from collections.abc import Callable
from typing import Any, Literal, ParamSpec, Protocol, cast

import torch
from torch import Tensor

from segloss.options import check, keyword_options

P = ParamSpec("P")


class Scenario(Protocol[P]):
    """A registered label scenario.

    Attributes:
        source: What it reads: "map", one class map per image, or "raters", a stack of the raters' maps.
        needs: The options that are tensors of the batch, not settings: the caller supplies them.
        soft_targets: Whether the target holds probabilities; False for a class map, on which every loss is defined.
        options: Its keyword-only parameters and their annotations.
    """

    __name__: str
    source: Literal["map", "raters"]
    needs: tuple[str, ...]
    soft_targets: bool
    options: dict[str, Any]

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> tuple[Tensor, Tensor]: ...


CATALOGUE: dict[str, Scenario[...]] = {}


def register(
    source: Literal["map", "raters"], *, needs: tuple[str, ...] = (), soft_targets: bool = True
) -> Callable[[Callable[P, tuple[Tensor, Tensor]]], Scenario[P]]:
    """Add a label scenario to the catalogue under its own name.

    On each call its options are checked against their annotations (see `segloss.options`).

    Args:
        source: What the scenario reads: one class map per image, or a stack of the raters' maps.
        needs: Names of the keyword arguments that are tensors of the batch, not settings: the caller supplies them.
        soft_targets: Whether the target holds probabilities; False for a class map, on which every loss is defined.
    """

    def add(function: Callable[P, tuple[Tensor, Tensor]]) -> Scenario[P]:
        options = keyword_options(function)

        @functools.wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> tuple[Tensor, Tensor]:
            for name, value in kwargs.items():
                if name in options:
                    check(name, value, options[name])
            return function(*args, **kwargs)

        scenario = cast(Scenario[P], checked)
        scenario.source = source
        scenario.needs = needs
        scenario.soft_targets = soft_targets
        scenario.options = options
        CATALOGUE[scenario.__name__] = scenario
        return scenario

    return add


def without_void(labels: Tensor, valid: Tensor, num_classes: int) -> Tensor:
    """Check a scenario's input and return the labels with class 0 wherever ``valid`` is False.

    Class ids are checked on the CPU only: on a GPU the check would make every step wait for the device.

    Raises:
        ValueError: Wrong type or shape, or a class outside 0..num_classes-1 at a valid pixel.
    """
    if labels.dtype != torch.int64:
        raise ValueError(f"Expected labels of int64 class ids, got {labels.dtype}.")
    if valid.dtype != torch.bool or valid.shape != labels.shape:
        raise ValueError(
            f"Expected a bool valid mask of the labels' shape {tuple(labels.shape)}, got {valid.dtype} of shape "
            f"{tuple(valid.shape)}."
        )
    labels = labels.masked_fill(~valid, 0)
    if labels.device.type == "cpu" and labels.numel() > 0:
        lowest, highest = (int(value) for value in labels.aminmax())
        if lowest < 0 or highest >= num_classes:
            wrong = lowest if lowest < 0 else highest
            raise ValueError(
                f"Expected class ids from 0 to {num_classes - 1} at valid pixels, got {wrong}; "
                "mark void pixels in `valid`."
            )
    return labels
