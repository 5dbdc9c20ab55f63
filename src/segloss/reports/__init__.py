"""From the results table to what people read: tables in Markdown, LaTeX and CSV, and a picture. Imports no torch."""

from pathlib import Path

import numpy as np
import pandas as pd

from segloss import configs, records
from segloss.configs import titles
from segloss.datasets import DATASETS, locate
from segloss.files import write_text
from segloss.grid import Grid
from segloss.reports import comparisons, figures, tables
from segloss.reports.summary import PAPER_METRICS, SOFT_METRICS, summarise, tidy

SOFT_TRUTH = (
    "mDice is taken against the hard truth, the others against the probability of each class: the mean of all raters "
    "who labelled the image, or where it is known the truth itself.\n"
)


def origin(asked: Grid, results: Path) -> str:
    """Where the numbers come from, as the last lines of a report."""
    made = records.provenance(asked, results)
    versions = ", ".join(f"{package} {'/'.join(found)}" for package, found in made["versions"].items() if found)
    return (
        f"Made by `snakemake --cores all --config grid={asked.name}`: "
        f"{made['cells']} of {len(asked.cells)} cells trained, "
        f"{len(asked.skipped)} skipped; {made['hours']:.2f} hours of training and evaluation summed over cells, "
        f"at most {made['peak_memory_bytes'] / 2**30:.2f} GiB in one; "
        f"on {'; '.join(made['devices']) or 'no device'}; {versions}; "
        f"commit {', '.join(made['commits']) or 'none'}.\n"
    )


def draw_predictions(asked: Grid, results: Path, data_root: Path, folder: Path) -> None:
    """predictions-<dataset>-<model>.png for every data set and model: the first kind of label, seed 0, every loss."""
    for dataset, model in dict.fromkeys((cell.dataset, cell.model) for cell in asked.cells):
        cells = [cell for cell in asked.cells if (cell.dataset, cell.model, cell.seed) == (dataset, model, 0)]
        cells = [
            cell
            for cell in cells
            if cell.labels == cells[0].labels and (results / str(cell) / "predictions.npz").exists()
        ]
        if not cells:
            continue
        predicted = {}
        for cell in cells:
            with np.load(results / str(cell) / "predictions.npz") as maps:
                predicted[titles()["losses"][cell.loss]] = dict(maps)
        split = records.read(results / str(cells[0]) / "record.json")["data"]["split"]
        source = DATASETS[configs.dataset_source(dataset)]
        figures.predictions(
            folder / f"predictions-{dataset}-{model}.png", source, locate(source.name, data_root), split, predicted
        )


def write_report(asked: Grid, table: pd.DataFrame, results: Path, data_root: Path, folder: Path) -> str:
    """Write table.md, table.tex, table.csv, comparisons.csv and the pictures of a grid into a folder.

    Returns:
        The text of table.md.
    """
    soft = SOFT_METRICS if (table.metric == "KL").any() else ()
    entries = summarise(table, [*PAPER_METRICS, *soft])
    seeds = max(cell.seed for cell in asked.cells) + 1
    compared = comparisons.compare_losses(table, results)
    parts = [f"# {asked.title}\n", tables.markdown(entries, titles(), seeds)]
    if soft:
        parts += ["## Against the soft truth\n", SOFT_TRUTH, tables.markdown(entries, titles(), seeds, soft)]
    if len(compared):
        parts += ["## Differences\n", comparisons.markdown(compared, titles())]
    text = "\n".join([*parts, origin(asked, results)])
    write_text(folder / "table.md", text)
    latex = [tables.latex(entries, titles(), seeds)]
    latex += [tables.latex(entries, titles(), seeds, soft, "tab-soft")] if soft else []
    write_text(folder / "table.tex", "\n".join(latex))
    write_text(folder / "table.csv", tidy(entries).to_csv(index=False))
    write_text(folder / "comparisons.csv", compared.to_csv(index=False))
    draw_predictions(asked, results, data_root, folder)
    return text
