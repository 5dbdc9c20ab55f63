"""Which loss is better over several data sets: ranks within blocks, the blocks being (data set, labels).

Seeds, models and schedules of one data set are no blocks of their own: they are averaged before anything is ranked.
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats


def block_means(results: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Means over seeds, then over models and schedules: a row per block (data set, labels), a column per loss.

    NaN where a loss has no value for one of the models and schedules of its block: it would be compared on others.

    Args:
        results: rows with dataset, model, schedule, labels, loss, seed, metric, value; other metrics are ignored.
        metric: the name of one.
    """
    rows = results[(results["metric"] == metric) & results["value"].notna()]
    if rows.empty:
        raise ValueError(f"no value of {metric} is known; there are {sorted(results['metric'].dropna().unique())}")
    cells = rows.groupby(["dataset", "labels", "model", "schedule", "loss"])["value"].mean().unstack("loss")
    return cells.groupby(level=["dataset", "labels"]).agg(lambda column: column.mean(skipna=False))


@dataclass(frozen=True)
class Ranking:
    """Ranks of losses over blocks; rank 1 is the best.

    Attributes:
        ranks: Average rank of each loss.
        p: Of no difference between any of them (Friedman's statistic, ranks permuted within blocks).
        critical_difference: Two average ranks further apart differ at the 5 % level (Nemenyi).
        blocks: The blocks used.
        left_out: Blocks in which a loss is missing.
        smallest_p: The smallest p that so many blocks and losses can give: all blocks rank alike.
    """

    ranks: dict[str, float]
    p: float
    critical_difference: float
    blocks: list[tuple]
    left_out: list[tuple]
    smallest_p: float


def rank(means: pd.DataFrame, higher_is_better: bool, resamples: int = 10_000, seed: int = 0) -> Ranking:
    """Rank losses within each block and compare the average ranks. Ties share their mean rank.

    Args:
        means: a row per block, a column per loss, as `block_means` gives them: one value each, not one per seed.
        higher_is_better: the direction of the metric.
        resamples, seed: of the permutations; p is never below 1 / (1 + resamples).

    Raises:
        ValueError: fewer than two complete blocks or losses.

    Reference: Demšar, 2006, https://www.jmlr.org/papers/v7/demsar06a.html
    """
    complete = means.dropna()
    blocks, losses = complete.shape
    if blocks < 2 or losses < 2:
        raise ValueError(f"ranks need two blocks that have all losses, and two losses; got {blocks} and {losses}")
    ranks = stats.rankdata(-complete if higher_is_better else complete, axis=1)
    random = np.random.default_rng(seed)
    # Friedman's statistic grows with the spread of the rank sums, all that the permutations change; whole in half ranks
    halves = np.rint(2 * ranks)
    permuted = np.stack([random.permuted(np.tile(row, (resamples, 1)), axis=1) for row in halves]).sum(0)
    reached = (permuted**2).sum(1) >= (halves.sum(0) ** 2).sum()
    quantile = stats.studentized_range.ppf(0.95, losses, np.inf) / math.sqrt(2)
    return Ranking(
        ranks=dict(zip(complete.columns, ranks.mean(0).tolist(), strict=True)),
        p=float((1 + reached.sum()) / (1 + resamples)),
        critical_difference=float(quantile * math.sqrt(losses * (losses + 1) / (6 * blocks))),
        blocks=complete.index.tolist(),
        left_out=means.index.difference(complete.index).tolist(),
        smallest_p=float(math.factorial(losses)) ** (1 - blocks),
    )
