"""Values worked out from the formulas on four pixels, a shifted square and a broken bar."""

import pytest
from worked_examples import EXAMPLES, INPUTS

from segloss import losses


@pytest.mark.parametrize(("name", "options", "values"), EXAMPLES, ids=str)
def test_value_of_a_worked_example(name, options, values):
    for which, expected in values.items():
        logits, target, valid = INPUTS[which]
        value = losses.get(name)(logits, target, valid=valid, **options)
        assert value.item() == pytest.approx(expected, abs=2e-6), which
