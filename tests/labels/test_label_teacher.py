"""Targets made from a teacher's logits, against values by hand."""

import math

import pytest
import torch

from segloss.labels import pseudo_labels, teacher, teacher_probabilities


def logits(dtype=torch.float32):
    return (3 * torch.randn(2, 4, 6, 7, generator=torch.Generator().manual_seed(0))).to(dtype)


def labels():
    ids = torch.randint(4, (2, 6, 7), generator=torch.Generator().manual_seed(1))
    valid = torch.rand(ids.shape, generator=torch.Generator().manual_seed(2)) > 0.2
    return ids.masked_fill(~valid, 255), valid


def test_probabilities_by_hand():
    """Logits ln 1, ln 4: shares 1/5 and 4/5, at temperature 2 ln 1, ln 2: 1/3 and 2/3."""
    two = torch.tensor([[0.0, math.log(4)]])
    torch.testing.assert_close(teacher_probabilities(two), torch.tensor([[0.2, 0.8]]))
    torch.testing.assert_close(teacher_probabilities(two, temperature=2.0), torch.tensor([[1 / 3, 2 / 3]]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_teacher_gives_float32_targets(dtype):
    ids, valid = labels()
    expected = torch.softmax(logits(dtype).float(), 1)
    torch.testing.assert_close(teacher_probabilities(logits(dtype)), expected)
    assert teacher(ids, valid, 4, teacher_logits=logits(dtype))[0].dtype == torch.float32
    # Logits beyond float16's exponentials are no overflow.
    assert torch.isfinite(teacher_probabilities(torch.tensor([[6e4, -6e4]], dtype=torch.float16))).all()


def test_teacher_is_its_softmax_at_the_temperature():
    ids, valid = labels()
    target, kept = teacher(ids, valid, 4, teacher_logits=logits(), temperature=1.5)
    assert torch.equal(kept, valid)
    torch.testing.assert_close(target, torch.softmax(logits() / 1.5, 1))


def test_no_gradient_reaches_the_teacher_and_its_logits_stay():
    ids, valid = labels()
    outputs = logits().requires_grad_()
    before = outputs.detach().clone()
    assert not teacher(ids, valid, 4, teacher_logits=outputs)[0].requires_grad
    assert not pseudo_labels(outputs, valid, soft=True)[0].requires_grad
    assert torch.equal(outputs, before)


def test_pseudo_labels_by_hand():
    """Confidences .9, .5, .95, and .95 at an invalid pixel; a confidence at the threshold is enough."""
    probabilities = torch.tensor([[0.9, 0.5, 0.05, 0.05], [0.1, 0.5, 0.95, 0.95]], dtype=torch.float64)
    outputs = probabilities.log().unsqueeze(0)
    valid = torch.tensor([[True, True, True, False]])
    target, kept = pseudo_labels(outputs, valid, threshold=0.9 - 1e-6)
    assert target.dtype == torch.int64
    assert target[0, [0, 2]].tolist() == [0, 1]
    assert kept.tolist() == [[True, False, True, False]]
    assert pseudo_labels(outputs, valid, threshold=0.0)[1].tolist() == valid.tolist()
    assert not pseudo_labels(outputs, valid, threshold=1.0)[1].any()
    sure = torch.tensor([[[1000.0], [0.0]]])
    assert pseudo_labels(sure, torch.tensor([[True]]), threshold=1.0)[1].all()


def test_soft_pseudo_labels_are_judged_at_temperature_one():
    valid = labels()[1]
    soft, kept = pseudo_labels(logits(), valid, threshold=0.8, soft=True, temperature=0.25)
    torch.testing.assert_close(soft, torch.softmax(logits() * 4, 1))
    assert torch.equal(kept, valid & (torch.softmax(logits(), 1).amax(1) >= 0.8))
    assert torch.equal(kept, pseudo_labels(logits(), valid, threshold=0.8)[1])
    assert 0 < kept.double().mean() < valid.double().mean()


def test_wrong_options_are_sentences():
    ids, valid = labels()
    for temperature in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match=f"Expected temperature to be a number above 0, got {temperature}"):
            teacher_probabilities(logits(), temperature=temperature)
    with pytest.raises(ValueError, match=r"Expected teacher_logits of shape \(2, 4, 6, 7\), got \(2, 4, 3, 7\)"):
        teacher(ids, valid, 4, teacher_logits=logits()[:, :, :3])
    with pytest.raises(ValueError, match=r"Expected threshold to be a number from 0 to 1, got 95"):
        pseudo_labels(logits(), valid, threshold=95)
    with pytest.raises(
        ValueError, match=r"Expected a bool valid mask of shape \(2, 6, 7\), got torch.bool of shape \(2, 6\)"
    ):
        pseudo_labels(logits(), valid[..., 0])
