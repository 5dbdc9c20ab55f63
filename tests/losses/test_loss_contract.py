"""The contract of a loss, over the whole catalogue, its options, and hard and soft targets."""

import pytest
from loss_cases import HARD, HARD_ONLY, OPTIONS, SOFT, label
from loss_properties import FOR_EVERY_TARGET, one_hot_is_hard

from segloss.losses import CATALOGUE, get


def test_every_entry_is_tested():
    assert set(OPTIONS) == set(CATALOGUE)
    assert {name for name, loss in CATALOGUE.items() if not loss.soft_targets} == HARD_ONLY


@pytest.mark.parametrize("check", FOR_EVERY_TARGET, ids=lambda check: check.__name__)
@pytest.mark.parametrize(("name", "options"), HARD, ids=label)
def test_on_a_class_map(name, options, check):
    check(get(name), options, soft=False)


@pytest.mark.parametrize("check", [*FOR_EVERY_TARGET, one_hot_is_hard], ids=lambda check: check.__name__)
@pytest.mark.parametrize(("name", "options"), SOFT, ids=label)
def test_on_probabilities(name, options, check):
    check(get(name), options, soft=True)
