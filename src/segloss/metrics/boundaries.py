"""Which boundary counts an evaluation takes in addition to pixel counts; none by default, because they cost time."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Boundaries:
    """Distances within which boundaries are compared; None: not counted.

    Args:
        iou_width: Width of the boundary region of boundary IoU as a share of the image's diagonal; the article uses .02
            (.005 for LVIS). At least one pixel.
        surface_tolerance: Distance in pixels within which two surfaces agree (normalised surface Dice). There is no
            default: the right distance is the disagreement of annotators on the structure.
        edge_tolerance: Largest distance of a match for ODS and OIS as a share of the diagonal; the Berkeley benchmark
            uses .0075. 0 compares pixel by pixel. For two classes, of which 1 is "boundary".
    """

    iou_width: float | None = None
    surface_tolerance: float | None = None
    edge_tolerance: float | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and not 0 <= value < (float("inf") if name == "surface_tolerance" else 1):
                limit = "pixels, at least 0" if name == "surface_tolerance" else "a share of the diagonal, in [0, 1)"
                raise ValueError(f"{name} must be {limit}, got {value}")
