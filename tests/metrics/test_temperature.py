"""The fitted temperature minimises the likelihood of the validation labels."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from test_counts import batch, counted

from segloss.metrics import TemperatureFit, rescale, summarize


def overconfident(temperature=1.7, seed=0):
    """Labels drawn from a model whose logits are then multiplied by `temperature`."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(4, 5, 64, 64, generator=generator, dtype=torch.float64)
    calibrated = logits.softmax(1)
    labels = torch.multinomial(calibrated.movedim(1, -1).reshape(-1, 5), 1, generator=generator).view(4, 64, 64)
    return (temperature * logits).softmax(1), labels


def fitted(*arguments):
    fit = TemperatureFit(arguments[0].shape[1])
    fit.update(*arguments)
    return fit.temperature()


@pytest.mark.parametrize("temperature", [0.3, 1.0, 1.7, 6.0])
def test_it_is_the_minimum_of_the_negative_log_likelihood(temperature):
    probabilities, labels = overconfident(temperature)
    estimate = fitted(probabilities, labels)
    best = minimize_scalar(
        lambda inverse: torch.nn.functional.nll_loss((inverse * probabilities.log()).log_softmax(1), labels).item(),
        bounds=(0.05, 20),
        method="bounded",
        options={"xatol": 1e-10},
    )
    assert estimate == pytest.approx(1 / best.x, rel=1e-4)
    assert estimate == pytest.approx(temperature, rel=0.05)  # sampling of 16 384 labels


def test_scaling_repairs_the_calibration_and_leaves_the_classes():
    probabilities, labels = overconfident(2.0)
    temperature = fitted(probabilities, labels)
    others, other_labels = overconfident(2.0, seed=1)
    before, after = (summarize(counted(p, other_labels)) for p in (others, rescale(others, temperature)))
    assert after["mIoU"] == before["mIoU"]
    assert after["NLL"] < before["NLL"]
    assert after["ECE"] < 1 < 10 < before["ECE"]


def test_void_pixels_and_parts_make_no_difference():
    probabilities, labels, valid, _ = batch()
    whole = fitted(probabilities, labels, valid)
    merged = TemperatureFit(4)
    for part in (slice(0, 2), slice(2, 5)):
        fit = TemperatureFit(4)
        fit.update(probabilities[part], labels[part], valid[part])
        merged.merge(fit)
    assert merged.temperature() == pytest.approx(whole, rel=1e-12)
    probabilities.movedim(1, -1)[~valid] = torch.nan
    assert fitted(probabilities, labels.masked_fill(~valid, 255), valid) == whole
    flat = probabilities.movedim(1, -1)[valid].T[None, :, :, None]
    assert fitted(flat, labels[valid][None, :, None]) == pytest.approx(whole, rel=1e-12)


def test_without_a_minimum_the_end_of_the_range_is_given():
    labels = torch.arange(64).view(1, 8, 8) % 3
    right = torch.nn.functional.one_hot(labels, 3).movedim(-1, 1) * 0.7 + 0.1
    assert fitted(right, labels) == 1 / 16
    assert fitted(right, (labels + 1) % 3) == 16


def test_scaling_by_one_changes_nothing_and_zero_is_refused():
    probabilities = batch()[0]
    assert torch.allclose(rescale(probabilities, 1.0), probabilities, atol=1e-6)
    sure = torch.tensor([[[[1.0]], [[0.0]]]])
    assert rescale(sure, 2.0).tolist() == pytest.approx(np.array([[[[1.0]], [[0.0]]]]), abs=1e-15)
    # a probability that underflowed to 0 is scaled as the smallest that is distinguished
    assert rescale(sure, 6.0)[0, 1].item() == pytest.approx(2.0**-21, rel=1e-5)
    with pytest.raises(ValueError, match="temperature must be positive, got 0"):
        rescale(probabilities, 0)


def test_nothing_to_fit_is_refused():
    with pytest.raises(ValueError, match="no valid pixel was added"):
        TemperatureFit(3).temperature()
    with pytest.raises(ValueError, match="num_classes 3 and 4"):
        TemperatureFit(3).merge(TemperatureFit(4))
    with pytest.raises(ValueError, match="a softmax, not logits"):
        TemperatureFit(4).update(10 * batch()[0], batch()[1])
