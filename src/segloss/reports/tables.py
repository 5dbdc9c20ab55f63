"""The tables of a report in Markdown: one for each data set and model, losses down, label scenarios and metrics across.

`segloss.reports.paper` makes the same tables in the form that a paper prints.
"""

from collections.abc import Mapping, Sequence

from segloss.grid.controls import CONTROLS, MEANING
from segloss.metrics import Metric
from segloss.reports.markdown import table, text
from segloss.reports.summary import PAPER_METRICS, Entry

ABSENT = Entry(None, None, 0, "missing")
SIGNS = {"skipped": "–", "missing": "…"}  # other states are written out
SPREAD = "Mean ± sample standard deviation (ddof 1) over n seeds; best mean of each column in bold. Percent."


class Notes:
    """Numbered footnotes: equal reasons share a note."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def number(self, reason: str) -> int:
        """The number of the note with that text, a new one if there is none yet."""
        if reason not in self.texts:
            self.texts.append(reason)
        return self.texts.index(reason) + 1


def layout(entries: Mapping[tuple[str, ...], Entry]) -> dict[tuple[str, str, str], tuple[list[str], list[str]]]:
    """For each (dataset, model, schedule) its losses and its label scenarios, in the grid's order."""
    tables: dict[tuple[str, str, str], tuple[list[str], list[str]]] = {}
    for dataset, model, schedule, labels, loss, _ in entries:
        losses, columns = tables.setdefault((dataset, model, schedule), ([], []))
        if loss not in losses:
            losses.append(loss)
        if labels not in columns:
            columns.append(labels)
    return tables


def format_entry(entry: Entry, metric: Metric, seeds: int) -> str:
    """An entry as plain text; n is shown where it is not the grid's number of seeds."""
    if entry.mean is None:
        return SIGNS.get(entry.status, entry.status)
    value = f"{entry.mean:.{metric.decimals}f}"
    if entry.deviation is not None:
        value += f" ± {entry.deviation:.{metric.decimals}f}"
    return value + (f" (n={entry.n})" if entry.n not in (0, seeds) else "")


def markdown_cell(entry: Entry, metric: Metric, seeds: int, notes: Notes) -> str:
    """An entry in Markdown, bold if it is the best of its column, with the numbers of its notes."""
    value = format_entry(entry, metric, seeds)
    value = f"**{value}**" if entry.best else value
    return value + "".join(f"<sup>{notes.number(reason)}</sup>" for reason in entry.reasons)


def markdown_tables(
    entries: Mapping[tuple[str, ...], Entry],
    titles: Mapping[str, Mapping[str, str]],
    seeds: int,
    metrics: Sequence[Metric] = PAPER_METRICS,
) -> str:
    """The tables with their notes.

    Args:
        entries: As returned by `summarise`.
        titles: Titles of ``losses`` and ``labels``.
        seeds: Number of seeds of the grid.
        metrics: The metrics of each label scenario.
    """
    notes, parts = Notes(), []
    for (dataset, model, schedule), (losses, columns) in layout(entries).items():
        parts.append(f"**{text(dataset)}, {text(model)}** (schedule {text(schedule)}, n = {seeds})")
        head = [f"{titles['labels'][labels]}: {metric.title}" for labels in columns for metric in metrics]
        body = [
            [
                text(titles["losses"][loss]),
                *(
                    markdown_cell(
                        entries.get((dataset, model, schedule, labels, loss, metric.name), ABSENT), metric, seeds, notes
                    )
                    for labels in columns
                    for metric in metrics
                ),
            ]
            for loss in losses
        ]
        parts.append(table(["Loss", *head], body))
    footnotes = "\n".join(f"{number}. {text(note)}" for number, note in enumerate(notes.texts, 1))
    controls = [MEANING] if any(key[4] in CONTROLS for key in entries) else []
    return "\n\n".join([*parts, " ".join([SPREAD, *controls]), *([footnotes] if footnotes else [])]) + "\n"
