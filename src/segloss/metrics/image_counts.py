"""Per-image counts of one file of counts, for statistics over images: intervals, comparisons, reliability diagrams."""

from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np

from segloss.metrics._calibration import merge_bins
from segloss.metrics.counts import Counts


@dataclass(frozen=True)
class ImageCounts:
    """The counts of each image that `mean_iou` and `calibration_error` are functions of.

    Attributes:
        names: Names of the images.
        overlap: True positives, labelled and predicted pixels of each class, (images, 3, classes).
        calibration: Pixels, correct pixels and the sum of confidence of each bin, (images, 3, 10).
    """

    names: list[str]
    overlap: np.ndarray
    calibration: np.ndarray


def image_counts(counts: bytes | Path | Counts) -> ImageCounts:
    """Those counts of a counts.npz, of which only the arrays needed are read, or of counts in memory.

    Raises:
        ValueError: it holds no counts.
    """
    if isinstance(counts, Counts):
        return _select(counts.names, counts.rows)
    try:
        with np.load(BytesIO(counts) if isinstance(counts, bytes) else counts) as file:
            return _select(file["names"].tolist(), {name: file[f"row_{name}"] for name in _ROWS})
    except OSError as error:
        raise ValueError(f"it cannot be read: {error.strerror}") from error
    except Exception as error:  # numpy, zipfile and zlib each raise their own on a damaged file
        raise ValueError(f"it is damaged or holds no counts: {type(error).__name__}: {error}") from error


_ROWS = ("true_positives", "labelled", "predicted", "histogram", "confidence")


def _select(names: list[str], rows: Mapping[str, np.ndarray]) -> ImageCounts:
    true_positives, labelled, predicted, histogram, confidence = (rows[name] for name in _ROWS)
    stored = np.stack([histogram.sum(1), histogram[:, 1], confidence], axis=1)
    return ImageCounts(names, np.stack([true_positives, labelled, predicted], axis=1), merge_bins(stored))
