"""The fused GPU kernels: through Triton's interpreter everywhere, and compiled where there is a GPU."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

PEERS = Path(__file__).parents[2] / ".venv-peers"  # where `make perf` puts Triton if the environment has none
HAS_TRITON = importlib.util.find_spec("triton") is not None or (PEERS / "triton").is_dir()


@pytest.mark.slow
@pytest.mark.skipif(not HAS_TRITON, reason="Triton is not installed: python -m pip install triton")
@pytest.mark.parametrize("interpret", [True, False])
def test_the_kernels_give_the_numbers_of_the_core(interpret):
    if not interpret and not torch.cuda.is_available():
        pytest.skip("no GPU")
    path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(PEERS)]))
    environment = {**os.environ, "PYTHONPATH": path, "TRITON_INTERPRET": "1" if interpret else "0"}
    checks = Path(__file__).with_name("fused_checks.py")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "default", str(checks)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) > 100


def test_a_cpu_and_double_precision_keep_the_core():
    from segloss.losses import _batch, _sums

    assert _batch.core_for(torch.zeros(1)) is _sums
    assert _batch.core_for(torch.zeros(1, dtype=torch.float64)) is _sums
