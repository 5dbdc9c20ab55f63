"""mIoU and ECE from counts.npz without torch: what records are checked by and intervals are made of.

The formulas of ``segloss.metrics``, for counts in any leading axes; counts may be sums over images or means of them.
"""

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np

BINS = 10  # those that ECE is reported with


@dataclass(frozen=True)
class ImageCounts:
    """What mIoU and ECE need of each image.

    Attributes:
        names: Names of the images.
        overlap: True positives, labelled and predicted pixels of each class, (images, 3, classes).
        calibration: Pixels, right pixels and the sum of confidence of each bin, (images, 3, 10).
    """

    names: list[str]
    overlap: np.ndarray
    calibration: np.ndarray


def image_counts(counts: bytes | Path) -> ImageCounts:
    """Those counts of a counts.npz.

    Raises:
        ValueError: if it holds no counts.
    """
    try:
        with np.load(BytesIO(counts) if isinstance(counts, bytes) else counts) as file:
            names = file["names"].tolist()
            overlap = np.stack([file[f"row_{row}"] for row in ("true_positives", "labelled", "predicted")], axis=1)
            histogram, confidence = file["row_histogram"], file["row_confidence"]
    except Exception as error:  # numpy, zipfile and zlib each raise their own on a damaged file
        raise ValueError(f"it is damaged or holds no counts: {type(error).__name__}: {error}") from error
    fine = np.stack([histogram.sum(1), histogram[:, 1], confidence], axis=1)
    return ImageCounts(names, overlap, fine.reshape(len(fine), 3, BINS, -1).sum(-1))


def mean_iou(overlap: np.ndarray) -> np.ndarray:
    """mIoU in percent of counts (..., 3, classes): true positives, labelled, predicted pixels.

    Classes neither labelled nor predicted are left out.
    """
    hits, labelled, predicted = np.moveaxis(np.asarray(overlap, dtype=np.float64), -2, 0)
    union = labelled + predicted - hits
    some = union > 0
    return 100 * np.mean(np.divide(hits, union, out=np.zeros_like(union), where=some), axis=-1, where=some)


def calibration_error(calibration: np.ndarray) -> np.ndarray:
    """ECE in percent of counts (..., 3, bins): pixels, right pixels, sum of confidence of each bin."""
    pixels, right, confidence = np.moveaxis(np.asarray(calibration, dtype=np.float64), -2, 0)
    return 100 * np.abs(right - confidence).sum(-1) / pixels.sum(-1)
