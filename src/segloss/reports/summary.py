"""From the results table to one entry per table cell: mean and spread over seeds, or why there is no number."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from segloss.grid.controls import CONTROLS
from segloss.metrics import Metric, find_metric

AXES = ["dataset", "model", "schedule", "labels", "loss"]

PAPER_METRICS = (find_metric("mIoU"), find_metric("ECE"))
# Before and after temperature scaling, fitted on the validation images.
CALIBRATION_METRICS = (find_metric("ECE"), find_metric("ECE_scaled"))
EDGE_METRICS = tuple(find_metric(name) for name in ("ODS", "OIS"))
SURFACE_METRICS = tuple(find_metric(name) for name in ("mBoundaryIoU", "mNSD"))
# Against the raters' mean or the known probabilities; in a table of their own, where the records have them.
SOFT_METRICS = tuple(find_metric(name) for name in ("mDice", "Dice_thresholds", "mDice_soft", "KL"))
# An entry without a number has the first of these states that one of its seeds has.
WORST_FIRST = ("failed", "blocked", "stopped", "stale", "running", "waiting", "missing", "skipped")


@dataclass(frozen=True)
class Entry:
    """One cell of a table: one metric of one point, over the seeds.

    Attributes:
        mean: Mean over seeds; None without any.
        deviation: Sample standard deviation (ddof 1); None below two seeds.
        n: Number of seeds in the mean; 0 for a control, which has none.
        status: ``done`` if any seed is, else the state of its seeds that comes first in ``WORST_FIRST``.
        reasons: For each seed that is not in the mean, or for the skipped cell, the state and its reason.
        place: 1 for the best mean of its column at the digits shown, 2 for the second; ties share a place.
    """

    mean: float | None
    deviation: float | None
    n: int
    status: str
    reasons: tuple[str, ...] = ()
    place: int | None = None

    @property
    def best(self) -> bool:
        """True if no other loss of its column has a better mean, at the digits shown."""
        return self.place == 1


def summarise_point(rows: pd.DataFrame, metrics: Sequence[Metric]) -> Iterator[Entry]:
    """The entry of each metric from the rows of one point of the grid, all its seeds."""
    done = rows.status == "done"
    absent = rows[~done]
    reasons = tuple(f"{row.status}: {row.reason}" for row in absent.drop_duplicates(["status", "reason"]).itertuples())
    measured: dict[str, list[float]] = {}
    for name, value in zip(rows.metric[done], rows.value[done], strict=True):
        measured.setdefault(name, []).append(value)
    for metric in metrics:
        values = pd.Series(measured.get(metric.name, []), dtype=float)
        if len(values):
            deviation = float(values.std(ddof=1)) if len(values) > 1 else None
            yield Entry(float(values.mean()), deviation, len(values), "done", reasons)
        elif absent.empty:
            yield Entry(None, None, 0, "missing", (f"missing: its records have no {metric.name}",))
        else:
            yield Entry(None, None, 0, min(set(absent.status), key=WORST_FIRST.index), reasons)


def summarise(
    results: pd.DataFrame, metrics: Sequence[Metric] = PAPER_METRICS, axes: Sequence[str] = AXES, rows: str = "loss"
) -> dict[tuple[str, ...], Entry]:
    """All entries of a results table, keyed by the axes and the metric, in the table's order.

    Args:
        results: The results table.
        metrics: The metrics.
        axes: The columns that identify a point.
        rows: The axis down the table: places are given within a column, among all its values except controls.
    """

    def is_control(key: tuple[str, ...]) -> bool:
        return "loss" in axes and key[list(axes).index("loss")] in CONTROLS

    entries: dict[tuple[str, ...], Entry] = {}
    for point, seeds in results.groupby(list(axes), sort=False):
        for metric, entry in zip(metrics, summarise_point(seeds, metrics), strict=True):
            entries[*point, metric.name] = replace(entry, n=0) if is_control(point) else entry
    down = list(axes).index(rows)
    for metric in metrics:
        columns: dict[tuple[str, ...], dict[tuple[str, ...], float]] = {}
        for key, entry in entries.items():
            if key[-1] == metric.name and entry.mean is not None and not is_control(key):
                columns.setdefault((*key[:down], *key[down + 1 :]), {})[key] = round(entry.mean, metric.decimals)
        for means in columns.values():
            # Rounded first: two numbers that a reader sees as equal share a place.
            order = sorted(set(means.values()), reverse=metric.higher_is_better)
            for key, mean in means.items():
                entries[key] = replace(entries[key], place=place if (place := order.index(mean) + 1) <= 2 else None)
    return entries


def tidy(entries: Mapping[tuple[str, ...], Entry]) -> pd.DataFrame:
    """The entries as a table for machines, unrounded: one row each."""
    rows = [
        {
            **dict(zip([*AXES, "metric"], key, strict=True)),
            "mean": entry.mean,
            "sample_standard_deviation": entry.deviation,
            "n": entry.n,
            "status": entry.status,
            "reasons": "; ".join(entry.reasons),
        }
        for key, entry in entries.items()
    ]
    return pd.DataFrame(rows)
