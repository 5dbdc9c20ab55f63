"""Per-image counts of one file of counts, for statistics over images: intervals, comparisons, reliability diagrams."""

from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from textwrap import shorten

import numpy as np

from segloss.metrics._calibration import reported_bins
from segloss.metrics._edges import edges_by_threshold
from segloss.metrics.counts import Counts


@dataclass(frozen=True)
class ImageCounts:
    """The counts of each image that `mean_iou`, `calibration_error` and the metrics against a soft truth need.

    Attributes:
        names: Names of the images.
        overlap: True positives, labelled and predicted pixels of each class, (images, 3, classes).
        calibration: Pixels, correct pixels and the sum of confidence of each bin, (images, 3, 10).
        soft_overlap: Σ|p-t| and Σ(p+t) of each class, (images, 2, classes); None without a soft truth.
        distances: Pixels, their summed KL divergence and their summed squared distance, (images, 3); likewise.
        edges: Precise, predicted, recalled and true edge pixels at each threshold, (images, 4, 99); None unless the
            data set declares an edge tolerance.
    """

    names: list[str]
    overlap: np.ndarray
    calibration: np.ndarray
    soft_overlap: np.ndarray | None = None
    distances: np.ndarray | None = None
    edges: np.ndarray | None = None


def soft_dice(soft_overlap: np.ndarray) -> np.ndarray:
    """`mDice_soft` of summed counts (..., 2, classes), in percent: (...)."""
    difference, mass = np.moveaxis(soft_overlap, -2, 0)
    ratio = np.divide(difference, mass, out=np.full(mass.shape, np.nan), where=mass > 0)
    return 100 * np.nanmean(1 - ratio, axis=-1)


def divergence(distances: np.ndarray) -> np.ndarray:
    """`KL` of summed distances (..., 3), in nats: (...)."""
    return distances[..., 1] / distances[..., 0]


def soft_brier(distances: np.ndarray) -> np.ndarray:
    """`Brier_soft` of summed distances (..., 3): (...)."""
    return distances[..., 2] / distances[..., 0]


def image_counts(counts: bytes | Path | Counts) -> ImageCounts:
    """Read the `ImageCounts` of a counts.npz, only the arrays needed, or take them from counts in memory.

    Raises:
        ValueError: the file cannot be read or contains no counts.
    """
    if isinstance(counts, Counts):
        return _select(counts.names, counts.rows)
    try:
        with np.load(BytesIO(counts) if isinstance(counts, bytes) else counts) as file:
            wanted = [name for name in (*_ROWS, *_SOFT_ROWS, *_EDGE_ROWS) if name in _ROWS or f"row_{name}" in file]
            return _select(file["names"].tolist(), {name: file[f"row_{name}"] for name in wanted})
    except OSError as error:
        raise ValueError(f"it cannot be read: {error.strerror}") from error
    except Exception as error:  # a damaged file makes numpy, zipfile or zlib raise its own error
        raise ValueError(
            f"it is damaged or contains no counts: {type(error).__name__}: {shorten(str(error), 200)}"
        ) from error


_OVERLAP_ROWS = ("true_positives", "labelled", "predicted")
_ROWS = (*_OVERLAP_ROWS, "histogram", "confidence")
_SOFT_ROWS = ("soft_difference", "soft_truth", "soft_probability", "soft_divergence", "soft_brier")
_EDGE_ROWS = ("edge_predicted", "edge_predicted_near", "edge_true")


def _select(names: list[str], rows: Mapping[str, np.ndarray]) -> ImageCounts:
    overlap = np.stack([rows[name] for name in _OVERLAP_ROWS], axis=1)
    calibration = np.stack(reported_bins(rows), axis=1)
    soft_overlap = distances = None
    if "soft_difference" in rows:
        difference, truth, probability, kl, brier = (rows[name] for name in _SOFT_ROWS)
        soft_overlap = np.stack([difference, truth + probability], axis=1)
        distances = np.stack([rows["labelled"].sum(1), kl, brier], axis=1)
    edges = edges_by_threshold(rows) if "edge_true" in rows else None
    return ImageCounts(names, overlap, calibration, soft_overlap, distances, edges)
