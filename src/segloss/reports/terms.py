"""The terms of compound losses: how large each term's gradient is in the course of a training."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from segloss.reports.markdown import table, text
from segloss.reports.points import Point

# The norm of the gradient of each term, by iteration.
Norms = Mapping[int, Mapping[str, float]]
KEY = ("train/decode.", ".gradient_norm")
EXPLANATION = (
    "The norm of each term's gradient at the logits of the decode head, its weight included, as a share of the sum "
    "over the terms; mean over seeds, at the first, a middle and the last logged iteration. A term with a small share "
    "has little influence on the update.\n"
)
NO_GRADIENT = (
    "\n–: in at least one seed no term had a gradient; pseudo-labels, for example, are all ignored until the teacher "
    "is confident. With several targets the norms are those against the last: the teacher's or the pseudo-labels.\n"
)


def term_norms(record: Mapping[str, Any]) -> Norms:
    """The gradient norms that a training logged of its loss's terms; empty for a loss of one term."""
    start, end = KEY
    norms = {
        row["iteration"]: {
            key.removeprefix(start).removesuffix(end): value
            for key, value in row.items()
            if key.startswith(start) and key.endswith(end)
        }
        for row in record["training"]["rows"]
    }
    return {iteration: terms for iteration, terms in norms.items() if terms}


def markdown_terms(norms: Mapping[Point, Sequence[Norms]], titles: Mapping[str, Mapping[str, str]]) -> str:
    """A table of the shares of each point's terms; points whose seeds share no logged iteration are left out."""
    body = []
    for (dataset, model, _, labels, loss), seeds in norms.items():
        logged = sorted(set.intersection(*map(set, seeds)))
        if not logged:
            continue
        columns = []
        for iteration in (logged[0], logged[len(logged) // 2], logged[-1]):
            of_seeds = np.array([list(seed[iteration].values()) for seed in seeds])
            totals = of_seeds.sum(1, keepdims=True)
            columns.append(100 * (of_seeds / totals).mean(0) if totals.all() else None)
        where = [text(dataset), text(model), text(titles["labels"][labels]), text(titles["losses"][loss])]
        for place, term in enumerate(seeds[0][logged[0]]):
            shares = ["–" if column is None else f"{column[place]:.0f}" for column in columns]
            body.append([*where, text(term), *shares])
            where = [""] * len(where)
    head = ["Data set", "Model", "Labels", "Loss", "Term", "first (%)", "middle (%)", "last (%)"]
    note = NO_GRADIENT if any("–" in row for row in body) else ""
    return f"{EXPLANATION}\n{table(head, body, left=5)}\n{note}"
