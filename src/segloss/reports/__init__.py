"""From the results table to what people read: tables in Markdown, LaTeX and CSV, and a picture. Imports no torch."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from segloss import records
from segloss.datasets import DATASETS, find, locate
from segloss.files import write_text
from segloss.grid import Grid
from segloss.reports import comparisons, diagrams, figures, intervals, ranks, tables
from segloss.reports.summary import CALIBRATION_METRICS, PAPER_METRICS, SOFT_METRICS, summarise, tidy

SCALING = (
    "ECE before and after temperature scaling: one temperature for each trained model, fitted on the validation "
    "images, divides the logarithm of the probabilities that are evaluated. mIoU stays as it is.\n"
)
SOFT_TRUTH = (
    "mDice is taken against the hard truth, the others against the probability of each class: the mean of all raters "
    "who labelled the image, or where it is known the truth itself.\n"
)


def origin(asked: Grid, made: dict[str, Any]) -> str:
    """Where the numbers come from, as the last lines of a report."""
    versions = ", ".join(f"{package} {'/'.join(found)}" for package, found in made["versions"].items() if found)
    return (
        f"Made by `snakemake --cores all --config grid={asked.name}`: "
        f"{made['cells']} of {len(asked.cells)} cells trained, "
        f"{len(asked.skipped)} skipped; {made['hours']:.2f} hours of training and evaluation summed over cells, "
        f"at most {made['peak_memory_bytes'] / 2**30:.2f} GiB in one; "
        f"on {'; '.join(made['devices']) or 'no device'}; {versions}; "
        f"commit {', '.join(made['commits']) or 'none'}.\n"
    )


def header(made: dict[str, Any], seeds: int) -> str:
    """What was evaluated and how, and who taught, in one line under the title."""
    if not made["cells"]:
        return "Nothing is trained yet.\n"
    protocols: dict[str, list[str]] = {}
    for dataset, protocol in made["protocols"].items():
        protocols.setdefault(protocol, []).append(dataset)
    how = "; ".join(f"{', '.join(datasets)}: {protocol}" for protocol, datasets in protocols.items())
    taught = f" Taught by {'; '.join(made['teachers'])}." if made["teachers"] else ""
    return f"Seeds: {seeds}. Weights evaluated: {' and '.join(made['weights'])}. Evaluation: {how}.{taught}\n"


def draw_reliability(asked: Grid, table: pd.DataFrame, results: Path, folder: Path) -> None:
    """reliability-<dataset>-<model>.png for every data set and model."""
    panels: dict[tuple[str, str], dict[str, dict[str, np.ndarray]]] = {}
    for (dataset, model, _, labels, loss), cells in intervals.done_cells(table).items():
        lines = panels.setdefault((dataset, model), {}).setdefault(asked.titles["labels"][labels], {})
        lines[asked.titles["losses"][loss]] = intervals.stacked(cells, results).calibration.sum((0, 1))
    for (dataset, model), found in panels.items():
        diagrams.reliability(folder / f"reliability-{dataset}-{model}.png", found)


def report_ranks(asked: Grid, table: pd.DataFrame, folder: Path) -> list[str]:
    """The section on ranks; ranks-<metric>.png where there are enough blocks for a difference to show."""
    found, left_out = ranks.rankings(table)
    for metric in PAPER_METRICS:
        path = folder / f"ranks-{metric.name}.png"
        if metric.name in found and ranks.tells(found[metric.name]):
            diagrams.critical_difference(path, found[metric.name], metric.name, asked.titles["losses"])
        else:
            path.unlink(missing_ok=True)
    return ["## Ranks\n", ranks.markdown(found, left_out, asked.titles)] if found else []


def draw_predictions(asked: Grid, results: Path, data_root: Path, folder: Path) -> None:
    """predictions-<dataset>-<model>.png for every data set and model: the first kind of label, seed 0, every loss."""
    sources = {experiment.cell.dataset: experiment.source for experiment in asked.experiments}
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
                predicted[asked.titles["losses"][cell.loss]] = dict(maps)
        split = records.read(results / str(cells[0]) / "record.json")["data"]["split"]
        source = find(sources[dataset)]
        figures.predictions(
            folder / f"predictions-{dataset}-{model}.png", source, locate(source.name, data_root), split, predicted
        )


def write_report(asked: Grid, table: pd.DataFrame, results: Path, data_root: Path, folder: Path) -> str:
    """Write table.md, table.tex, table.csv, intervals.csv, comparisons.csv and the pictures of a grid into a folder.

    Returns:
        The text of table.md.
    """
    made = records.provenance(asked, results)
    seeds = max(cell.seed for cell in asked.cells) + 1
    # For each further section its metrics, its explanation, and the prefix of its label in LaTeX.
    more = {
        "Calibration": (CALIBRATION_METRICS, SCALING, "tab-calibration"),
        "Against the soft truth": (SOFT_METRICS, SOFT_TRUTH, "tab-soft"),
    }
    more = {title: of for title, of in more.items() if (table.metric == of[0][-1].name).any()}
    shown = dict.fromkeys([*PAPER_METRICS, *(metric for metrics, *_ in more.values() for metric in metrics)])
    entries = summarise(table, list(shown))
    compared = pd.concat(
        [comparisons.compare_along(axis, table, results) for axis in ("loss", "labels")], ignore_index=True
    )
    bounds = intervals.intervals(table, results)
    parts = [f"# {asked.title}\n", header(made, seeds), tables.markdown(entries, asked.titles, seeds)]
    latex = [tables.latex(entries, asked.titles, seeds)]
    for title, (metrics, explanation, label) in more.items():
        parts += [f"## {title}\n", explanation, tables.markdown(entries, asked.titles, seeds, metrics)]
        latex.append(tables.latex(entries, asked.titles, seeds, metrics, label))
    if len(bounds):
        parts += ["## Intervals\n", intervals.markdown(bounds, asked.titles)]
    if len(compared):
        parts += ["## Differences\n", comparisons.markdown(compared, asked.titles)]
    parts += report_ranks(asked, table, folder)
    text = "\n".join([*parts, origin(asked, made)])
    write_text(folder / "table.md", text)
    write_text(folder / "table.tex", "\n".join(latex))
    write_text(folder / "table.csv", tidy(entries).to_csv(index=False))
    write_text(folder / "intervals.csv", bounds.to_csv(index=False))
    write_text(folder / "comparisons.csv", compared.to_csv(index=False))
    draw_reliability(asked, table, results, folder)
    draw_predictions(asked, results, data_root, folder)
    return text
