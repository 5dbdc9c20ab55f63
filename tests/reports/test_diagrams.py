"""Pictures of ranks: the same numbers give the same bytes in every process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

DRAW = """
import sys
from pathlib import Path
import pandas as pd
from segloss.reports import diagrams, ranks
scores = {loss: [index, index + 3 * (index % 2), 2 * index] for index, loss in enumerate("abcdef")}
ranking = ranks.rank(pd.DataFrame(scores), higher_is_better=True, resamples=100)
diagrams.critical_difference(Path(sys.argv[1]), ranking, "mIoU", {loss: f"loss {loss}" for loss in scores})
"""


@pytest.mark.slow
def test_a_diagram_of_ranks_does_not_depend_on_the_order_of_sets(tmp_path: Path) -> None:
    for seed in ("1", "2", "3"):
        command = [sys.executable, "-W", "ignore", "-c", DRAW, str(tmp_path / seed)]
        subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": seed}, check=True)
    assert len({(tmp_path / seed).read_bytes() for seed in ("1", "2", "3")}) == 1
