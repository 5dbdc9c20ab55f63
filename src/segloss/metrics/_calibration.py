"""Calibration errors from histograms of confidence."""

from collections.abc import Mapping

import numpy as np

REPORTED_BINS = 10


def calibration_metrics(
    rows: dict[str, np.ndarray], histogram: np.ndarray, confidence_sums: np.ndarray
) -> dict[str, float]:
    """`rows` of images that have a valid pixel; `histogram` (2, F) and `confidence_sums` (F,) of the fine bins."""
    pixels, right, confidence = reported_bins(rows)
    total = pixels.sum(0)
    gaps = bin_gaps(right.sum(0), confidence.sum(0))
    return {
        "ECE": float(calibration_error(np.stack([total, right.sum(0), confidence.sum(0)]))),
        "ECE_I": 100 * float(np.mean(bin_gaps(right, confidence).sum(1) / pixels.sum(1))),
        "MCE": 100 * float(np.max(gaps[total > 0] / total[total > 0])),
        "ACE": 100 * float(np.mean(gaps[total > 0] / total[total > 0])),
        "aECE": 100 * adaptive_error(histogram.sum(0), histogram[1], confidence_sums),
    }


def adaptive_error(pixels: np.ndarray, right: np.ndarray, confidence: np.ndarray, parts: int = REPORTED_BINS) -> float:
    """Calibration error over `parts` bins of equal mass, as a share, from fine bins in order of confidence.

    Pixels of one fine bin are treated as ties: where a quantile splits the bin, each part gets its accuracy and
    confidence, so Σ correct - confidence is linear in the mass between the edges of the fine bins. Exact if ties have
    equal confidences; otherwise the error is at most twice the mass of the split bins.
    """
    some = pixels > 0
    mass = np.concatenate([[0], np.cumsum(pixels[some])])
    excess = np.concatenate([[0], np.cumsum(right[some] - confidence[some])])
    at_quantiles = np.interp(np.linspace(0, mass[-1], parts + 1), mass, excess)
    return float(np.abs(np.diff(at_quantiles)).sum() / mass[-1])


def classwise_calibration_metrics(
    rows: dict[str, np.ndarray], totals: dict[str, np.ndarray], probability: np.ndarray
) -> dict[str, float]:
    """`probability` (C, bins): sums of the probability of each class by its bin."""
    pixels, labelled, right = (merge_bins(totals[f"class_{name}"]) for name in ("pixels", "labelled", "right"))
    number = pixels.sum()  # classes times pixels: dividing by it includes the mean over the classes
    probability = merge_bins(probability)
    gaps = bin_gaps(right, probability)
    result = {
        "cwECE": 100 * bin_gaps(labelled, probability).sum() / number,
        "SCE": 100 * gaps.sum() / number,
    }
    of_images = rows["class_gap"] / rows["labelled"].sum(1, keepdims=True)
    if len(pixels) == 2:
        return result | {"SCE_fg": 100 * gaps[1].sum() / pixels[1].sum(), "SCE_fg_I": 100 * of_images[:, 1].mean()}
    in_label = rows["labelled"] > 0
    return result | {"SCE_I": 100 * np.mean(np.mean(of_images, axis=1, where=in_label))}


def calibration_error(counts: np.ndarray) -> np.ndarray:
    """ECE in percent from counts (..., 3, bins): pixels, correct pixels, sum of confidence of each bin.

    Counts may be sums or means over images: the number of images cancels.
    """
    pixels, right, confidence = np.moveaxis(np.asarray(counts, dtype=np.float64), -2, 0)
    return 100 * bin_gaps(right, confidence).sum(-1) / pixels.sum(-1)


def bin_gaps(right: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """n |right/n - confidence/n|: pixels of a bin times the distance between its accuracy and its mean confidence."""
    return np.abs(right - confidence)


def reported_bins(rows: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels, correct pixels and sums of confidence of each image by bin, (n, 10)."""
    return rows["histogram"].sum(1), rows["histogram"][:, 1], rows["confidence"]


def merge_bins(histogram: np.ndarray) -> np.ndarray:
    """Sums (..., 10) of a histogram (..., bins) whose edges include those of the reported bins."""
    return histogram.reshape(*histogram.shape[:-1], REPORTED_BINS, -1).sum(-1)
