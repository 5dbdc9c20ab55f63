"""The values or colours that label files hold."""

from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image

from segloss.datasets._read import DatasetError, read_values

MOST_VALUES = 64  # files with more distinct values or colours are not class labels
Value = int | tuple[int, int, int]


def label_values(paths: list[Path]) -> tuple[dict[Value, int], int]:
    """The values or colours of label files with their pixel counts, most frequent first, and the total pixel count.

    Raises:
        DatasetError: A file cannot be read, or there are too many values for classes.
    """
    counts: dict[Value, int] = defaultdict(int)
    for path in paths:
        colours = _colours(path)
        if colours is None:
            values, numbers = np.unique(_stored(path), return_counts=True)
            entries: list[Value] = values.tolist()
        else:
            packed = colours.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
            codes, numbers = np.unique(packed, return_counts=True)
            entries = [(code >> 16, code >> 8 & 255, code & 255) for code in codes.tolist()]
        for value, number in zip(entries, numbers.tolist(), strict=True):
            counts[value] += number
        if len(counts) > MOST_VALUES:
            raise DatasetError(f"{path} has more than {MOST_VALUES} values: it does not look like class labels")
    if len({isinstance(value, tuple) for value in counts}) > 1:
        raise DatasetError(f"{paths[0].parent} mixes labels in colours and labels with ids")
    return dict(sorted(counts.items(), key=lambda pair: -pair[1])), sum(counts.values())


def _colours(path: Path) -> np.ndarray | None:
    """The RGB pixels of a label file in colours; None for a file of ids (grey or palette)."""
    try:
        with Image.open(path) as image:
            if image.mode not in ("RGB", "RGBA"):
                return None
            pixels = np.array(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise DatasetError(f"{path} cannot be read ({error})") from error
    return pixels


def _stored(path: Path) -> np.ndarray:
    values = read_values(path)
    return values.astype(np.uint8) if values.dtype == bool else values
