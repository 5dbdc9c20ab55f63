"""Types of options: what fits, how it is described, and that the source declares what the functions check."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pytest
import torch

from segloss import options
from segloss.options import (
    Above,
    AtLeast,
    AtMost,
    Below,
    Classes,
    Count,
    Length,
    NonNegative,
    OddWidth,
    PerClass,
    Positive,
    Share,
    Weights,
)

CASES = [
    (float, "a number", [0, -1.5, np.float32(2)], [math.nan, math.inf, -math.inf, 10**400, True, "1e-3", None, [1]]),
    (int, "a whole number", [0, -3, np.int64(2)], [3.0, True, "3", None]),
    (bool, "true or false", [True, False], [0, 1, "no", None]),
    (str, "text", ["", "no"], [0, None]),
    (NonNegative, "a number of at least 0", [0, 0.0, 7], [-1e-9, math.nan, math.inf]),
    (Positive, "a number above 0", [1e-9, 1], [0, -1, math.inf]),
    (Share, "a number from 0 to 1", [0, 1, 0.5], [1.01, -0.01, math.nan]),
    (Annotated[float, AtMost(2)], "a number of at most 2", [2, -7], [2.1]),
    (Annotated[float, AtLeast(0), Below(1)], "a number of at least 0 and below 1", [0, 0.99], [1, -0.1]),
    (Annotated[float, Above(1)] | None, "None or a number above 1", [None, 2], [1, "None"]),
    (Count, "a whole number of at least 1", [1, 50], [0, 1.0]),
    (OddWidth, "a whole number of at least 1 and odd", [1, 3], [0, 2, -1, 3.0]),
    (Literal["present", "all"], "one of present, all", ["all"], ["present ", 0, None]),
    (Literal["a"] | Sequence[int], "a or a sequence, each item a whole number", ["a", [1], ()], ["b", [1.5], 1]),
    (PerClass, "a sequence, each item a number of at least 0", [[1, 2.0], (0,), [], np.ones(2), torch.ones(2)],
     ["median", [-1], [math.nan], ["1"], 1, None, {1: 2}]),
    (Weights, "a sequence of length 3, each item a number of at least 0", [(1, 0, 0)], [(1, 0), (1, 0, -1), None]),
]  # fmt: skip


@pytest.mark.parametrize(("annotation", "words", "good", "bad"), CASES, ids=[words for _, words, *_ in CASES])
def test_what_fits_and_its_description(annotation, words, good, bad):
    assert options.describe(annotation) == words
    for value in good:
        options.check("it", value, annotation)
    for value in bad:
        with pytest.raises(ValueError) as error:  # noqa: PT011
            options.check("it", value, annotation)
        assert str(error.value) == f"Expected it to be {words}, got {value!r}."
    assert options.is_setting(annotation)


def test_tensors_are_no_settings_and_not_looked_into():
    assert not options.is_setting(torch.Tensor)
    assert not options.is_setting(torch.Tensor | None)
    assert options.fits("anything", torch.Tensor)


@pytest.mark.parametrize("room", ["losses", "labels"])
def test_the_source_declares_what_the_functions_check(room):
    import importlib

    module = importlib.import_module(f"segloss.{room}")
    declared = options.declared(Path(module.__file__).parent)
    assert set(declared) == set(module.CATALOGUE)
    for name, function in module.CATALOGUE.items():
        here = {key: kind for key, kind in declared[name].options.items() if options.is_setting(kind)}
        there = {key: kind for key, kind in function.options.items() if options.is_setting(kind)}
        assert here == there
        assert set(declared[name].options) == set(function.options)
        assert declared[name].required <= set(function.options)
        for key, default in (function.__wrapped__.__kwdefaults__ or {}).items():
            options.check(key, default, function.options[key])
            assert key not in declared[name].required


def test_every_number_has_a_range_or_is_meant_to_have_none():
    """An option that takes any number at all is one that nobody has thought about."""
    from segloss import labels, losses

    for function in (*losses.CATALOGUE.values(), *labels.CATALOGUE.values()):
        for name, kind in function.options.items():
            assert kind not in (float, int, float | None, int | None), f"{function.__name__}: {name}"


def test_names_that_only_the_functions_know_are_not_checked(tmp_path):
    (tmp_path / "_some.py").write_text(
        '@register("SomeLoss", sums=["likelihood"])\n'
        "def some(z, y, *, valid: Tensor | None = None, mine: Own[int] = 1, ranged: Positive = 1.0,\n"
        "         required: Classes, bare=2): ...\n"
        "@other\ndef unregistered(z): ...\n"
    )
    (some,) = options.declared(tmp_path).values()
    assert some.registered == {"sums": ["likelihood"]}
    assert some.options == {
        "valid": object | None, "mine": object, "ranged": Positive, "required": Classes, "bare": object
    }  # fmt: skip
    assert some.required == {"required"}


def test_a_length_of_its_own():
    assert options.describe(Annotated[Sequence[int], Length(2)]) == "a sequence of length 2, each item a whole number"
