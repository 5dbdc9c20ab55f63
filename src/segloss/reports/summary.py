"""From the results table to one entry per table cell: mean and spread over seeds, or why there is no number."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from segloss.metrics import Metric, find_metric

AXES = ["dataset", "model", "schedule", "labels", "loss"]


PAPER_METRICS = (find_metric("mIoU"), find_metric("ECE"))
# Before and after the logits are divided by the temperature that fits the validation images best.
CALIBRATION_METRICS = (find_metric("ECE"), find_metric("ECE_scaled"))
# Against what all raters say, or the known truth; in a table of their own, where the records hold them.
SOFT_METRICS = tuple(find_metric(name) for name in ("mDice", "Dice_thresholds", "mDice_soft", "KL"))


@dataclass(frozen=True)
class Entry:
    """One cell of a table: what is known of one metric over the seeds.

    Attributes:
        mean: Mean over seeds; None without any.
        deviation: Sample standard deviation (ddof 1); None below two seeds.
        n: Number of seeds in the mean.
        reasons: For each seed that is not in the mean, or for the skipped cell, why.
        status: ``done``, ``skipped``, ``failed`` or ``missing``; ``done`` if any seed is.
        best: Whether no other loss of its column has a better mean, at the digits shown.
    """

    mean: float | None
    deviation: float | None
    n: int
    status: str
    reasons: tuple[str, ...] = field(default=())
    best: bool = False


def entry(rows: pd.DataFrame, metric: str) -> Entry:
    """The entry of one point of the grid (all its seeds) and one metric."""
    values = rows.loc[(rows.status == "done") & (rows.metric == metric), "value"]
    without = rows[rows.status != "done"]
    reasons = tuple(f"{row.status}: {row.reason}" for row in without.drop_duplicates(["status", "reason"]).itertuples())
    if values.empty:
        if without.empty:
            return Entry(None, None, 0, "missing", (f"missing: its records have no {metric}",))
        worst = next(
            status for status in ("failed", "blocked", "missing", "skipped") if (without.status == status).any()
        )
        return Entry(None, None, 0, worst, reasons)
    deviation = float(values.std(ddof=1)) if len(values) > 1 else None
    return Entry(float(values.mean()), deviation, len(values), "done", reasons)


def summarise(results: pd.DataFrame, metrics: Sequence[Metric] = PAPER_METRICS) -> dict[tuple[Any, ...], Entry]:
    """All entries of a grid, keyed by (dataset, model, schedule, labels, loss, metric), in the table's order.

    Best is decided within (dataset, model, schedule, labels, metric), among all losses.
    """
    entries = {
        (*point, metric.name): entry(rows, metric.name)
        for point, rows in results.groupby(AXES, sort=False)
        for metric in metrics
    }
    for metric in metrics:
        columns: dict[tuple[Any, ...], dict[tuple[Any, ...], float]] = {}
        for key, one in entries.items():
            if key[-1] == metric.name and one.mean is not None:
                columns.setdefault(key[:4], {})[key] = round(one.mean, metric.decimals)
        for means in columns.values():
            best = (max if metric.higher_is_better else min)(means.values())
            for key, mean in means.items():
                if mean == best:
                    entries[key] = Entry(**{**vars(entries[key]), "best": True})
    return entries


def tidy(entries: Mapping[tuple[Any, ...], Entry]) -> pd.DataFrame:
    """The entries as a table for machines, unrounded: one row each."""
    rows = [
        {
            **dict(zip([*AXES, "metric"], key, strict=True)),
            "mean": one.mean,
            "sample_standard_deviation": one.deviation,
            "n": one.n,
            "status": one.status,
            "reasons": "; ".join(one.reasons),
        }
        for key, one in entries.items()
    ]
    return pd.DataFrame(rows)
