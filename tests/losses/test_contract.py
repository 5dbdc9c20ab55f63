"""Smoke of the contract, while the property tests grow: each loss runs on its targets and ignores void pixels."""

import pytest
import torch

from segloss.losses import CATALOGUE, get

TERMS = [{"loss": "cross_entropy", "weight": 0.25}, {"loss": "dice", "weight": 0.75}]


@pytest.mark.parametrize("name", sorted(CATALOGUE))
def test_nothing_valid_is_exactly_zero_with_zero_gradient(name):
    logits = torch.randn(2, 3, 4, 5, requires_grad=True)
    target = torch.full((2, 4, 5), 255)
    options = {"terms": TERMS} if name == "compound" else {}
    if get(name).takes_class_counts:
        options["class_counts"] = [5, 3, 1]
    loss = get(name)(logits, target, valid=torch.zeros(2, 4, 5, dtype=torch.bool), **options)
    loss.backward()
    assert loss == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"Expected the name of a loss, got 'jacard'; known are bce_dice, com"):
        get("jacard")
