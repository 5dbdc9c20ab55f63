"""Readers of image and label files. Anything not readable exactly as intended raises one sentence with the path."""

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

ORIENTATION = 0x0112  # the EXIF tag: 1 upright, 2 to 4 mirrored or upside down, 5 to 8 on its side
WIDE = ("I", "F")  # Pillow's modes of 32-bit integers and floats
COLOURS = {1: "L", 3: "RGB", 4: "RGBA"}  # Pillow's mode for each number of channels


class DatasetError(Exception):
    """A data set is missing, damaged or unavailable; the message is one sentence for the user."""


def content(path: Path) -> bytes:
    """A file's bytes, decompressed if it is gzipped: compressing again may give different bytes."""
    with gzip.open(path) if Path(path).suffix == ".gz" else open(path, "rb") as file:
        return file.read()


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Convert what Pillow, gzip and numpy raise for a missing or damaged file into a DatasetError with its path."""
    try:
        yield
    except (OSError, EOFError, SyntaxError, ValueError, zlib.error, Image.DecompressionBombError) as error:
        raise DatasetError(f"{path} cannot be read ({' '.join(str(error).split())})") from error


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """A single-frame image or label file, decoded."""
    with readable(path), _decoded(path) as image:
        yield image


def _decoded(path: Path) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(content(path)))
        pictures = getattr(image, "n_frames", 1)
        if pictures > 1:
            raise DatasetError(f"{path} must hold one picture, got {pictures}")
        image.load()
    except TypeError as error:  # raised by Pillow for a TIFF file without its dimensions
        raise OSError(*error.args) from error
    return image


def read_image(
    path: Path, *, channels: int = 3, window: tuple[float, float] | None = None, stored: bool = False
) -> np.ndarray:
    """An image file, gzipped or not, as uint8 (height, width, channels), by default RGB.

    Pixels are read as stored, whatever the EXIF orientation, like those of labels. An orientation that leaves the size
    unchanged (a mirrored, upside-down or square image) could hide a mismatch with the label: the image is refused.

    Args:
        path: The file.
        channels: 3 for RGB, 1 for grey, 4 for four stored channels. Default 3.
        window: The values of a 16-bit, 32-bit or float image that become 0 and 255; linear in between. Default: None:
            0 and 65535 for 16-bit images; others need a window.
        stored: Whether the labels are known to be drawn on the pixels as stored; if so, no orientation is refused.

    Raises:
        DatasetError: The file cannot be read, its orientation makes its label ambiguous, its values need a window, or
            it does not have the 4 channels requested.
    """
    with _opened(path) as image:
        turned = image.getexif().get(ORIENTATION, 1)
        if not stored and (turned in (2, 3, 4) or (turned in (5, 6, 7, 8) and image.width == image.height)):
            raise DatasetError(
                f"{path} has EXIF orientation {turned}: its label may fit the pixels as stored or as shown; turn the "
                "pixels (mogrify -auto-orient) and compare them with the label"
            )
        if image.mode.startswith("I;16") or image.mode in WIDE:
            return scaled(_native(image), window, path)[..., None].repeat(channels, -1)
        if channels == 4 and len(image.getbands()) != 4:
            raise DatasetError(f"{path} must have 4 channels, got {len(image.getbands())}")
        as_stored = channels == 4 or image.mode == COLOURS[channels]
        pixels = np.array(image if as_stored else image.convert(COLOURS[channels]))
        return pixels if pixels.ndim == 3 else pixels[..., None]


def _native(image: Image.Image) -> np.ndarray:
    """An image's stored values in native byte order, which dtype comparisons expect."""
    values = np.array(image)
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def scaled(values: np.ndarray, window: tuple[float, float] | None, path: Path) -> np.ndarray:
    """Values of any type mapped linearly from a window to 0..255, uint8, clipped.

    Raises:
        DatasetError: There is no window for values that are not uint16, or a value is NaN.
    """
    if window is None and values.dtype != np.uint16:
        raise DatasetError(
            f"{path} holds {values.dtype} values from {np.nanmin(values):g} to {np.nanmax(values):g}: a window, the "
            "values that become black and white, must be given"
        )
    low, high = (0, 65535) if window is None else window
    values = values.astype(np.float64)
    if np.isnan(values).any():
        raise DatasetError(f"{path} holds NaN")
    return np.rint(255 * np.clip((values - low) / (high - low), 0, 1)).astype(np.uint8)


def read_values(path: Path) -> np.ndarray:
    """The stored values of a single-channel label file, (height, width): bool for 1-bit files, else uint8 or uint16.

    For palette images these are the indices, for grey stored as RGB one of the channels.

    Raises:
        DatasetError: The file cannot be read, is in colours, holds values other than whole numbers from 0 to 65535, or
            has an EXIF orientation.
    """
    with _opened(path) as image:
        if image.getexif().get(ORIENTATION, 1) != 1:
            raise DatasetError(f"{path} is a label with an EXIF orientation: turn its pixels (mogrify -auto-orient)")
        if image.mode in WIDE:
            return _as_integers(np.asarray(image), path)
        values = _native(image)
    if values.ndim == 3:
        bands = values[..., : {2: 1, 3: 3, 4: 3}[values.shape[2]]]  # without alpha
        different = (bands != bands[..., :1]).any(-1)
        if different.any():
            raise DatasetError(
                f"{path} must hold one class id per pixel, got colours, such as {tuple(bands[different][0].tolist())}"
            )
        values = bands[..., 0]
    return values


def _as_integers(values: np.ndarray, path: Path) -> np.ndarray:
    integers = np.clip(np.nan_to_num(values), 0, 65535).astype(np.uint16)
    if (integers != values).any():
        raise DatasetError(f"{path} must hold whole numbers from 0 to 65535, got {values[integers != values][0]:g}")
    return integers


def read_label(path: Path) -> np.ndarray:
    """A label file whose values are class ids, as uint8 (height, width); 65535 in wider files becomes 255.

    Raises:
        DatasetError: As ``read_values``, or an id above 255.
    """
    values = read_values(path)
    if values.dtype == np.uint16:
        values = np.where(values == 65535, np.uint16(255), values)
        if values.max(initial=0) > 255:
            raise DatasetError(f"{path} must hold class ids up to 255, or 65535 for void, got {values.max()}")
    return values.astype(np.uint8)


def read_foreground(path: Path) -> np.ndarray:
    """A mask of 0 and 255 (1-bit: 0 and 1; 16-bit: 0 and 65535) as class ids 0 and 1, uint8 (height, width).

    Raises:
        DatasetError: As ``read_values``, or the mask holds another value.
    """
    values = read_values(path)
    highest = True if values.dtype == bool else np.iinfo(values.dtype).max
    foreground = values == highest
    strange = values[~foreground & (values != 0)]
    if strange.size:
        raise DatasetError(f"{path} must hold 0 and {highest} only, got {strange.min()}")
    return foreground.astype(np.uint8)
