"""The table of `benchmarks.losses` on a tiny input: every row, and memory figures with known values."""

import re
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))
from benchmarks.losses import __main__ as table
from benchmarks.losses import peers
from benchmarks.losses.measure import disagreement, memory, operators, times


@pytest.fixture
def no_peers(monkeypatch):
    for name in ("_monai", "_smp", "_kornia", "_mmseg"):
        monkeypatch.setattr(peers, name, lambda: None)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # those of the profiler
@pytest.mark.parametrize("soft", [False, True])
def test_the_table_has_a_row_for_every_loss(soft, no_peers, capsys):
    lines = table.rows((1, 5, 16, 16), soft, 0.0, "cpu", 1, "")
    capsys.readouterr()
    ours = [line for line in lines if "| segloss |" in line]
    entries = peers.soft_entries() if soft else peers.entries(5)
    assert len(ours) == len(entries)
    assert all(re.match(r"\| [a-z_]+.* \| segloss \| \d+\.\d \| \d+\.\d\d \|  \|", line) for line in ours)
    if not soft:
        assert {entry.loss for entry in entries} == set(table_of_losses())
        assert any("| plain autograd |" in line for line in lines)


def table_of_losses():
    from segloss.losses import CATALOGUE

    return CATALOGUE


@pytest.mark.filterwarnings("ignore")
def test_memory_counts_what_is_kept_and_the_peak():
    logits = torch.zeros(1000, 100, requires_grad=True)
    # exp keeps its result; backward adds the gradient (its product with that of the sum) and that of the sum, expanded.
    kept, peak = memory(lambda z: z.exp().sum(), logits)
    assert kept == pytest.approx(1, abs=0.01)
    assert 2 - 0.01 <= peak <= 3 + 0.01


@pytest.mark.filterwarnings("ignore")
def test_the_operators_of_a_loss_by_their_share():
    logits = torch.zeros(1000, 1000, requires_grad=True)
    shares = operators(lambda z: (z @ z).sin().sum(), logits)
    assert next(iter(shares)) == "mm"  # 10^9 products; the others process 10^6 numbers
    assert 0.5 < sum(shares.values()) <= 1 + 1e-9


def test_times_and_disagreement():
    logits = torch.ones(10, requires_grad=True)
    taken = times({"one": lambda z: z.sum(), "two": lambda z: (2 * z).sum()}, logits, 2, 1.0)
    assert set(taken) == {"one", "two"}
    assert all(seconds > 0 for seconds in taken.values())
    assert disagreement(lambda z: 3 * z.sum(), lambda z: 2 * z.sum(), logits) == (0.5, 0.5)
