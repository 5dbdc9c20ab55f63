"""Thousands of small random calls: shapes, types, void patterns, memory layouts, extreme logits."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from loss_cases import CLASSES, HARD, MAY_BE_NEGATIVE, SOFT, value_and_gradient

from segloss.losses import get

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


def cut(options, classes: int):
    """The options for fewer classes."""
    if isinstance(options, dict):
        return {key: cut(value, classes) for key, value in options.items()}
    if isinstance(options, list) and len(options) == CLASSES:
        return [*options[: classes - 1], 7]
    return [cut(term, classes) for term in options] if isinstance(options, list) else options


@pytest.mark.slow
@settings(max_examples=2500, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(
    case=st.sampled_from([(*case, False) for case in HARD] + [(*case, True) for case in SOFT]),
    images=st.integers(1, 3),
    classes=st.integers(2, CLASSES),
    spatial=st.lists(st.integers(1, 4), max_size=3),
    dtype=st.sampled_from(DTYPES),
    scale=st.sampled_from([0.0, 1.0, 30.0, 1e4]),
    void=st.sampled_from(["none", "some", "most", "one image", "all"]),
    one_class=st.booleans(),
    last_axis_first=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_any_call_is_finite_and_blind_to_void(
    case, images, classes, spatial, dtype, scale, void, one_class, last_axis_first, seed
):
    name, options, soft = case
    generator = torch.Generator().manual_seed(seed)
    shape = (images, *spatial)
    logits = scale * torch.randn(images, classes, *spatial, generator=generator)
    if scale == 1e4:
        logits = logits.sign() * scale
    logits = logits.to(dtype)
    if soft:
        target = torch.rand(images, classes, *spatial, generator=generator) ** (20 if one_class else 1)
        target = (target / target.sum(1, keepdim=True)).to(dtype)
    else:
        target = torch.randint(1 if one_class else classes, shape, generator=generator)
    share = {"none": -1.0, "some": 0.3, "most": 0.9, "one image": -1.0, "all": 2.0}[void]
    valid = torch.rand(shape, generator=generator) > share
    if void == "one image":
        valid[0] = False
    given_valid = None if void == "none" else valid
    target = torch.where(valid[:, None], target, torch.nan) if soft else torch.where(valid, target, 255)
    if last_axis_first and spatial:  # the same numbers in another memory layout
        logits, target, valid = (tensor.transpose(0, -1).clone().transpose(0, -1) for tensor in (logits, target, valid))
        given_valid = None if given_valid is None else valid
    value, gradient = value_and_gradient(get(name), logits, target, valid=given_valid, **cut(options, classes))
    assert value.shape == ()
    assert value.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert value.isfinite()
    assert value >= -1e-6 or name in MAY_BE_NEGATIVE
    assert gradient.dtype == dtype
    assert gradient.isfinite().all()
    assert torch.count_nonzero(gradient.movedim(1, -1)[~valid]) == 0
    if void == "all":
        assert value == 0
