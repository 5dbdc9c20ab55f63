"""What may be claimed from the measured numbers. Pure functions on numpy arrays; nothing is rounded.

Three things vary: the images of a test set, the seeds of a training, and the data sets. Seeds of one data set are no
independent data sets (see `ranks`), and images say nothing of seeds: each function states over which its claim goes.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from segloss.metrics import mean_iou

RESAMPLES = 2000


@dataclass(frozen=True)
class Spread:
    """Mean, sample standard deviation (ddof 1; None below two values) and number of the values."""

    mean: float
    deviation: float | None
    n: int


def spread(values: Sequence[float]) -> Spread:
    """Mean ± standard deviation of the seeds of one cell.

    Raises:
        ValueError: there is no value, or one is not finite.
    """
    values = _finite("values", values, 1)
    return Spread(float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else None, len(values))


def bootstrap_interval(
    values: np.ndarray,
    statistic: Callable[[np.ndarray], np.ndarray] = lambda mean: mean,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile interval of a metric's mean over seeds, when images and seeds are drawn anew, each with replacement.

    One fewer is drawn than there are, which makes the variance right; with three seeds the tails are still those of
    three values.

    Args:
        values: (images, seeds, ...): a metric of each image, or the counts of each image that `statistic` needs.
        statistic: from means over images (resamples, seeds, ...) to the metric (resamples, seeds). The default takes
            the mean itself; mIoU over the data set is a function of mean counts: the number of images cancels.
        confidence: share of the interval.
        resamples: how often to draw.
        seed: of the drawing.

    Reference: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, https://doi.org/10.1201/9780429246593;
    for the number drawn, Rao and Wu, 1988, https://doi.org/10.1080/01621459.1988.10478591
    """
    values = _finite("values", values, 2)
    images, seeds = values.shape[:2]
    random = np.random.default_rng(seed)
    of_images = _draw(random, images, resamples) @ values.reshape(images, -1)
    metric = statistic(of_images.reshape(resamples, *values.shape[1:]))
    means = (_draw(random, seeds, resamples) * metric).sum(1)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def pseudo_values(counts: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray] = mean_iou) -> np.ndarray:
    """Each image's share in a metric of the whole data set, so that `compare` can compare it: (images, seeds).

    The jackknife's n·M - (n-1)·M without the image. Of a mean over images these are the images' own values.

    Args:
        counts: (images, seeds, ...).
        statistic: from means over images (..., seeds, ...) to the metric (..., seeds), as for `bootstrap_interval`.

    Reference: Tukey, 1958, https://doi.org/10.1214/aoms/1177706647; Dorfman, Berbaum and Metz, 1992
    """
    counts = _finite("counts", counts, 2)
    images = len(counts)
    if images < 2:
        raise ValueError("pseudo-values need two or more images, got 1")
    total = counts.sum(0)
    return images * statistic(total / images) - (images - 1) * statistic((total - counts) / (images - 1))


@dataclass(frozen=True)
class Comparison:
    """First minus second loss on the same images.

    Attributes:
        difference: Difference of the means over images and seeds.
        low, high: Its 95 % interval for other images and other seeds; None with one seed of either.
        p: Of no difference, for other images and other seeds: what a claim about losses needs. None with one seed.
        low_images, high_images: Its 95 % studentised bootstrap interval for other images and these very trained models;
            infinite for two or three images.
        p_images: Wilcoxon's signed-rank test over the images, for these very trained models.
        p_images_bootstrap: The same by the studentised bootstrap.
        images: Number of images.
        seeds: Numbers of seeds of both.
        smallest_p_images: The smallest p that Wilcoxon's test can give for so many images.
    """

    difference: float
    low: float | None
    high: float | None
    p: float | None
    low_images: float
    high_images: float
    p_images: float
    p_images_bootstrap: float
    images: int
    seeds: tuple[int, int]
    smallest_p_images: float


def compare(first: np.ndarray, second: np.ndarray, resamples: int = RESAMPLES, seed: int = 0) -> Comparison:
    """Compare a metric of two losses, both (images, seeds), rows of the same images, seeds drawn independently.

    For other images and seeds: images are crossed with seeds, so that the variance of the difference is that of the
    seed means, plus that of the image means, less the residual that both contain; Student's t with Satterthwaite's
    degrees of freedom, as for readers and cases in radiology (Dorfman, Berbaum and Metz, 1992,
    https://doi.org/10.1097/00004424-199209000-00015). A test over the images alone takes the luck of a seed, which
    moves all images together, for a difference of the losses.

    Raises:
        ValueError: the images differ in number, or are fewer than two.
    """
    first, second = _finite("first", first, 2), _finite("second", second, 2)
    if len(first) != len(second) or len(first) < 2:
        raise ValueError(f"two or more of the same images are needed in both, got {len(first)} and {len(second)}")
    images = len(first)
    of_images = first.mean(1) - second.mean(1)
    low, high, p = _for_other_images_and_seeds(first, second)
    low_images, high_images, p_bootstrap = _for_other_images(of_images, resamples, seed)
    return Comparison(
        difference=float(of_images.mean()),
        low=low,
        high=high,
        p=p,
        low_images=low_images,
        high_images=high_images,
        p_images=signed_rank_p(of_images),
        p_images_bootstrap=p_bootstrap,
        images=images,
        seeds=(first.shape[1], second.shape[1]),
        smallest_p_images=smallest_signed_rank_p(images),
    )


