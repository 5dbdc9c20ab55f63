"""Ranges, and the annotated types that most options have."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal


@dataclass(frozen=True)
class AtLeast:
    """Numbers from a bound upwards."""

    bound: float

    def holds(self, value: Any) -> bool:
        return value >= self.bound

    def __str__(self) -> str:
        return f"of at least {self.bound:g}"


@dataclass(frozen=True)
class Above:
    """Numbers above a bound."""

    bound: float

    def holds(self, value: Any) -> bool:
        return value > self.bound

    def __str__(self) -> str:
        return f"above {self.bound:g}"


@dataclass(frozen=True)
class AtMost:
    """Numbers up to a bound."""

    bound: float

    def holds(self, value: Any) -> bool:
        return value <= self.bound

    def __str__(self) -> str:
        return f"of at most {self.bound:g}"


@dataclass(frozen=True)
class Below:
    """Numbers below a bound."""

    bound: float

    def holds(self, value: Any) -> bool:
        return value < self.bound

    def __str__(self) -> str:
        return f"below {self.bound:g}"


@dataclass(frozen=True)
class Between:
    """Numbers from one bound to another, both included."""

    low: float
    high: float

    def holds(self, value: Any) -> bool:
        return self.low <= value <= self.high

    def __str__(self) -> str:
        return f"from {self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class Odd:
    """Odd whole numbers."""

    def holds(self, value: Any) -> bool:
        return value % 2 == 1

    def __str__(self) -> str:
        return "odd"


@dataclass(frozen=True)
class Length:
    """Sequences of one length."""

    number: int

    def holds(self, value: Any) -> bool:
        return len(value) == self.number

    def __str__(self) -> str:
        return f"of length {self.number}"


NonNegative = Annotated[float, AtLeast(0)]
Positive = Annotated[float, Above(0)]
Share = Annotated[float, Between(0, 1)]
Count = Annotated[int, AtLeast(1)]
ClassId = Annotated[int, AtLeast(0)]
OddWidth = Annotated[int, AtLeast(1), Odd()]
PerClass = Sequence[NonNegative]
Classes = Literal["present", "all", "agnostic"]
Weights = Annotated[Sequence[NonNegative], Length(3)]
