"""One pass over the records and counts of a grid, from which a whole report is made."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from segloss.grid import Cell, Grid
from segloss.metrics import ImageCounts, image_counts
from segloss.records import EvaluatedCell, evaluated_cells, records_provenance, results_table
from segloss.reports.curves import Curve, training_curves
from segloss.reports.points import Point, PointStatistics, point_of, point_statistics
from segloss.reports.terms import Norms, term_norms


@dataclass(frozen=True)
class Evidence:
    """Everything that a report takes from records and counts; small compared with them.

    Attributes:
        table: The results table.
        points: Statistics of each point.
        controls: Statistics of each control, for tables only: nothing is compared with controls.
        curves: Training loss and validation mIoU of each seed of each point.
        terms: Gradient norms of the loss's terms, for each seed of each point whose seeds all logged them.
        provenance: Commits, versions, machines and run time.
        splits: The evaluated split of each data set.
    """

    table: pd.DataFrame
    points: Mapping[Point, PointStatistics]
    controls: Mapping[Point, PointStatistics]
    curves: Mapping[Point, list[tuple[Curve, Curve]]]
    terms: Mapping[Point, list[Norms]]
    provenance: Mapping[str, Any]
    splits: Mapping[str, str]


def gather(
    grid: Grid, results: Path, fingerprints: Mapping[tuple[str, str], Mapping[str, str]] | None = None
) -> Evidence:
    """Read and verify every record and its counts once; arguments as for `records.evaluated_cells`.

    Raises:
        RecordError: if records are broken, do not match their counts, or cannot be compared.
    """
    cells: list[EvaluatedCell] = []
    curves: dict[Point, list[tuple[Curve, Curve]]] = {}
    terms: dict[Point, list[Norms]] = {}

    def counts(evaluated: Iterable[EvaluatedCell]) -> Iterator[tuple[Cell, ImageCounts]]:
        for entry in evaluated:
            record = entry.record
            if record is not None and not entry.experiment.control:
                point = point_of(entry.experiment.cell)
                curves.setdefault(point, []).append(training_curves(record))
                terms.setdefault(point, []).append(term_norms(record))
                # Logged rows make up most of a long training's record, and counts most of a cell: neither is kept.
                record = {**record, "training": {**record["training"], "rows": []}}
            cells.append(EvaluatedCell(entry.experiment, entry.status, record))
            if entry.counts is not None:
                yield entry.experiment.cell, image_counts(entry.counts)

    statistics = point_statistics(counts(evaluated_cells(grid, results, fingerprints)))
    records = [cell.record for cell in cells if cell.record is not None and not cell.experiment.control]
    controls = {point_of(experiment.cell) for experiment in grid.controls}
    return Evidence(
        table=results_table(grid, cells),
        points={point: entry for point, entry in statistics.items() if point not in controls},
        controls={point: entry for point, entry in statistics.items() if point in controls},
        curves=curves,
        terms={point: norms for point, norms in terms.items() if all(norms)},
        provenance=records_provenance(records),
        splits={record["axes"]["dataset"]: record["data"]["split"] for record in records},
    )
