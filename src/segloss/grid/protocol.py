"""The inference protocol and everything else that a data set's ``test_cfg`` may contain. Imports no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal, get_type_hints

from segloss.grid.errors import ConfigError, unknown
from segloss.options import AtLeast, Below, Count, Length, NonNegative, Positive, check

Size = Annotated[Sequence[Count], Length(2)]
# Post-hoc calibrators and tolerances of boundary metrics; tests compare both with the engine and segloss.metrics.
CALIBRATORS = ("scaled", "vector", "isotonic")
DIAGONAL = Annotated[float, AtLeast(0), Below(1)]
BOUNDARIES = {
    "iou_width": DIAGONAL | None,
    "surface_tolerance": NonNegative | None,
    "edge_tolerance": DIAGONAL | None,
}


@dataclass(frozen=True)
class Protocol:
    """The inference protocol: the ``test_cfg`` of a data set's config.

    Attributes:
        mode: ``whole`` images or ``slide``, overlapping windows.
        crop_size: Height and width of a window.
        stride: Vertical and horizontal step of the windows; default two thirds of a window, rounded up.
        scales: Sizes at which each image is predicted, relative to that of the test pipeline. Default: that size.
        flip: Predict each view mirrored too.
        size_divisor: Height and width are zero-padded to a multiple of this number, as in MMSegmentation's
            SegDataPreProcessor: a U-Net of five stages needs 16. Default 1.

    Raises:
        ValueError: if one is outside its range, or they contradict each other.
    """

    mode: Literal["whole", "slide"] = "whole"
    crop_size: Size | None = None
    stride: Size | None = None
    scales: Sequence[Positive] = (1.0,)
    flip: bool = False
    size_divisor: Count = 1

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self), include_extras=True)
        for field in fields(self):
            check(field.name, getattr(self, field.name), hints[field.name])
        if (self.mode == "slide") != (self.crop_size is not None) or (self.stride and not self.crop_size):
            raise ValueError(
                f"a crop_size is required for mode 'slide' and not allowed otherwise; got {self.mode!r} and "
                f"{self.crop_size}"
            )
        if self.crop_size and not self.stride:
            object.__setattr__(self, "stride", tuple(-(-2 * size // 3) for size in self.crop_size))
        if self.stride and not all(step <= size for step, size in zip(self.stride, self.crop_size, strict=True)):
            raise ValueError(f"stride must be at most the crop_size {self.crop_size}, got {self.stride}")
        if not self.scales:
            raise ValueError(f"scales must be at least one number, got {self.scales}")


def check_test_cfg(entry: Mapping[str, Any], num_classes: int, where: str) -> None:
    """Check ``test_cfg``: the protocol, ``boundaries`` and ``calibrators``.

    Args:
        entry: ``test_cfg``.
        num_classes: Number of classes of the data set.
        where: The beginning of the error message.

    Raises:
        ConfigError: if a key is unknown or a value is outside its range.
    """
    protocol = [field.name for field in fields(Protocol)]
    known = {"boundaries": Mapping[str, Any], "calibrators": Sequence[Literal[CALIBRATORS]]}
    for key, value in entry.items():
        if key not in protocol and key not in known:
            raise ConfigError(f"{where}: {unknown('key', key, (*protocol, *known))}")
        _check(key, value, known.get(key, object), where)
    try:
        Protocol(**{key: value for key, value in entry.items() if key in protocol})
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from None
    boundaries = entry.get("boundaries", {})
    for key, value in boundaries.items():
        if key not in BOUNDARIES:
            raise ConfigError(f"{where}: boundaries: {unknown('key', key, BOUNDARIES)}")
        _check(key, value, BOUNDARIES[key], f"{where}: boundaries")
    if boundaries.get("edge_tolerance") is not None and num_classes != 2:
        raise ConfigError(
            f"{where}: boundaries: edge_tolerance is defined for two classes, background and boundary, "
            f"got {num_classes}"
        )


def _check(name: str, value: Any, kind: Any, where: str) -> None:
    try:
        check(name, value, kind)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from None
