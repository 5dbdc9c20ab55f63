"""Records of finished cells and their verification, the results table, run locks, progress and states.

Imports no torch.
"""

from segloss.records.provenance import provenance, records_provenance
from segloss.records.record import headline, identity_entry, machine, versions, write, write_failure
from segloss.records.results import (
    EvaluatedCell,
    collect,
    evaluated_cells,
    measured,
    read_csv,
    read_table,
    results_table,
)
from segloss.records.states import STATES, CellStatus, cell_status, failure_reason
from segloss.records.verification import RecordError, check_comparable, check_counts, read, record_text

__all__ = [
    "STATES",
    "CellStatus",
    "EvaluatedCell",
    "RecordError",
    "cell_status",
    "check_comparable",
    "check_counts",
    "collect",
    "evaluated_cells",
    "failure_reason",
    "headline",
    "identity_entry",
    "machine",
    "measured",
    "provenance",
    "read",
    "read_csv",
    "read_table",
    "record_text",
    "records_provenance",
    "results_table",
    "versions",
    "write",
    "write_failure",
]
