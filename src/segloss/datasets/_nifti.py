"""Reading NIfTI-1 files, as far as two-dimensional medical data sets need it.

The format: https://nifti.nimh.nih.gov/nifti-1 (Cox et al., 2004).
"""

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np

from segloss.datasets._dataset import DatasetError, content

TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
HEADER_BYTES = 348


def read_nifti(path: Path) -> np.ndarray:
    """The values of a NIfTI-1 file (.nii or .nii.gz), scaled as its header says, axes in the file's order x, y, ...

    Returns:
        float64, all axes of length 1 beyond the first two dropped.

    Raises:
        DatasetError: It is no single-file NIfTI-1, shorter than its header says, or of a type not read here.
    """
    try:
        data = content(path)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DatasetError(f"{path} cannot be read ({error})") from error
    # The header's first number is its length; read with the wrong byte order it is another one.
    orders = [order for order in "<>" if data[:4] == struct.pack(f"{order}i", HEADER_BYTES)]
    if not orders or len(data) < HEADER_BYTES or data[344:348] != b"n+1\0":
        raise DatasetError(f"{path} is no NIfTI-1 file with its data in it")
    order = orders[0]
    num_axes, *sizes = struct.unpack_from(f"{order}8h", data, 40)
    (code,) = struct.unpack_from(f"{order}h", data, 70)
    offset, slope, intercept = struct.unpack_from(f"{order}3f", data, 108)
    if code not in TYPES:
        raise DatasetError(f"{path} has NIfTI data type {code}; known: {', '.join(str(known) for known in TYPES)}")
    shape = sizes[:num_axes]
    dtype = np.dtype(order + TYPES[code])
    if int(offset) + dtype.itemsize * int(np.prod(shape)) > len(data):
        raise DatasetError(f"{path} must hold {' x '.join(str(size) for size in shape)} values, but ends before")
    values = np.frombuffer(data, dtype, int(np.prod(shape)), int(offset)).reshape(shape, order="F").astype(np.float64)
    # By the format a slope of 0 means that the values are not scaled.
    values = values * slope + intercept if slope else values
    return values.reshape([size for axis, size in enumerate(shape) if axis < 2 or size > 1])
