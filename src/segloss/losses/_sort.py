"""Sorting many rows of different lengths at once."""

import torch
from torch import Tensor

ONE = 0x3F800000  # the bits of 1.0 in float32; floats from 0 to 1 keep their order when read as integers, of 30 bits


def sort_within_rows(values: Tensor, row: Tensor, column: Tensor, columns: int) -> tuple[Tensor, Tensor, Tensor]:
    """Sort values from -1 to 1 by magnitude, descending, within each row; the rows themselves are already in order.

    Args:
        values: (M,), float32 or float64.
        row: (M,), non-decreasing.
        column: (M,), from 0 to `columns` - 1.

    Returns:
        The values' magnitudes, their columns, and whether they were negative (including -0.), (M,) each, row by row.
    """
    if values.dtype != torch.float32 or values.device.type != "cpu":
        order = values.abs().argsort(descending=True, stable=True)
        order = order[row[order].argsort(stable=True)]
        values = values[order]
        return values.abs(), column[order], values.signbit()
    # One integer holds row, magnitude, column and sign: NumPy sorts it several times faster than torch sorts floats.
    bits = max(1, columns - 1).bit_length()
    keys = row << 30
    keys += ONE - values.abs().view(torch.int32)
    keys <<= bits
    keys += column
    keys <<= 1
    keys += values.signbit()
    keys.numpy().sort()
    negative = (keys & 1).bool()
    keys >>= 1
    column = keys & ((1 << bits) - 1)
    keys >>= bits
    keys &= (1 << 30) - 1
    return (ONE - keys).int().view(torch.float32), column, negative


def descending_order(values: Tensor) -> Tensor:
    """The indices (R, N) that sort float32 values from -1 to 1 by magnitude, descending, within each row; NaN last.

    Two stable sorts, by the lower and then the upper half of the bits: NumPy uses a radix sort for 16-bit integers,
    which takes less than half the time of a comparison sort.
    """
    keys = values.view(torch.int32).bitwise_not()  # decreases as the magnitude grows; the sign is the highest bit
    order = torch.from_numpy((keys.short() & 0x7FFF).numpy().argsort(axis=1, kind="stable"))
    # Of the 16 bits below the sign, the highest (the inverted top bit of the exponent) is cleared only in NaN: as the
    # sign bit of a 16-bit integer it sorts NaN last.
    upper = (keys >> 15).short().gather(1, order)
    return order.gather(1, torch.from_numpy(upper.numpy().argsort(axis=1, kind="stable")))