def _for_other_images_and_seeds(
    first: np.ndarray, second: np.ndarray
) -> tuple[float, float, float] | tuple[None, None, None]:
    """95 % interval and p of the difference, as `compare` says."""
    images = len(first)
    seeds = np.array([first.shape[1], second.shape[1]])
    if seeds.min() < 2:
        return None, None, None
    of_seeds = np.array([losses.mean(0).var(ddof=1) for losses in (first, second)]) / seeds
    of_images = (first.mean(1) - second.mean(1)).var(ddof=1) / images
    residual = [
        ((values - values.mean(0) - values.mean(1, keepdims=True) + values.mean()) ** 2).sum()
        / ((images - 1) * (count - 1) * images * count)
        for values, count in zip((first, second), seeds, strict=True)
    ]
    variance = max(of_seeds.sum() + of_images - sum(residual), of_seeds.sum(), of_images)
    difference = float(first.mean() - second.mean())
    if variance == 0:
        return difference, difference, float(difference == 0)
    freedom = variance**2 / ((of_seeds**2 / (seeds - 1)).sum() + of_images**2 / (images - 1))
    error = math.sqrt(variance)
    half = float(stats.t.ppf(0.975, freedom)) * error
    return difference - half, difference + half, float(2 * stats.t.sf(abs(difference) / error, freedom))


def _for_other_images(differences: np.ndarray, resamples: int, seed: int) -> tuple[float, float, float]:
    """95 % interval of the mean difference and p, from the distribution of |t| over resamples (Efron and Tibshirani).

    At forty images the percentile interval is missed in 6 to 8 of 100, this one in 5 to 6.
    """
    images, mean = len(differences), float(differences.mean())
    error = float(differences.std(ddof=1)) / math.sqrt(images)
    if error == 0:
        return mean, mean, float(mean == 0)
    weights = np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), size=resamples) / images
    shifted = differences - mean
    means = weights @ shifted
    errors = np.sqrt(np.maximum(weights @ shifted**2 - means**2, 0) / (images - 1))
    # the same image drawn every time has no spread: its |t| is infinite
    t = np.divide(np.abs(means), errors, out=np.full(resamples, np.inf), where=errors > 1e-9 * error)
    half = float(np.quantile(t, 0.95, method="higher")) * error
    return mean - half, mean + half, float((1 + (t >= abs(mean) / error).sum()) / (1 + resamples))


def signed_rank_p(differences: Sequence[float]) -> float:
    """Two-sided p of Wilcoxon's signed-rank test, zeros dropped; 1 when all are zero.

    Over blocks it is the test of two losses on several data sets. Reference: Wilcoxon, 1945,
    https://doi.org/10.2307/3001968
    """
    differences = _finite("differences", differences, 1)
    return float(stats.wilcoxon(differences).pvalue) if differences.any() else 1.0


def smallest_signed_rank_p(number: int) -> float:
    """The p of `number` differences that all have one sign: six blocks cannot give less than .031."""
    return 2.0 ** (1 - number)


def holm(p_values: Sequence[float]) -> np.ndarray:
    """p values adjusted for being read together, in their order: the chance of any false claim stays at the level.

    Reference: Holm, 1979, https://www.jstor.org/stable/4615733
    """
    p_values = _finite("p_values", p_values, 1, least=0)
    order = np.argsort(p_values, kind="stable")
    stepped = np.maximum.accumulate(p_values[order] * np.arange(len(order), 0, -1))
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.minimum(1, stepped)
    return adjusted


def _draw(random: np.random.Generator, number: int, resamples: int) -> np.ndarray:
    """(resamples, number): the weight of each item in a mean over number - 1 drawn with replacement.

    One fewer than there are gives means the variance s²/n with s of ddof 1; as many would give three seeds 2/3 of it.
    """
    drawn = max(1, number - 1)
    return random.multinomial(drawn, np.full(number, 1 / number), size=resamples) / drawn


def _finite(what: str, values: Sequence[float] | np.ndarray, axes: int, least: float = -np.inf) -> np.ndarray:
    values = np.asarray(values, dtype=np.float64)
    if values.ndim < axes or not values.size or not np.isfinite(values).all() or values.min() < least:
        raise ValueError(f"{what} must be finite numbers in {axes} or more axes, got {values.shape}: {values.flat[:5]}")
    return values
