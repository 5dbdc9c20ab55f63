"""Mean ranks of losses over several data sets: ranks within blocks, a block being (data set, label scenario).

Seeds, models and schedules of one data set are not separate blocks: they are averaged before anything is ranked.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from segloss.reports.markdown import table, text
from segloss.reports.summary import PAPER_METRICS

RESAMPLES = 10_000


def block_means(results: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Means over seeds, then over models and schedules: a row per block (data set, labels), a column per loss.

    NaN where a loss has no value for one of the models and schedules of its block: its mean would be
    over a different set of models.

    Args:
        results: rows with dataset, model, schedule, labels, loss, seed, metric, value; other metrics are ignored.
        metric: the name of the metric.
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
        p: p value for no difference between any of them (Friedman's statistic, ranks permuted within blocks: with few
            blocks its chi-squared approximation is poor).
        critical_difference: Two average ranks further apart differ at the 5 % level (Nemenyi).
        blocks: The blocks used.
        left_out: Blocks in which a loss is missing.
        smallest_p: The smallest p that this many blocks and losses can give: all blocks have the same ranks.
    """

    ranks: dict[str, float]
    p: float
    critical_difference: float
    blocks: list[tuple]
    left_out: list[tuple]
    smallest_p: float


def rank(means: pd.DataFrame, higher_is_better: bool, resamples: int = RESAMPLES, seed: int = 0) -> Ranking:
    """Rank losses within each block and compare the average ranks. Ties share their mean rank.

    Args:
        means: a row per block, a column per loss, as `block_means` returns them: one value each, not one per seed.
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
    # Friedman's statistic grows with the sum of squared rank sums, the only part that permutations change. Ties have
    # half ranks; doubled, all ranks are integers, and ">=" compares them exactly.
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


def rankings(results: pd.DataFrame) -> tuple[dict[str, Ranking], list[str]]:
    """The ranks of the tables' metrics, of the losses that every block has, and the losses that are left out.

    Empty if there are fewer than two blocks or two such losses.

    Args:
        results: The results table; only finished cells count.
    """
    ranked, left_out = {}, []
    done = results[results.status == "done"]
    for metric in PAPER_METRICS:
        if not (done.metric == metric.name).any():
            continue
        means = block_means(done, metric.name)
        complete = means.dropna(axis="columns")
        left_out = [loss for loss in means if loss not in complete]
        if min(complete.shape) >= 2:
            ranked[metric.name] = rank(complete, metric.higher_is_better)
    return ranked, left_out


def is_conclusive(ranking: Ranking) -> bool:
    """True if the critical difference is below the largest possible difference of two mean ranks."""
    return ranking.critical_difference < len(ranking.ranks) - 1


def markdown_ranks(
    ranked: Mapping[str, Ranking], left_out: Sequence[str], titles: Mapping[str, Mapping[str, str]]
) -> str:
    """The ranks of each metric in Markdown, with the claims that they allow."""
    first = next(iter(ranked.values()))
    sources = {dataset for dataset, _ in first.blocks}
    notes = [
        f"Mean rank over {len(first.blocks)} blocks (data set, labels), 1 is the best. Seeds, models and schedules of "
        "a block are averaged before it is ranked: they are not independent data sets."
    ]
    if len(sources) < len(first.blocks):
        notes.append(
            f"The blocks come from {len(sources)} data set{'s' * (len(sources) > 1)}, and label scenarios of one data "
            "set are not independent either: p is too small."
        )
    if left_out:
        notes.append(
            f"Not in every block, and left out: {text(', '.join(titles['losses'][loss] for loss in left_out))}."
        )
    body = [
        [text(titles["losses"][loss]), *(f"{ranking.ranks[loss]:.2f}" for ranking in ranked.values())]
        for loss in sorted(first.ranks, key=first.ranks.get)
    ]
    p_values = ", ".join(f"{metric} p = {ranking.p:.4f}" for metric, ranking in ranked.items())
    smallest = max(first.smallest_p, 1 / (1 + RESAMPLES))
    distance = (
        f"Nemenyi's critical difference of two mean ranks is {first.critical_difference:.2f} at the 5 % level"
        if is_conclusive(first)
        else f"Nemenyi's critical difference ({first.critical_difference:.2f}) exceeds the largest possible difference "
        f"of two mean ranks ({len(first.ranks) - 1}): this few blocks cannot show which losses differ"
    )
    friedman = (
        f"Friedman, by permutation: {p_values}; the smallest p possible with this design is {smallest:.2g}. {distance}."
    )
    return "\n\n".join([" ".join(notes), table(["Loss", *ranked], body), friedman]) + "\n"
