"""``python -m segloss.tracking <run folder>``: send a run while it is being written. Started by trainings."""

import sys
from pathlib import Path

from segloss.tracking.sending import send

send(Path(sys.argv[1]))
