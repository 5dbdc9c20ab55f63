"""Published numbers of a grid's cells, as rows for its page and its tables, and those of other models."""

from typing import Any

import pandas as pd

from segloss.grid import Grid
from segloss.grid.cells import split_variant
from segloss.records.published import published
from segloss.reports.markdown import table, text

# The names that sources use for mixes of one quarter and three quarters.
SAME_LOSS = {"CE + Dice 1:3": "CE + Dice", "CE+Tversky 1:3": "CE + Tversky"}


def published_rows(grid: Grid) -> list[dict[str, Any]]:
    """The published mIoU of the grid's data sets, models and losses where known, in percent.

    Losses are matched by their titles, which are those of the papers.
    """
    names, rows = {title: name for name, title in grid.titles["losses"].items()}, []
    for experiment in {(entry.source, entry.cell.model): entry for entry in grid.experiments}.values():
        cell = experiment.cell
        numbers = published(experiment.source, model=split_variant(cell.model)[0], metric="mIoU")
        for row in numbers.to_dict("records"):
            value = row["value"] * (100 if row["unit"] == "fraction" else 1)
            axes = {"dataset": cell.dataset, "model": cell.model, "labels": "hard", "loss": names.get(row["loss"])}
            rows.append({**axes, "metric": "mIoU", "value": value, "source": f"{row['source']}: {row['note']}"})
    return rows


def published_elsewhere(grid: Grid, results: pd.DataFrame) -> str:
    """The foreground Dice of the grid's losses next to numbers published for the same images with other models.

    A table in Markdown with a sentence for each source on what differs; empty where nothing was published.
    """
    names = {title: name for name, title in grid.titles["losses"].items()}
    measured = results[(results.metric == "Dice_fg") & (results.labels == "hard")]
    rows, notes = [], {}
    for source, dataset in dict.fromkeys((entry.source, entry.cell.dataset) for entry in grid.experiments):
        for number in published(source, metric="Dice").itertuples():
            title = SAME_LOSS.get(number.loss, number.loss)
            here = measured[(measured.dataset == dataset) & (measured.loss == names.get(title))]
            for model, values in here.groupby("model").value:
                spread = f" ± {values.std(ddof=1):.2f}" if len(values) > 1 else ""
                link = f"[{text(number.source)}]({number.url})"
                numbers = f"{values.mean():.2f}{spread}", f"{number.value:.2f}"
                rows.append([text(title), text(model), *numbers, text(number.model), link])
                notes[number.source] = number.note
    if not rows:
        return ""
    head = ["Loss", "Model", "Dice (fg) ↑", "Published", "Its model", "Source"]
    differing = "\n".join(f"- {text(source)}: {text(note)}" for source, note in notes.items())
    return (
        f"## Published with other models\n\n{table(head, rows, left=2)}\n\n"
        f"The models and schedules are not those of this grid. Other differences:\n\n{differing}\n"
    )
