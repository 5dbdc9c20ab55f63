"""Types of options with their ranges, read from a function's annotations with or without importing it. Needs no torch.

An option is declared once, by its annotation: ``gamma: NonNegative = 2.0``, ``classes: Literal["present", "all"]``,
``kernel_size: Annotated[int, AtLeast(1), Odd()] = 3``. Values are checked against it when the function is
called, when a module is built and, for YAML, before any job starts (`declared` reads the annotations from the source).
"""

from segloss.options._check import check, describe, fits, is_setting, keyword_options
from segloss.options._source import Declaration, declared
from segloss.options._types import (
    Above,
    AtLeast,
    AtMost,
    Below,
    Between,
    Classes,
    ClassId,
    Count,
    Length,
    NonNegative,
    Odd,
    OddWidth,
    PerClass,
    Positive,
    Share,
    Weights,
)

__all__ = [
    "Above",
    "AtLeast",
    "AtMost",
    "Below",
    "Between",
    "ClassId",
    "Classes",
    "Count",
    "Declaration",
    "Length",
    "NonNegative",
    "Odd",
    "OddWidth",
    "PerClass",
    "Positive",
    "Share",
    "Weights",
    "check",
    "declared",
    "describe",
    "fits",
    "is_setting",
    "keyword_options",
]
