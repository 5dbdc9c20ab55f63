"""The catalogue of label scenarios, and the one check of what goes into them."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

Scenario = Callable[..., tuple[Tensor, Tensor]]

CATALOGUE: dict[str, Scenario] = {}


def register(
    source: Literal["map", "raters"], *, needs: tuple[str, ...] = (), soft_targets: bool = True
) -> Callable[[Scenario], Scenario]:
    """Put a label scenario into the catalogue under its own name.

    Args:
        source: What the scenario reads: one class map per image, or a stack of the raters' maps.
        needs: Names of the keyword arguments that are tensors of the batch, not settings: the caller supplies them.
        soft_targets: Whether the target is probabilities; False for a class map, on which every loss is defined.
    """

    def add(function: Scenario) -> Scenario:
        function.source = source
        function.needs = needs
        function.soft_targets = soft_targets
        CATALOGUE[function.__name__] = function
        return function

    return add


def without_void(labels: Tensor, valid: Tensor, num_classes: int) -> Tensor:
    """Check a scenario's input and return the labels with class 0 wherever ``valid`` is False.

    Class ids are checked on the CPU only: on a GPU the check would make every step wait for the device.

    Raises:
        ValueError: Wrong type or shape, or on a valid pixel a class outside 0..num_classes-1.
    """
    if labels.dtype != torch.int64:
        raise ValueError(f"labels must be int64 class ids, got {labels.dtype}")
    if valid.dtype != torch.bool or valid.shape != labels.shape:
        raise ValueError(
            f"valid must be bool of the labels' shape {tuple(labels.shape)}, got {valid.dtype} {tuple(valid.shape)}"
        )
    labels = labels.masked_fill(~valid, 0)
    if labels.device.type == "cpu" and labels.numel() > 0:
        lowest, highest = (int(value) for value in labels.aminmax())
        if lowest < 0 or highest >= num_classes:
            wrong = lowest if lowest < 0 else highest
            raise ValueError(
                f"labels of valid pixels must lie in 0..{num_classes - 1}, got {wrong}; mark void pixels in valid"
            )
    return labels
