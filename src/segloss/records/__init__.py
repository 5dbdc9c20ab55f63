"""What was done and is being done: records and their verification, the results table, run locks, progress, states.

Imports no torch.
"""

from segloss.records.record import (
    about,
    collect,
    digest_of,
    is_done,
    machine,
    measured,
    provenance,
    versions,
    why_blocked,
    why_failed,
    write,
)
from segloss.records.verification import RecordError, check_comparable, check_counts, checksum, read

__all__ = [
    "RecordError",
    "about",
    "check_comparable",
    "check_counts",
    "checksum",
    "collect",
    "digest_of",
    "is_done",
    "machine",
    "measured",
    "provenance",
    "read",
    "versions",
    "why_blocked",
    "why_failed",
    "write",
]
