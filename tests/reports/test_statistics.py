"""Statistics equal hand-derived values; in simulated tables true differences are found and chance ones are not."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from segloss.metrics import mean_iou
from segloss.reports.ranks import block_means, rank
from segloss.reports.statistics import (
    bootstrap_interval,
    compare,
    compare_models,
    holm,
    pseudo_values,
)


def records(random, mean, seed_deviation, images=40, seeds=3, noise=3.0, shared=None):
    """A metric of (images, seeds): `shared` difficulty of each image, luck of each seed, and independent noise."""
    shared = np.zeros(images) if shared is None else shared
    luck = seed_deviation * random.standard_normal(seeds)
    return mean + shared[:, None] + luck + noise * random.standard_normal((images, seeds))


def rate(events):
    return np.mean(list(events))


def test_the_bootstrap_interval_covers_the_mean_as_often_as_its_level():
    random = np.random.default_rng(0)

    def covers():
        low, high = bootstrap_interval(random.gamma(4, size=(60, 1)), resamples=400, seed=int(random.integers(1 << 30)))
        return low < 4 < high

    assert 0.9 < rate(covers() for _ in range(400)) < 0.97


def test_the_bootstrap_has_the_variance_of_the_mean_even_for_three():
    values = np.array([[1.0], [5.0], [6.0]])
    for axis in (values, values.T):
        low, high = bootstrap_interval(axis, confidence=0.5, resamples=50_000)
        # the mean of two drawn: its nine equally likely values by hand
        pairs = [(a + b) / 2 for a in (1, 5, 6) for b in (1, 5, 6)]
        assert (low, high) == tuple(np.quantile(pairs, [0.25, 0.75]))
        assert np.var(pairs) == pytest.approx(np.var([1, 5, 6], ddof=1) / 3, rel=1e-12)


def test_the_bootstrap_covers_seeds_too_when_there_are_many_and_a_metric_of_counts():
    random = np.random.default_rng(1)

    def interval(values, **options):
        return bootstrap_interval(values, resamples=400, seed=int(random.integers(1 << 30)), **options)

    def covers():
        low, high = interval(records(random, 50, seed_deviation=2, seeds=15))
        return low < 50 < high

    assert 0.89 < rate(covers() for _ in range(300)) < 0.98
    counts = random.poisson([6.0, 10.0], size=(200, 4, 2))
    low, high = interval(counts, statistic=lambda mean: mean[..., 0] / mean[..., 1])
    assert low < counts[..., 0].sum() / counts[..., 1].sum() < high
    assert high - low < 0.1
    assert bootstrap_interval(counts[..., 0], seed=3) == bootstrap_interval(counts[..., 0], seed=3)


def test_without_seed_variance_the_comparison_is_the_paired_t_test_over_images():
    random = np.random.default_rng(2)
    first, second = (np.repeat(random.standard_normal((30, 1)), 3, axis=1) for _ in range(2))
    result = compare(first, second)
    assert result.p == pytest.approx(stats.ttest_rel(first[:, 0], second[:, 0]).pvalue, rel=1e-9)
    assert result.low < result.difference < result.high


def test_without_image_variance_the_comparison_is_welchs_t_test_over_seeds():
    random = np.random.default_rng(3)
    image = random.standard_normal((30, 1))
    first, second = image + random.standard_normal(4), image + 1 + 3 * random.standard_normal(6)
    result = compare(first, second)
    welch = stats.ttest_ind(first[0], second[0], equal_var=False)
    assert result.p == pytest.approx(welch.pvalue, rel=1e-9)
    assert (result.low, result.high) == pytest.approx(tuple(welch.confidence_interval()), rel=1e-9)
    assert result.seeds == (4, 6)


def test_the_variance_counts_the_residual_once():
    random = np.random.default_rng(11)
    first, second = (
        records(random, 0, 2, images=6, seeds=number, noise=1, shared=3 * random.standard_normal(6))
        for number in (3, 4)
    )
    seeds = residual = degrees = 0
    for values in (first, second):
        number = values.shape[1]
        means = [values[:, seed].mean() for seed in range(number)]
        part = sum((mean - values.mean()) ** 2 for mean in means) / (number - 1) / number
        seeds += part
        degrees += part**2 / (number - 1)
        for image in range(6):
            for seed in range(number):
                deviation = values[image, seed] - values[image].mean() - means[seed] + values.mean()
                residual += deviation**2 / (5 * (number - 1)) / (6 * number)
    differences = [first[image].mean() - second[image].mean() for image in range(6)]
    images = np.var(differences, ddof=1) / 6
    variance = seeds + images - residual
    assert variance > max(seeds, images)
    freedom = variance**2 / (degrees + images**2 / 5)
    result = compare(first, second)
    half = stats.t.ppf(0.975, freedom) * np.sqrt(variance)
    assert (result.high - result.low) / 2 == pytest.approx(half, rel=1e-12)
    assert result.p == pytest.approx(2 * stats.t.sf(abs(np.mean(differences)) / np.sqrt(variance), freedom), rel=1e-12)


def test_with_one_seed_nothing_is_claimed_of_other_seeds():
    random = np.random.default_rng(4)
    first, second = random.standard_normal((20, 1)), random.standard_normal((20, 3))
    result = compare(first, second)
    assert (result.low, result.high, result.p) == (None, None, None)
    result = compare_models(first, second)
    assert result.low < result.difference < result.high


def test_equal_records_do_not_differ():
    values = np.random.default_rng(5).standard_normal((20, 3))
    assert (compare(values, values).difference, compare_models(values, values).p) == (0, 1)
    assert compare(np.ones((5, 2)), np.ones((5, 2))).p == 1
    assert compare_models(np.ones((5, 2)), np.zeros((5, 2))).p == 0
    assert compare_models(np.array([[1.0], [2]]), np.zeros((2, 1))).high == np.inf
    for function in (compare, compare_models):
        with pytest.raises(ValueError, match="same images are needed in both, got 20 and 19"):
            function(values, values[1:])


def test_chance_differences_stay_at_the_nominal_rate_and_true_ones_are_found():
    random = np.random.default_rng(6)

    def both(difference):
        shared = 10 * random.standard_normal(40)
        first = records(random, 60 + difference, seed_deviation=1, shared=shared)
        second = records(random, 60, seed_deviation=1, shared=shared)
        return compare(first, second), compare_models(first, second, resamples=200)

    null = [both(0) for _ in range(400)]
    assert 0.01 < rate(result.p < 0.05 for result, _ in null) < 0.08
    assert rate(result.low < 0 < result.high for result, _ in null) > 0.92
    # Over images alone the luck of the seeds looks like a difference between losses, so claims rest on `compare`.
    assert rate(models.p < 0.05 for _, models in null) > 0.2
    true = [both(5) for _ in range(100)]
    assert rate(result.p < 0.05 for result, _ in true) > 0.9


def test_over_images_alone_the_test_keeps_its_level_for_models_without_luck():
    random = np.random.default_rng(7)

    def both(difference):
        shared = 10 * random.standard_normal(40)
        first = records(random, 60 + difference, seed_deviation=0, shared=shared, seeds=1)
        second = records(random, 60, seed_deviation=0, shared=shared, seeds=1)
        return compare_models(first, second, resamples=400)

    null, true = [both(0) for _ in range(400)], [both(3) for _ in range(100)]
    assert 0.02 < rate(result.p < 0.05 for result in null) < 0.08
    assert rate(result.p < 0.05 for result in true) > 0.9
    assert rate(result.low < 3 < result.high for result in true) > 0.88
    for result in null + true:
        assert (result.low > 0 or result.high < 0) == (result.p <= 0.05)


def test_a_table_of_many_losses_claims_falsely_no_more_often_than_its_level():
    random = np.random.default_rng(8)

    def table(differences):
        baseline = records(random, 60, seed_deviation=1)
        others = [records(random, 60 + difference, seed_deviation=1) for difference in differences]
        return holm([compare(other, baseline).p for other in others])

    assert rate((table([0] * 8) < 0.05).any() for _ in range(200)) < 0.09
    significant = np.array([table([0, 0, 0, 0, 12, 12, 12, 12]) < 0.05 for _ in range(60)])
    assert significant[:, 4:].mean() > 0.9
    assert significant[:, :4].any(1).mean() < 0.12


def test_mean_iou_leaves_out_what_never_occurs():
    counts = np.array([[1, 6, 0.0], [2, 6, 0], [3, 6, 0]])
    assert mean_iou(counts) == pytest.approx(100 * (1 / 4 + 1) / 2, rel=1e-15)
    assert mean_iou(np.stack([counts, 2 * counts])).shape == (2,)


def test_pseudo_values_of_a_mean_are_the_values_and_of_miou_vary_as_it_does():
    random = np.random.default_rng(10)
    values = random.standard_normal((30, 3))
    assert pseudo_values(values, lambda mean: mean) == pytest.approx(values, abs=1e-12)
    labelled = random.poisson(50, size=(200, 2, 1, 4)) + 1.0
    hits = random.binomial(labelled.astype(int), 0.7)
    counts = np.concatenate([hits, labelled, hits + random.poisson(10, size=hits.shape)], axis=2)
    shares = pseudo_values(counts, mean_iou)
    assert shares.shape == (200, 2)
    assert shares.mean(0) == pytest.approx(mean_iou(counts.sum(0)), rel=1e-3)
    one_seed = counts[:, :1]
    low, high = bootstrap_interval(one_seed, mean_iou, resamples=4000)
    standard_error = shares[:, 0].std(ddof=1) / np.sqrt(200)
    assert (high - low) / (2 * 1.96) == pytest.approx(standard_error, rel=0.1)
    with pytest.raises(ValueError, match="two or more images"):
        pseudo_values(counts[:1], mean_iou)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02], rel=1e-12)
    assert holm([0.6, 0.9]).tolist() == [1, 1]
    assert holm([0.02]).tolist() == [0.02]
    with pytest.raises(ValueError, match="p_values must be finite"):
        holm([0.1, -0.1])


def table_of(rows):
    return pd.DataFrame(rows, columns=["dataset", "labels", "model", "schedule", "loss", "seed", "metric", "value"])


def test_blocks_average_seeds_first_and_are_not_compared_on_other_models():
    rows = [
        *[("a", "hard", "m1", "s", "x", seed, "mIoU", value) for seed, value in enumerate((10.0, 20.0, 30.0))],
        ("a", "hard", "m2", "s", "x", 0, "mIoU", 40.0),
        ("a", "hard", "m1", "s", "y", 0, "mIoU", 1.0),
        ("b", "hard", "m1", "s", "x", 0, "mIoU", 2.0),
        ("b", "hard", "m1", "s", "y", 0, "mIoU", 3.0),
        ("b", "hard", "m1", "s", "y", 1, "mIoU", np.nan),
        ("b", "hard", "m1", "s", "y", 0, "ECE", 99.0),
    ]
    means = block_means(table_of(rows), "mIoU")
    assert means.loc[("a", "hard"), "x"] == 30
    assert np.isnan(means.loc[("a", "hard"), "y"])  # it has no m2
    assert means.loc[("b", "hard")].tolist() == [2, 3]
    with pytest.raises(ValueError, match=r"no value of NLL is known; there are \['ECE', 'mIoU'\]"):
        block_means(table_of(rows), "NLL")


def test_ranks_and_critical_difference_by_hand():
    means = pd.DataFrame({"x": [3, 2, 9.0], "y": [2, 2, np.nan], "z": [1, 1, 1.0]}, index=["a", "b", "c"])
    ranking = rank(means, higher_is_better=True)
    assert ranking.ranks == {"x": 1.25, "y": 1.75, "z": 3}
    assert rank(means, higher_is_better=False).ranks == {"x": 2.75, "y": 2.25, "z": 1}
    assert (ranking.blocks, ranking.left_out) == (["a", "b"], ["c"])
    assert ranking.smallest_p == pytest.approx(1 / 6, rel=1e-15)
    # The first example of Demšar 2006: four classifiers, fourteen data sets
    many = pd.DataFrame(np.random.default_rng(0).random((14, 4)))
    assert rank(many, True).critical_difference == pytest.approx(1.25, abs=0.005)
    with pytest.raises(ValueError, match="got 1 and 3"):
        rank(means.iloc[1:], True)


def test_the_p_of_ranks_is_that_of_all_permutations():
    values = np.array([[1, 2, 3], [1, 3, 2], [2, 1, 3], [1, 2, 3.0]])
    observed = (values.sum(0) ** 2).sum()
    orders = list(itertools.permutations((1, 2, 3)))
    exact = np.mean(
        [(np.sum(orderings, 0) ** 2).sum() >= observed for orderings in itertools.product(orders, repeat=4)]
    )
    assert rank(pd.DataFrame(values), True, resamples=40_000).p == pytest.approx(exact, abs=0.01)
    alike = pd.DataFrame(np.tile([1, 2, 3.0], (3, 1)))
    ranking = rank(alike, True, resamples=40_000)
    assert ranking.p == pytest.approx(ranking.smallest_p, abs=0.01)


def test_resamples_are_shared_and_do_not_depend_on_what_was_drawn_before():
    """Every point and metric gets the interval that a fresh process would give it."""
    values = np.random.default_rng(12).standard_normal((30, 3))
    alone = bootstrap_interval(values)
    bootstrap_interval(values[:20])
    bootstrap_interval(values[:, :2])
    assert bootstrap_interval(values) == alone


def test_ranks_of_equal_losses_stay_at_the_nominal_rate_and_a_better_one_is_found():
    random = np.random.default_rng(9)
    null = [rank(pd.DataFrame(random.random((8, 5))), True, resamples=400).p for _ in range(300)]
    assert 0.02 < rate(p < 0.05 for p in null) < 0.08
    lead = np.array([1, 0, 0, 0, 0])
    better = [rank(pd.DataFrame(random.random((8, 5)) + lead), True, resamples=400) for _ in range(50)]
    assert rate(ranking.p < 0.05 for ranking in better) > 0.8
    assert all(ranking.ranks[0] == 1 for ranking in better)
