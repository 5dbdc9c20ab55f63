"""Look-up tables from the values or colours of a label file to class ids; unknown ones raise an error with the path."""

import functools
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from segloss.datasets._read import DatasetError

Colour = tuple[int, int, int]

VOID = 255
UNKNOWN = 254  # in tables only: class ids are 0..253


def value_table(ids: Mapping[int, int]) -> np.ndarray:
    """The table of class ids for ``ids_of_values``, uint8 (65536,).

    Args:
        ids: Value in the file (0..65535) -> class id or ``VOID``; every other value is an error.
    """
    table = np.full(2**16, UNKNOWN, np.uint8)
    table[list(ids)] = list(ids.values())
    return table


def consecutive(classes: int) -> np.ndarray:
    """The table for label files that hold the class ids 0..classes - 1 and ``VOID``."""
    return value_table({**{index: index for index in range(classes)}, VOID: VOID})


def ids_of_values(values: np.ndarray, table: np.ndarray, path: Path) -> np.ndarray:
    """Class ids, uint8 (height, width), of the values of a 1-, 8- or 16-bit label file.

    Raises:
        DatasetError: The file has several channels, or a value that is not in the table.
    """
    if values.ndim != 2:
        raise DatasetError(f"{path} must be one map of class values, got an array of shape {values.shape}")
    if values.dtype == np.uint8:  # bytes.translate is ten times faster than an index array
        translated = values.tobytes().translate(table[:256].tobytes())
        ids = np.frombuffer(bytearray(translated), np.uint8).reshape(values.shape)
    else:
        if values.size and (values.min() < 0 or values.max() >= len(table)):
            raise DatasetError(f"{path} must hold values 0..{len(table) - 1}, got {values.min()}..{values.max()}")
        ids = table[values.astype(np.intp)]
    unknown = ids == UNKNOWN
    if unknown.any():
        known = _ranges(np.flatnonzero(table != UNKNOWN).tolist())
        raise DatasetError(f"{path} must hold the values {known}, got {values[unknown][0]}")
    return ids


@functools.cache
def colour_table(colours: tuple[tuple[Colour, int], ...]) -> np.ndarray:
    """The table of class ids for ``ids_of_colours``, uint8 (2^24,): 16 MiB, made once.

    Args:
        colours: Pairs of an RGB colour and its class id or ``VOID``; every other colour is an error.
    """
    table = np.full(2**24, UNKNOWN, np.uint8)
    for (red, green, blue), index in colours:
        table[red << 16 | green << 8 | blue] = index
    return table


def ids_of_colours(colours: np.ndarray, table: np.ndarray, path: Path) -> np.ndarray:
    """Class ids, uint8 (height, width), of a label file in colours, uint8 (height, width, 3) RGB.

    Raises:
        DatasetError: There is a colour that is not in the table.
    """
    packed = colours[..., 0].astype(np.uint32)
    for channel in (1, 2):
        packed <<= 8
        packed |= colours[..., channel]
    ids = table[packed]
    unknown = ids == UNKNOWN
    if unknown.any():
        known = [(code >> 16, code >> 8 & 255, code & 255) for code in np.flatnonzero(table != UNKNOWN).tolist()]
        row, column = np.argwhere(unknown)[0].tolist()
        raise DatasetError(
            f"{path}: colours must be one of {known}, got {tuple(colours[row, column].tolist())} at row {row}, column "
            f"{column}{_lossy(path)}; pixels of other colours: {np.count_nonzero(unknown)} of {unknown.size}"
        )
    return ids


def _lossy(path: Path) -> str:
    is_jpeg = path.suffix.lower() in (".jpg", ".jpeg")
    return " (JPEG changes colours: export the labels as PNG)" if is_jpeg else ""


def distinct_colours(count: int) -> tuple[Colour, ...]:
    """The first colours of PASCAL VOC's colour map, black first; all 256 differ."""

    def channel(index: int, offset: int) -> int:
        # The bits of an index are dealt to red, green and blue in turn, each filled from its highest bit down.
        return sum((index >> 3 * place + offset & 1) << 7 - place for place in range(3))

    return tuple((channel(index, 0), channel(index, 1), channel(index, 2)) for index in range(count))


def _ranges(values: Iterable[int]) -> str:
    """Increasing integers as text, neighbours joined: ``0..33, 255``."""
    runs: list[list[int]] = []
    for value in values:
        if runs and value == runs[-1][1] + 1:
            runs[-1][1] = value
        else:
            runs.append([value, value])
    return ", ".join(str(first) if first == last else f"{first}..{last}" for first, last in runs)
