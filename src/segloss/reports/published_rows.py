"""Published numbers of a grid's cells, as rows for its page and its tables."""

from typing import Any

from segloss.grid import Grid
from segloss.grid.cells import split_variant
from segloss.records.published import published


def published_rows(grid: Grid) -> list[dict[str, Any]]:
    """The published mIoU of the grid's data sets, models and losses, as far as any is known, in percent.

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
