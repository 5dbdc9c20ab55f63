"""Folds of a cross-validation, cut from a sorted list as in the articles on the JDT losses."""

from collections.abc import Sequence
from typing import TypeVar

from segloss.datasets._read import DatasetError

T = TypeVar("T")
FOLDS = 5


def fold_of(items: Sequence[T], fold: int, folds: int = FOLDS) -> tuple[list[T], list[T]]:
    """The items that are trained on and those held out in one fold.

    Fold k holds out the k-th run of len // folds items; the remainder is always trained on.

    Args:
        items: Images, or cases where several images show one patient, in a fixed order.
        fold: 0..folds - 1.
        folds: Number of folds. Default 5.

    Raises:
        DatasetError: There is no such fold.
    """
    if fold not in range(folds):
        raise DatasetError(f"the folds are 0..{folds - 1}, got {fold!r}")
    size = len(items) // folds
    start, stop = fold * size, (fold + 1) * size
    return [*items[:start], *items[stop:]], list(items[start:stop])
