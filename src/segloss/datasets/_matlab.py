"""Label maps in MATLAB files of version 5, as older data sets publish them."""

from pathlib import Path

import numpy as np

from segloss.datasets._read import DatasetError


def read_map(path: Path, *names: str) -> np.ndarray:
    """The map (height, width) under a chain of names: a variable, then the fields of a struct.

    Raises:
        DatasetError: The file is missing, damaged, or holds no such map.
    """
    from scipy.io import loadmat  # here, since importing it takes a third of a second

    try:
        value = loadmat(path, variable_names=names[:1], squeeze_me=True, struct_as_record=True)[names[0]]
        for name in names[1:]:
            value = value[name].item()
    except FileNotFoundError as error:
        raise DatasetError(f"{path} is missing") from error
    except Exception as error:  # scipy raises whatever the damaged bytes lead to
        raise DatasetError(f"{path} cannot be read as {'.'.join(names)} of a MATLAB file ({error})") from error
    if not isinstance(value, np.ndarray) or value.ndim != 2:
        raise DatasetError(f"{path}: {'.'.join(names)} must be one map, got {type(value).__name__}")
    return value
