"""Cells: the points of a grid, each identified by its path. A cell is a run in W&B."""

import hashlib
import re
from dataclasses import dataclass

from segloss.grid.errors import ConfigError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
# ``<name>@<variant>``: a fold of a data set or the data set a model was trained on, pretrained weights of a model, a
# different number of iterations of a schedule.
AXIS = re.compile(rf"{NAME.pattern}(?:@{NAME.pattern})?")
LONGEST = 200  # characters of a name or an axis; file systems allow 255 bytes


def is_name(text: str) -> bool:
    """True if a text is valid as the name of a file or a folder."""
    return len(text) <= LONGEST and NAME.fullmatch(text) is not None


@dataclass(frozen=True, order=True)
class Cell:
    """One training and its evaluation; ``str(cell)`` is its name and its path below the results folder."""

    dataset: str
    model: str
    schedule: str
    labels: str
    loss: str
    seed: int

    def __str__(self) -> str:
        return f"{self.dataset}/{self.model}/{self.schedule}/{self.labels}/{self.loss}/seed{self.seed}"

    @classmethod
    def parse(cls, name: str) -> "Cell":
        """The cell with that name.

        Raises:
            ConfigError: if the name does not have the form of a cell's name.
        """
        *axes, seed = name.rstrip("/").split("/")
        names = len(axes) == 5 and all(AXIS.fullmatch(axis) and len(axis) <= LONGEST for axis in axes)
        if not names or not re.fullmatch(r"seed(0|[1-9]\d{0,5})", seed):
            raise ConfigError(f"{name!r} is not a cell: expected <dataset>/<model>/<schedule>/<labels>/<loss>/seed<k>")
        return cls(*axes, int(seed.removeprefix("seed")))


def split_variant(axis: str) -> tuple[str, str | None]:
    """Name and variant of ``<name>@<variant>``; None without a variant."""
    name, at, variant = axis.partition("@")
    return name, variant if at else None


def random_seed(cell: Cell) -> int:
    """The seed of all random numbers of a cell: a stable hash of its name, seed index included."""
    return int.from_bytes(hashlib.sha256(str(cell).encode()).digest()[:4], "big") % 2**31
