"""Weights per class, given as plain numbers."""

from collections.abc import Sequence

import torch
from torch import Tensor

ClassWeights = Sequence[float] | None


def class_vector(values: Sequence[float] | Tensor, like: Tensor, classes: int, name: str) -> Tensor:
    """Turn one number per class into a tensor (C,) of the type and device of `like`."""
    vector = torch.as_tensor(values, dtype=like.dtype, device=like.device)
    if vector.shape != (classes,):
        raise ValueError(f"Expected {name} to hold one number for each of the {classes} classes, got {values!r}.")
    return vector
