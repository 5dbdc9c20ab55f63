"""Records of finished cells and their verification, the results table, run locks, progress and states.

Imports no torch.
"""

from segloss.records.provenance import provenance
from segloss.records.record import identity_entry, machine, versions, write
from segloss.records.results import collect, measured
from segloss.records.states import STATES, CellStatus, cell_status, failure_reason
from segloss.records.verification import RecordError, check_comparable, check_counts, checksum, read

__all__ = [
    "STATES",
    "CellStatus",
    "RecordError",
    "cell_status",
    "check_comparable",
    "check_counts",
    "checksum",
    "collect",
    "failure_reason",
    "identity_entry",
    "machine",
    "measured",
    "provenance",
    "read",
    "versions",
    "write",
]
