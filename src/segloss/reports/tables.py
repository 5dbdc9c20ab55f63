"""Paper tables in Markdown and LaTeX: one for each data set and model, losses down, labels and metrics across."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from segloss.metrics import Metric
from segloss.reports.summary import PAPER_METRICS, Entry

SIGNS = {"skipped": "–", "failed": "failed", "blocked": "blocked", "missing": "…"}
SPREAD = "Mean ± sample standard deviation (ddof 1) over n seeds; best mean of each column in bold. Percent."


class Notes:
    """Numbered footnotes: the same reason is the same note."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def number(self, text: str) -> int:
        """The number of that note, new or old."""
        if text not in self.texts:
            self.texts.append(text)
        return self.texts.index(text) + 1


def layout(entries: Mapping[tuple[Any, ...], Entry]) -> dict[tuple[str, str, str], tuple[list[str], list[str]]]:
    """For each (dataset, model, schedule) its losses and its kinds of label, in the grid's order."""
    tables: dict[tuple[str, str, str], tuple[list[str], list[str]]] = {}
    for dataset, model, schedule, labels, loss, _ in entries:
        losses, columns = tables.setdefault((dataset, model, schedule), ([], []))
        if loss not in losses:
            losses.append(loss)
        if labels not in columns:
            columns.append(labels)
    return tables


def text(one: Entry, metric: Metric, seeds: int, notes: Notes) -> tuple[str, list[int]]:
    """An entry as plain text, and the numbers of its notes. n is shown where it is not the grid's."""
    marks = [notes.number(reason) for reason in one.reasons]
    if one.mean is None:
        return SIGNS[one.status], marks
    value = f"{one.mean:.{metric.decimals}f}"
    if one.deviation is not None:
        value += f" ± {one.deviation:.{metric.decimals}f}"
    return value + (f" (n={one.n})" if one.n != seeds else ""), marks


def markdown(
    entries: Mapping[tuple[Any, ...], Entry],
    titles: Mapping[str, Mapping[str, str]],
    seeds: int,
    metrics: Sequence[Metric] = PAPER_METRICS,
) -> str:
    """The tables in Markdown, with their notes."""
    notes, parts = Notes(), []
    for (dataset, model, schedule), (losses, columns) in layout(entries).items():
        head = [f"{titles['labels'][labels]}: {metric.title}" for labels in columns for metric in metrics]
        lines = [
            f"**{dataset}, {model}** (schedule {schedule}, n = {seeds})",
            "",
            "| Loss | " + " | ".join(head) + " |",
        ]
        lines.append("|:--" + "|--:" * len(head) + "|")
        for loss in losses:
            cells = []
            for labels in columns:
                for metric in metrics:
                    one = entries[dataset, model, schedule, labels, loss, metric.name]
                    shown, marks = text(one, metric, seeds, notes)
                    shown = f"**{shown}**" if one.best else shown
                    cells.append(shown + "".join(f"<sup>{mark}</sup>" for mark in marks))
            lines.append(f"| {titles['losses'][loss]} | " + " | ".join(cells) + " |")
        parts.append("\n".join(lines))
    footnotes = "\n".join(f"{number}. {note}" for number, note in enumerate(notes.texts, 1))
    return "\n\n".join([*parts, SPREAD, *([footnotes] if footnotes else [])]) + "\n"


def escape(plain: str) -> str:
    """Plain text as LaTeX."""
    special = {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "↑": r"$\uparrow$",
        "↓": r"$\downarrow$",
    }
    special |= {sign: f"\\{sign}" for sign in "&%$#_{}"} | {"±": r"$\pm$", "–": "--", "…": r"\dots{}"}
    return "".join(special.get(sign, sign) for sign in plain)


def latex(
    entries: Mapping[tuple[Any, ...], Entry],
    titles: Mapping[str, Mapping[str, str]],
    seeds: int,
    metrics: Sequence[Metric] = PAPER_METRICS,
    prefix: str = "tab",
) -> str:
    r"""The tables in LaTeX, their labels beginning with ``prefix``; they need ``\usepackage{booktabs}`` alone."""
    parts = [r"% \usepackage{booktabs}"]
    for (dataset, model, schedule), (losses, columns) in layout(entries).items():
        notes, body, bold = Notes(), [], []
        for loss in losses:
            cells, styles = [], []
            for labels in columns:
                for metric in metrics:
                    one = entries[dataset, model, schedule, labels, loss, metric.name]
                    shown, marks = text(one, metric, seeds, notes)
                    note = rf"\textsuperscript{{{','.join(map(str, marks))}}}" if marks else ""
                    cells.append(escape(shown) + note)
                    styles.append("textbf:--rwrap;" if one.best else "")
            body.append(cells)
            bold.append(styles)
        head = pd.MultiIndex.from_tuples(
            [(escape(titles["labels"][labels]), escape(metric.title)) for labels in columns for metric in metrics]
        )
        frame = pd.DataFrame(body, index=[escape(titles["losses"][loss]) for loss in losses], columns=head)
        marked = pd.DataFrame(bold, index=frame.index, columns=frame.columns)
        caption = f"{dataset}, {model} (schedule {schedule}, n = {seeds}). {SPREAD}"
        footnotes = " ".join(
            rf"\textsuperscript{{{number}}}\,{escape(note)}." for number, note in enumerate(notes.texts, 1)
        )
        parts.append(
            frame.style.apply(lambda _, marked=marked: marked, axis=None).to_latex(
                hrules=True,
                multicol_align="c",
                column_format="l" + "r" * len(head),
                position="t",
                position_float="centering",
                caption=f"{escape(caption)} {footnotes}".strip(),
                label=f"{prefix}:{dataset}-{model}-{schedule}",
            )
        )
    return "\n".join(parts)
