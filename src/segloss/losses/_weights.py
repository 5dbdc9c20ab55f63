"""Weights per class: given as plain numbers, or measured by counting the pixels of the training set."""

import torch
from torch import Tensor

from segloss.losses._batch import Batch
from segloss.options import PerClass

SCHEMES = ("inverse", "median")


def class_vector(values: PerClass, batch: Batch, name: str) -> Tensor:
    """Turn one number per class, at least 0 each, into a tensor (C,) of the batch's type and device."""
    vector = torch.as_tensor(values, dtype=batch.dtype, device="cpu")
    # Values cannot be inspected while compiling.
    if vector.shape != (batch.classes,) or not (torch.compiler.is_compiling() or bool((vector >= 0).all())):
        raise ValueError(
            f"Expected {name} to hold one number of at least 0 for each of the {batch.classes} classes, got {values!r}."
        )
    return vector.to(batch.device, non_blocking=True)


def class_weights(class_counts: PerClass, scheme: str) -> list[float]:
    """Turn the pixel counts of the training set into class weights.

    Args:
        class_counts: Number of training pixels of each class.
        scheme: ``"inverse"``: Σf / (C f_c), so that every class has the same share of the training set's total weight.
            ``"median"``: median(f) / f_c (Eigen and Fergus, 2015, https://arxiv.org/abs/1411.4734, with the
            frequencies of the whole training set). A class that never occurs gets weight 0.
    """
    if scheme not in SCHEMES:
        raise ValueError(f"Expected the weighting to be one of {', '.join(SCHEMES)}, got {scheme!r}.")
    occurring = sorted(float(count) for count in class_counts if count > 0)
    if not occurring:
        raise ValueError(f"Expected class_counts with at least one class that occurs, got {class_counts!r}.")
    if scheme == "inverse":
        scale = sum(occurring) / len(occurring)
    else:
        half = len(occurring) // 2
        scale = (occurring[half] + occurring[-half - 1]) / 2
    return [scale / count if count > 0 else 0.0 for count in class_counts]


def occurring_counts(class_counts: PerClass, classes: int) -> list[float]:
    """The class counts, where a class that never occurs gets the count of the rarest class that does."""
    occurring = [float(count) for count in class_counts if count > 0]
    rarest = min(occurring) if occurring else 1.0
    if len(class_counts) != classes or min(class_counts) < 0:
        raise ValueError(
            f"Expected class_counts to hold one number of at least 0 for each of the {classes} classes, "
            f"got {class_counts!r}."
        )
    return [float(count) if count > 0 else rarest for count in class_counts]
