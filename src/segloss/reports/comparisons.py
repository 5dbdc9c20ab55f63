"""Which differences between losses are more than chance: each loss against the grid's first, on the same images."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from segloss.grid import Cell
from segloss.integrity import RecordError
from segloss.reports.statistics import compare, holm, pseudo_values

TABLE = ["dataset", "model", "schedule", "labels"]


def image_counts(cells: Sequence[Cell], results: Path) -> tuple[list[str], np.ndarray]:
    """Names of the images and their true positives, labelled and predicted pixels, (images, seeds, 3, classes).

    Raises:
        RecordError: if the seeds were evaluated on different images.
    """
    names, counts = [], []
    for cell in cells:
        with np.load(results / str(cell) / "counts.npz") as file:
            names.append(file["names"].tolist())
            counts.append(np.stack([file[f"row_{row}"] for row in ("true_positives", "labelled", "predicted")], axis=1))
        if names[-1] != names[0]:
            raise RecordError(f"{cell} and {cells[0]} were evaluated on different images: they cannot be compared")
    return names[0], np.stack(counts, axis=1)


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
    axes = list(Cell.__dataclass_fields__)
    done = table.loc[table.status == "done", axes].drop_duplicates()
    rows = []
    for point, column in done.groupby(TABLE, sort=False):
        losses = {
            loss: [Cell(*cell) for cell in seeds[axes].itertuples(index=False)]
            for loss, seeds in column.groupby("loss", sort=False)
        }
        first, *others = losses
        names, counts = image_counts(losses[first], results)
        baseline = pseudo_values(counts)
        for loss in others:
            of_loss, counts = image_counts(losses[loss], results)
            if of_loss != names:
                where = "/".join(point)
                raise RecordError(
                    f"{loss} and {first} of {where} were evaluated on different images: they cannot be compared"
                )
            found = asdict(compare(pseudo_values(counts), baseline))
            kept = {name: found[name] for name in ("difference", "low", "high", "p", "images", "seeds")}
            rows.append(dict(zip(TABLE, point, strict=True)) | {"loss": loss, "baseline": first} | kept)
    columns = [*TABLE, "loss", "baseline", "difference", "low", "high", "p", "images", "seeds"]
    compared = pd.DataFrame(rows, columns=columns)
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
