"""From the results table to what people read: tables, intervals, tests and figures. Imports no torch."""

import shlex
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd

from segloss.files import write_text
from segloss.grid import Grid
from segloss.records.verification import RecordError
from segloss.reports.comparisons import comparison_table, markdown_differences
from segloss.reports.controls import with_controls, without_controls
from segloss.reports.drawings import draw_figures
from segloss.reports.evidence import Evidence, gather
from segloss.reports.headings import METRIC_SETS, metric_of
from segloss.reports.intervals import interval_table, markdown_intervals
from segloss.reports.latex import latex
from segloss.reports.markdown import text
from segloss.reports.page import write_index, write_page
from segloss.reports.paper import paper_tables
from segloss.reports.published_rows import published_elsewhere, published_rows
from segloss.reports.ranks import markdown_ranks, rankings
from segloss.reports.sentences import summary
from segloss.reports.summary import (
    CALIBRATION_METRICS,
    EDGE_METRICS,
    PAPER_METRICS,
    SOFT_METRICS,
    SURFACE_METRICS,
    summarise,
    tidy,
)
from segloss.reports.table_command import class_rows, families
from segloss.reports.tables import markdown_tables
from segloss.reports.terms import markdown_terms

SCALING = (
    "ECE before and after temperature scaling: one temperature for each trained model, fitted on the validation "
    "images, divides the logarithm of the probabilities that are evaluated. mIoU does not change.\n"
)
SOFT_TRUTH = (
    "mDice is taken against the hard truth, the others against the probability of each class: the mean of all raters "
    "who labelled the image or, where it is known, the true probability.\n"
)
EDGES = (
    "F of predicted boundaries against each rater's, within the data set's tolerance, at the best threshold "
    "for all images together (ODS) and at the best one for each image (OIS).\n"
)
SURFACES = "IoU of the pixels near the classes' boundaries, and the surface Dice, within the data set's tolerances.\n"
# Sections of further metrics: title, metrics, explanation. Each shows the data sets whose records have its last metric.
SECTIONS = (
    ("Calibration", CALIBRATION_METRICS, SCALING),
    ("Against the soft truth", SOFT_METRICS, SOFT_TRUTH),
    ("Drawn boundaries", EDGE_METRICS, EDGES),
    ("Boundaries of the classes", SURFACE_METRICS, SURFACES),
)


def origin(grid: Grid, provenance: Mapping[str, Any], results: Path, folder: Path) -> str:
    """The origin of the numbers, the last lines of a report; the command in it rebuilds the report without training."""
    versions = ", ".join(f"{name} {'/'.join(numbers)}" for name, numbers in provenance["versions"].items() if numbers)
    options = {"grid": grid.argument}
    for name, path in (("results", results), ("reports", folder.parent)):
        path = path.absolute()
        path = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
        if str(path) != name:
            options[name] = str(path)
    command = shlex.join(
        ["snakemake", "--cores", "all", "--config", *(f"{key}={value}" for key, value in options.items())]
    )
    return (
        f"Made by `{command}`: "
        f"{provenance['cells']} of {len(grid.cells)} cells trained, "
        f"{len(grid.skipped)} skipped; {provenance['hours']:.2f} hours of training and evaluation summed over cells, "
        f"at most {provenance['peak_memory_bytes'] / 2**30:.2f} GiB in one; "
        f"on {'; '.join(provenance['devices']) or 'no device'}; {versions}; "
        f"commit {', '.join(provenance['commits']) or 'none'}.\n"
    )


def header(provenance: Mapping[str, Any], seeds: int) -> str:
    """Seeds, evaluated weights, evaluation protocol and teachers, in one line under the title."""
    if not provenance["cells"]:
        return "Nothing has been trained yet.\n"
    protocols: dict[str, list[str]] = {}
    for dataset, protocol in provenance["protocols"].items():
        protocols.setdefault(protocol, []).append(dataset)
    evaluation = "; ".join(f"{', '.join(datasets)}: {protocol}" for protocol, datasets in protocols.items())
    teachers = f" Teachers: {'; '.join(provenance['teachers'])}." if provenance["teachers"] else ""
    weights = " and ".join(provenance["weights"])
    return f"Seeds: {seeds}. Weights evaluated: {weights}. Evaluation: {evaluation}.{teachers}\n"


