"""Order-independent sums of float64 numbers: whole units and multiples of 2**-52, both int64."""

import numpy as np

_FRACTION_BITS = 52


def exact_sum(values: np.ndarray) -> np.ndarray:
    """Sum of (n, ...) nonnegative values over the first axis, as (2, ...) int64 that `add_exact` adds."""
    whole = np.floor(values)
    fraction = ((values - whole) * 2.0**_FRACTION_BITS).astype(np.int64)
    total = np.zeros((2, *values.shape[1:]), np.int64)
    for pair in np.stack((whole.astype(np.int64), fraction), 1):
        total = add_exact(total, pair)
    return total


def add_exact(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Sum of two such totals, with its fraction below one unit: equal totals have equal representations."""
    whole, fraction = left + right
    return np.stack((whole + (fraction >> _FRACTION_BITS), fraction & ((1 << _FRACTION_BITS) - 1)))


def as_float(total: np.ndarray) -> np.ndarray:
    """The total (2, ...) as float64 (...)."""
    return total[0] + total[1] / 2.0**_FRACTION_BITS
