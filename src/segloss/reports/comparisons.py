"""Which differences between losses are more than chance: each loss against the grid's first, on the same images."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from segloss.grid import Cell
from segloss.integrity import RecordError
from segloss.reports.intervals import done_cells, stacked
from segloss.reports.statistics import compare, holm, pseudo_values

TABLE = ["dataset", "model", "schedule", "labels"]


def compare_losses(table: pd.DataFrame, results: Path) -> pd.DataFrame:
    """The difference in mIoU of every loss from the first of its column, for other images and other seeds.

    Args:
        table: The results table.
        results: Folder of the cells, whose counts say how each image fared.

    Returns:
        A row for each (dataset, model, schedule, labels, loss) but the first loss: difference in points of mIoU, its
        95 % interval, p, and ``p_holm`` adjusted over all rows. Interval and p are empty where a loss has one seed.

    Raises:
        RecordError: if losses were evaluated on different images.
    """
    columns: dict[tuple[str, ...], dict[str, list[Cell]]] = {}
    for (*point, loss), cells in done_cells(table).items():
        columns.setdefault(tuple(point), {})[loss] = cells
    rows = []
    for point, losses in columns.items():
        first, *others = losses
        reference = stacked(losses[first], results)
        baseline = pseudo_values(reference.overlap)
        for loss in others:
            counts = stacked(losses[loss], results)
            if counts.names != reference.names:
                where = "/".join(point)
                raise RecordError(
                    f"{loss} and {first} of {where} were evaluated on different images: they cannot be compared"
                )
            found = asdict(compare(pseudo_values(counts.overlap), baseline))
            kept = {name: found[name] for name in ("difference", "low", "high", "p", "images", "seeds")}
            rows.append(dict(zip(TABLE, point, strict=True)) | {"loss": loss, "baseline": first} | kept)
    names = [*TABLE, "loss", "baseline", "difference", "low", "high", "p", "images", "seeds"]
    compared = pd.DataFrame(rows, columns=names)
    known = compared.p.notna()
    compared["p_holm"] = np.nan
    if known.any():
        compared.loc[known, "p_holm"] = holm(compared.loc[known, "p"].astype(float).to_numpy())
    return compared


def markdown(compared: pd.DataFrame, titles: Mapping[str, Mapping[str, str]]) -> str:
    """The differences in Markdown, laid out as the tables are; a star where Holm's p is below .05."""
    parts = []
    for (dataset, model, schedule, baseline), rows in compared.groupby([*TABLE[:3], "baseline"], sort=False):
        labels = list(dict.fromkeys(rows.labels))
        head = " | ".join(titles["labels"][name] for name in labels)
        title = f"**{dataset}, {model}** (schedule {schedule}): mIoU minus that of {titles['losses'][baseline]}"
        lines = [title, "", f"| Loss | {head} |", "|:--|" + "--:|" * len(labels)]
        for loss in dict.fromkeys(rows.loss):
            of_loss = rows[rows.loss == loss].set_index("labels")
            cells = [entry(of_loss.loc[name]) if name in of_loss.index else "–" for name in labels]
            lines.append(f"| {titles['losses'][loss]} | " + " | ".join(cells) + " |")
        parts.append("\n".join(lines))
    note = (
        "95 % interval for other images of the same kind and other seeds; p adjusted by Holm over the "
        f"{int(compared.p.notna().sum())} comparisons of this report, a star below .05. "
        "One data set says nothing of others."
    )
    return "\n\n".join([*parts, note]) + "\n"


def entry(row: pd.Series) -> str:
    """One difference with its interval and p."""
    if pd.isna(row.p):
        return f"{row.difference:+.2f} (one seed: no interval)"
    star = " *" if row.p_holm < 0.05 else ""
    p = f"p {row.p_holm:.3f}" if row.p_holm >= 0.001 else "p < 0.001"
    return f"{row.difference:+.2f} [{row.low:+.2f}, {row.high:+.2f}], {p}{star}"
