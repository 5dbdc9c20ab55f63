"""The summary of a report in sentences: the significant differences, and a statement on the others."""

from collections.abc import Mapping, Sequence

import pandas as pd

from segloss.reports.comparisons import LEVEL, NAMES
from segloss.reports.markdown import text
from segloss.reports.summary import AXES, PAPER_METRICS

Titles = Mapping[str, Mapping[str, str]]
NAMED = 3  # more places than this are counted, not named


def summary(compared: pd.DataFrame, titles: Titles) -> str:
    """The significant differences of each metric from the baseline, losses first, in Markdown.

    Args:
        compared: As returned by `comparison_table`.
        titles: Titles of ``losses`` and ``labels``.
    """
    tested = compared[compared.p.notna()]
    if compared.empty:
        return ""
    if tested.empty:
        return "With one seed, differences are not tested, and any of them may be due to chance.\n"
    lines = [
        sentence
        for (_, baseline), rows in tested.groupby(["against", "baseline"], sort=False)
        for metric in PAPER_METRICS
        if (sentence := metric_sentences(rows[rows.metric == metric.name], metric.name, baseline, titles))
    ]
    return "\n".join(f"- {line}" for line in lines) + "\n"


def metric_sentences(rows: pd.DataFrame, metric: str, baseline: str, titles: Titles) -> str:
    """The significant differences in one metric from one baseline along one axis."""
    if rows.empty:
        return ""
    axis = rows["against"].iloc[0]
    higher = next(shown.higher_is_better for shown in PAPER_METRICS if shown.name == metric)
    down, _ = NAMES[axis]
    reference = text(titles[down][baseline])
    significant = rows[rows.p_holm < LEVEL]
    clauses = []
    for better in (True, False):
        some = significant[(significant.difference > 0) == (higher == better)]
        places: dict[str, list[str]] = {}
        for name in some[axis].unique():
            places.setdefault(place_words(some[some[axis] == name], rows[rows[axis] == name], axis, titles), []).append(
                text(titles[down][name])
            )
        word = "higher" if higher == better else "lower"
        verb = "beats" if better else "is worse than"
        for where, names in places.items():
            several = {"beats": "beat", "is worse than": "are worse than"}[verb] if len(names) > 1 else verb
            clauses.append(f"{enumerate_words(names)} {several} {reference} {where} ({word} {metric})")
    if not clauses:
        return f"{metric}: no difference from {reference} is significant ({len(rows)} tested)."
    other = len(rows) - len(significant)
    rest = {0: "Every difference tested is significant.", 1: "One other difference is not significant."}.get(
        other, f"No other of the {len(rows)} differences tested is significant."
    )
    return f"{metric}: {'; '.join(clauses)}. {rest}"


def place_words(some: pd.DataFrame, tested: pd.DataFrame, axis: str, titles: Titles) -> str:
    """The combinations of the other axes in which a difference is significant, in words."""
    other = "labels" if axis == "loss" else "loss"
    kind = "label scenario" if other == "labels" else "loss"
    single = len(tested[AXES[:3]].drop_duplicates()) == 1
    if len(some) == len(tested):
        if len(tested) == 1:
            return f"under {text(titles[NAMES[axis][1]][tested[other].iloc[0]])}"
        plural = {"label scenario": "label scenarios", "loss": "losses"}[kind]
        return (
            f"under {'both' if len(tested) == 2 else f'all {len(tested)}'} {plural}"
            if single
            else (f"in all {len(tested)} combinations of data set, model and {kind}")
        )
    if single and len(some) <= NAMED:
        return f"under {enumerate_words([text(titles[NAMES[axis][1]][name]) for name in some[other]])}"
    return f"in {len(some)} of {len(tested)} combinations of data set, model and {kind}"


def enumerate_words(words: Sequence[str]) -> str:
    """Words joined as in a sentence: a, b and c."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last
