"""Calibration errors from histograms of confidence."""

import numpy as np

REPORTED_BINS = 10


def calibration_metrics(rows: dict[str, np.ndarray]) -> dict[str, float]:
    """`rows` of images that have a valid pixel."""
    pixels, right, confidence = reported_bins(rows)
    total = pixels.sum(0)
    gaps = bin_gaps(right.sum(0), confidence.sum(0))
    return {
        "ECE": calibration_error(np.stack([total, right.sum(0), confidence.sum(0)])),
        "ECE_I": 100 * np.mean(bin_gaps(right, confidence).sum(1) / pixels.sum(1)),
        "MCE": 100 * np.max(gaps[total > 0] / total[total > 0]),
    }


def classwise_calibration_metrics(totals: dict[str, np.ndarray], probability: np.ndarray) -> dict[str, float]:
    """`probability` (C, bins): sums of the probability of each class by its bin."""
    pixels, labelled, right = (merge_bins(totals[f"class_{name}"]) for name in ("pixels", "labelled", "right"))
    number = pixels.sum()  # classes times pixels, so that the mean over the classes is taken at once
    probability = merge_bins(probability)
    return {
        "cwECE": 100 * bin_gaps(labelled, probability).sum() / number,
        "SCE": 100 * bin_gaps(right, probability).sum() / number,
    }


def calibration_error(counts: np.ndarray) -> np.ndarray:
    """ECE in percent of counts (..., 3, bins): pixels, correct pixels, sum of confidence of each bin.

    Counts may be sums over images or means of them: their number cancels.
    """
    pixels, right, confidence = np.moveaxis(np.asarray(counts, dtype=np.float64), -2, 0)
    return 100 * bin_gaps(right, confidence).sum(-1) / pixels.sum(-1)


def bin_gaps(right: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """n |right/n - confidence/n|: pixels of a bin times the distance between its accuracy and its mean confidence."""
    return np.abs(right - confidence)


def reported_bins(rows: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels, right pixels, sums of confidence of each image (n, 10)."""
    return merge_bins(rows["histogram"].sum(1)), merge_bins(rows["histogram"][:, 1]), merge_bins(rows["confidence"])


def merge_bins(histogram: np.ndarray) -> np.ndarray:
    """Sums (..., 10) of a stored histogram (..., bins)."""
    # the edges of the reported bins are among those stored
    return histogram.reshape(*histogram.shape[:-1], REPORTED_BINS, -1).sum(-1)
