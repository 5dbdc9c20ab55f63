"""Calibration errors from histograms of confidence."""

import numpy as np

REPORTED_BINS = 10


def calibration_metrics(rows: dict[str, np.ndarray]) -> dict[str, float]:
    """`rows` of images that have a valid pixel."""
    pixels, right, confidence = reported_bins(rows)
    total = pixels.sum(0)
    gaps = bin_gaps(right.sum(0), confidence.sum(0))
    return {
        "ECE": 100 * gaps.sum() / total.sum(),
        "ECE_I": 100 * np.mean(bin_gaps(right, confidence).sum(1) / pixels.sum(1)),
        "MCE": 100 * np.max(gaps[total > 0] / total[total > 0]),
    }


def classwise_calibration_metrics(totals: dict[str, np.ndarray], probability: np.ndarray) -> dict[str, float]:
    """`probability` (C, bins): sums of the probability of each class by its bin."""
    pixels, labelled, right = (_merge(totals[f"class_{name}"]) for name in ("pixels", "labelled", "right"))
    number = pixels.sum()  # classes times pixels, so that the mean over the classes is taken at once
    probability = _merge(probability)
    return {
        "cwECE": 100 * bin_gaps(labelled, probability).sum() / number,
        "SCE": 100 * bin_gaps(right, probability).sum() / number,
    }


def bin_gaps(right: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """n |right/n - confidence/n|: pixels of a bin times the distance between its accuracy and its mean confidence."""
    return np.abs(right - confidence)


def reported_bins(rows: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels, right pixels, sums of confidence of each image (n, 10)."""
    return _merge(rows["histogram"].sum(1)), _merge(rows["histogram"][:, 1]), _merge(rows["confidence"])


def _merge(histogram: np.ndarray) -> np.ndarray:
    # the edges of the reported bins are among those stored
    return histogram.reshape(*histogram.shape[:-1], REPORTED_BINS, -1).sum(-1)