def report(
    grid: Grid,
    table: Path,
    results: Path,
    data_root: Path,
    fingerprints: Mapping[tuple[str, str], Mapping[str, str]] | None = None,
) -> str:
    """Write the report of a grid next to its results.csv, after checking that this table matches the records.

    Args:
        grid: The grid.
        table: Its results.csv.
        results: Folder of the cells.
        data_root: Folder of the data sets, for pictures.
        fingerprints: As for `records.collect`.

    Returns:
        The text of table.md.

    Raises:
        RecordError: results.csv cannot be read or does not match the records, or a record is broken; in one sentence.
    """
    try:
        content = table.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RecordError(
            f"{table} must be a results.csv, it cannot be read ({reason}): collect it first with segloss collect"
        ) from None
    evidence = gather(grid, results, fingerprints)
    if content != evidence.table.to_csv(index=False):
        raise RecordError(f"{table} differs from the records: damaged, or older; collect it again")
    return write_report(grid, pd.read_csv(StringIO(content)), results, data_root, table.parent, evidence)


def latex_tables(
    grid: Grid, table: pd.DataFrame, evidence: Evidence, intervals: pd.DataFrame, compared: pd.DataFrame
) -> str:
    """Every table that a paper may need: for each set of metrics that the records have, and for the classes."""
    known = set(table.metric.dropna())
    classes = class_rows(grid, {**evidence.points, **evidence.controls})
    sets = {name: metrics for name, metrics in METRIC_SETS.items() if set(metrics) <= known}
    if len(classes):
        sets["classes"] = tuple(dict.fromkeys(classes.metric))
    content = pd.concat([table, classes], ignore_index=True) if len(classes) else table
    shared = {"groups": families(grid), "intervals": intervals, "comparisons": compared}
    return "\n".join(
        latex(paper_tables(content, list(map(metric_of, metrics)), grid.titles, **shared), f"tab:{grid.name}:{name}")
        for name, metrics in sets.items()
    )


def write_report(
    grid: Grid,
    table: pd.DataFrame,
    results: Path,
    data_root: Path,
    folder: Path,
    evidence: Evidence | None = None,
) -> str:
    """Write table.md, details.md, table.tex, the CSV files and the figures of a grid into a folder.

    Args:
        grid: The grid.
        table: The results table.
        results: Folder of the cells.
        data_root: Folder of the data sets, for pictures.
        folder: Folder to write into.
        evidence: Statistics of the records, if they have been gathered already.

    Returns:
        The text of table.md.
    """
    evidence = evidence or gather(grid, results)
    seeds = max(cell.seed for cell in grid.cells) + 1
    sections = [section for section in SECTIONS if (table.metric == section[1][-1].name).any()]
    metrics = dict.fromkeys([*PAPER_METRICS, *(metric for _, further, _ in sections for metric in further)])
    entries, trained = summarise(with_controls(table), list(metrics)), without_controls(table)
    compared, intervals = comparison_table(evidence.points), interval_table(evidence.points)
    ranked, left_out = rankings(trained)
    details = [f"# {text(grid.title)}: details\n"]
    for title, further, explanation in sections:
        measured = set(table.dataset[table.metric == further[-1].name])
        shown = {key: entry for key, entry in entries.items() if key[0] in measured}
        details += [f"## {title}\n", explanation, markdown_tables(shown, grid.titles, seeds, further)]
    if beside := published_elsewhere(grid, trained):
        details.append(beside)
    if len(intervals):
        details += ["## Intervals\n", markdown_intervals(intervals, grid.titles)]
    if len(compared):
        details += ["## Differences\n", markdown_differences(compared, grid.titles)]
    if ranked:
        details += ["## Ranks\n", markdown_ranks(ranked, left_out, grid.titles)]
    if evidence.terms:
        details += ["## Terms of the losses\n", markdown_terms(evidence.terms, grid.titles)]
    first_page = [
        f"# {text(grid.title)}\n",
        header(evidence.provenance, seeds),
        markdown_tables(entries, grid.titles, seeds),
        *([summary(compared, grid.titles)] if len(compared) else []),
        "Calibration, intervals, differences with their tests, and ranks: [details.md](details.md).\n",
        origin(grid, evidence.provenance, results, folder),
    ]
    write_text(folder / "table.md", "\n".join(first_page))
    write_text(folder / "details.md", "\n".join(details))
    write_text(folder / "table.tex", latex_tables(grid, table, evidence, intervals, compared))
    write_text(folder / "table.csv", tidy(entries).to_csv(index=False))
    write_text(folder / "intervals.csv", intervals.to_csv(index=False))
    write_text(folder / "comparisons.csv", compared.to_csv(index=False))
    draw_figures(grid, trained, evidence, intervals, ranked, results, data_root, folder)
    write_page(
        grid,
        table,
        results,
        folder,
        statistics=evidence.points,
        controls=evidence.controls,
        provenance=evidence.provenance,
        published=published_rows(grid),
    )
    write_index(folder.parent)
    return "\n".join(first_page)
