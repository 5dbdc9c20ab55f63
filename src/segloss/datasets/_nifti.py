"""NIfTI files (.nii, .nii.gz) as arrays, read by nibabel."""

import zlib
from pathlib import Path

import numpy as np

from segloss.datasets._read import DatasetError


def read_nifti(path: Path) -> np.ndarray:
    """The values of a NIfTI file, scaled by its header's slope and intercept, axes in the file's order x, y, ...

    Returns:
        float64, without axes of length 1 beyond the first two.

    Raises:
        DatasetError: It is missing, damaged, or not a NIfTI file.
    """
    import nibabel  # here, since importing it takes half a second

    try:
        values = nibabel.load(path).get_fdata(dtype=np.float64, caching="unchanged")
    except (nibabel.filebasedimages.ImageFileError, nibabel.spatialimages.HeaderDataError) as error:
        raise DatasetError(f"{path} is not a readable NIfTI file ({error})") from error
    except (OSError, EOFError, ValueError, OverflowError, MemoryError, zlib.error) as error:
        raise DatasetError(f"{path} cannot be read ({' '.join(str(error).split())})") from error
    return values.reshape([size for axis, size in enumerate(values.shape) if axis < 2 or size > 1])
