"""Differences between all points of a block at once, so that a reader can choose the baseline."""

from collections.abc import Sequence

import numpy as np
from scipy import stats


def pairwise_differences(values: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The difference of every pair of points, its 95 % interval and its p, for other images and other seeds.

    Row i, column j holds point i minus point j. The formulas are those of `statistics.compare`, of which this is the
    fast form for many points; a test compares the two.

    Args:
        values: For each point (images, seeds) pseudo-values on the same images; the number of seeds may differ.

    Returns:
        Difference, half the width of the 95 % interval, and p, each (points, points); interval and p are NaN where
        either point has one seed.
    """
    images = len(values[0])
    seeds = np.array([point.shape[1] for point in values])
    several = seeds > 1
    image_means = np.stack([point.mean(1) for point in values])
    seed_variance = np.array([point.mean(0).var(ddof=1) if point.shape[1] > 1 else np.nan for point in values]) / seeds
    residual = np.array([_residual_variance(point) if point.shape[1] > 1 else np.nan for point in values])
    difference = image_means.mean(1)[:, None] - image_means.mean(1)
    # From the differences themselves: variances minus twice the covariance would lose precision for similar points.
    image_variance = np.stack([(row - image_means).var(1, ddof=1) for row in image_means]) / images
    seed_sum = seed_variance[:, None] + seed_variance
    variance = np.maximum(seed_sum + image_variance - residual[:, None] - residual, seed_sum)
    variance = np.maximum(variance, image_variance)
    parts = seed_variance**2 / np.maximum(seeds - 1, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = variance**2 / (parts[:, None] + parts + image_variance**2 / (images - 1))
        error = np.sqrt(variance)
        half = stats.t.ppf(0.975, freedom) * error
        p = 2 * stats.t.sf(np.abs(difference) / error, freedom)
    certain = variance == 0
    half[certain], p[certain] = 0, (difference == 0)[certain]
    known = several[:, None] & several
    return difference, np.where(known, half, np.nan), np.where(known, p, np.nan)


def _residual_variance(values: np.ndarray) -> float:
    """Residual variance of a point's mean, without the main effects of images and seeds."""
    images, seeds = values.shape
    residual = values - values.mean(0) - values.mean(1, keepdims=True) + values.mean()
    return float((residual**2).sum() / ((images - 1) * (seeds - 1) * images * seeds))
