"""Where the real data sets lie, for the tests that need them."""

import os
from pathlib import Path

import pytest

from segloss.datasets import DATASETS

DATA = Path(os.environ.get("SEGLOSS_DATA") or Path(__file__).parents[3] / "shared" / "data")


def at_hand(name: str) -> Path:
    """The folder of a real data set; skips the test where it is not there."""
    folder = DATA / (DATASETS[name].folder or name)
    if not folder.is_dir():
        pytest.skip(f"{name} is not below {DATA}; set SEGLOSS_DATA")
    return folder
