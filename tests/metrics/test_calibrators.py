"""Vector scaling and isotonic maps equal independent fits, and all calibrators share one interface."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from test_counts import batch, counted
from test_temperature import overconfident

from segloss.metrics import IsotonicFit, TemperatureFit, VectorScaling, VectorScalingFit, summarize
from segloss.metrics.isotonic import UNIFORM, pool_adjacent_violators
from segloss.metrics.vector_scaling import RIDGE, _objective

FITS = [TemperatureFit, VectorScalingFit, IsotonicFit]


def fitted(kind, *arguments):
    fit = kind(arguments[0].shape[1])
    fit.update(*arguments)
    return fit


def skewed(seed=0, classes=4):
    """Labels of a calibrated model whose logits are then scaled and shifted by class."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(3, classes, 40, 40, generator=generator, dtype=torch.float64)
    flat = logits.softmax(1).movedim(1, -1).reshape(-1, classes)
    labels = torch.multinomial(flat, 1, generator=generator).view(3, 40, 40)
    weight = torch.tensor([1.0, 1.5, 2.0, 2.5][:classes]).view(-1, 1, 1)
    bias = torch.tensor([0.5, 0, -0.5, 1][:classes]).view(-1, 1, 1)
    return (weight * logits + bias).softmax(1), labels


@pytest.mark.parametrize("kind", FITS)
def test_the_order_of_merging_and_void_make_no_difference(kind):
    probabilities, labels, valid, _ = batch()
    whole = fitted(kind, probabilities, labels, valid).calibrator()(probabilities)
    merged = kind(4)
    for part in (slice(2, 5), slice(0, 2)):
        merged.merge(fitted(kind, probabilities[part], labels[part], valid[part]))
    assert torch.allclose(merged.calibrator()(probabilities), whole, atol=1e-6)
    again = fitted(kind, probabilities, labels, valid).calibrator()
    assert again == fitted(kind, probabilities, labels, valid).calibrator()
    void = probabilities.clone()
    void.movedim(1, -1)[~valid] = torch.nan
    assert fitted(kind, void, labels.masked_fill(~valid, 255), valid).calibrator() == again


@pytest.mark.parametrize("kind", FITS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_the_result_is_a_distribution_of_the_same_type_and_better_calibrated(kind, dtype):
    probabilities, labels = overconfident(2.0)
    calibrator = fitted(kind, probabilities, labels).calibrator()
    others, other_labels = overconfident(2.0, seed=1)
    result = calibrator(others.to(dtype))
    assert result.dtype == dtype
    assert result.shape == others.shape
    after, before = (summarize(counted(p, other_labels)) for p in (result, others.to(dtype)))
    # one map per class, then normalised, is not fitted to the confidence of the largest class
    assert after["ECE"] < (1 if kind is not IsotonicFit else 2) < 10 < before["ECE"]
    assert after["NLL"] < before["NLL"]


@pytest.mark.parametrize("kind", FITS)
def test_bad_input_is_refused(kind):
    probabilities, labels, valid, _ = batch()
    with pytest.raises(ValueError, match="no valid pixel was added: there is nothing to fit"):
        kind(4).calibrator()
    with pytest.raises(ValueError, match="no valid pixel was added: there is nothing to fit"):
        fitted(kind, probabilities, labels, torch.zeros_like(valid)).calibrator()
    with pytest.raises(ValueError, match="num_classes 4 and 3"):
        kind(4).merge(kind(3))
    for wrong in (probabilities.log(), 100 * probabilities, 0.9 * probabilities, 0 * probabilities):
        with pytest.raises(ValueError, match="sum to 1 over the classes"):
            kind(4).update(wrong, labels)
    with pytest.raises(ValueError, match="at least one image of at least one pixel"):
        kind(4).update(probabilities[:0], labels[:0])
    with pytest.raises(ValueError, match=r"labels must lie in 0..3 where valid, got 4"):
        kind(4).update(probabilities, labels + 1)


def test_vector_scaling_is_the_minimum_of_the_likelihood():
    probabilities, labels = skewed()
    calibrator = fitted(VectorScalingFit, probabilities.float(), labels).calibrator()
    logits = probabilities.float().log().movedim(1, -1).reshape(-1, 4).double().numpy()
    label = labels.flatten().numpy()

    def objective(parameters):
        weight, bias = parameters.reshape(2, 4)
        scaled = torch.from_numpy(weight * logits + bias)
        loss = torch.nn.functional.cross_entropy(scaled, torch.from_numpy(label)).item()
        return loss + RIDGE / 2 * (np.square(weight - 1).sum() + np.square(bias).sum())

    start = np.concatenate([np.ones(4), np.zeros(4)])
    best = minimize(objective, start, method="BFGS", options={"gtol": 1e-8})
    measured = np.array([*calibrator.weight, *calibrator.bias])
    assert objective(measured) <= best.fun + 1e-12
    assert measured == pytest.approx(best.x, abs=1e-4)
    others, other_labels = skewed(seed=1)
    by_temperature = fitted(TemperatureFit, probabilities, labels).calibrator()
    results = (calibrator(others), by_temperature(others), others)
    after, less, before = (summarize(counted(result, other_labels)) for result in results)
    assert after["NLL"] < less["NLL"] < before["NLL"]
    assert after["mIoU"] > less["mIoU"] == before["mIoU"]


def test_vector_scaling_derivatives_are_those_of_autograd():
    probabilities, labels = skewed()
    logits = probabilities.log().movedim(1, -1).reshape(-1, 4)[::7].float()
    label = labels.flatten()[::7]
    start = np.concatenate([np.ones(4), np.zeros(4)])
    parameters = np.array([0.7, 1.2, 0.9, 1.1, 0.3, -0.2, 0.1, 0.5])

    def objective(vector):
        scaled = vector[:4] * logits.double() + vector[4:]
        away = vector - torch.from_numpy(start)
        return torch.nn.functional.cross_entropy(scaled, label) + RIDGE / 2 * (away**2).sum()

    value, gradient, curvature = _objective(parameters, start, logits.numpy(), label.numpy())
    point = torch.from_numpy(parameters)
    assert value == pytest.approx(objective(point).item(), rel=1e-12)
    np.testing.assert_allclose(gradient, torch.autograd.functional.jacobian(objective, point), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(curvature, torch.autograd.functional.hessian(objective, point), rtol=1e-9, atol=1e-12)


def test_vector_scaling_of_four_pixels_by_hand():
    """Weights .5, 1, 1.5 and biases .2, 0, -.2: the mean negative log-likelihood of the labels is 1.400662."""
    logits = torch.tensor([[2, 1, 0], [0, 2, 1], [1, 0, 3], [0, 1, 1]], dtype=torch.float64)
    # probabilities give the logits up to a shift of each pixel, which matters once they are weighted: undo the shift
    shift = logits.logsumexp(1, keepdim=True)
    weight, bias = torch.tensor([0.5, 1, 1.5]), torch.tensor([0.2, 0, -0.2])
    expected = (weight * (logits - shift) + bias).softmax(1)
    probabilities = logits.softmax(1).T.reshape(1, 3, 2, 2)
    result = VectorScaling(tuple(weight.tolist()), tuple(bias.tolist()))(probabilities)
    assert torch.allclose(result.reshape(3, 4).T, expected, atol=1e-7)
    assert torch.allclose(VectorScaling((1.0,) * 3, (0.0,) * 3)(probabilities), probabilities, atol=1e-12)


def test_a_class_without_a_validation_pixel_keeps_finite_parameters():
    probabilities, labels = skewed()
    calibrator = fitted(VectorScalingFit, probabilities, labels.clamp(max=2)).calibrator()
    assert np.isfinite([*calibrator.weight, *calibrator.bias]).all()
    assert max(map(abs, (*calibrator.weight, *calibrator.bias))) < 20


def test_pooling_by_hand():
    ones = np.ones(4)
    assert pool_adjacent_violators(np.array([0, 1, 0, 1.0]), ones).tolist() == [0, 0.5, 0.5, 1]
    assert pool_adjacent_violators(np.array([3, 2, 1.0]), np.array([1, 1, 2])).tolist() == [1.75] * 3
    assert pool_adjacent_violators(np.array([1, 2, 3.0]), ones[:3]).tolist() == [1, 2, 3]


def test_isotonic_maps_minimise_the_squared_distance():
    """Against the min-max formula of isotonic regression, and scikit-learn where it is installed."""
    random = np.random.default_rng(0)
    values, weights = random.random(40), random.integers(1, 50, 40)
    sums, mass = np.cumsum([0, *(values * weights)]), np.cumsum([0, *weights])
    by_formula = [
        max(
            min((sums[last] - sums[first]) / (mass[last] - mass[first]) for last in range(place + 1, 41))
            for first in range(place + 1)
        )
        for place in range(40)
    ]
    pooled = pool_adjacent_violators(values, weights)
    assert pooled == pytest.approx(by_formula, rel=1e-12)
    sklearn = pytest.importorskip("sklearn.isotonic")
    assert pooled == pytest.approx(sklearn.isotonic_regression(values, sample_weight=weights), rel=1e-12)


def test_isotonic_maps_of_few_probabilities_are_their_frequencies():
    """Three probabilities of class 1, in the order of .2, .5, .9, with frequencies .25, .125, 1: the first two pool."""
    p = torch.tensor([0.2] * 8 + [0.5] * 8 + [0.9] * 4, dtype=torch.float64).view(1, 1, 20, 1)
    labels = torch.tensor([1, 1] + [0] * 6 + [1] + [0] * 7 + [1] * 4).view(1, 20, 1)
    maps = fitted(IsotonicFit, torch.cat([1 - p, p], 1), labels).calibrator()
    assert maps.points[1] == pytest.approx((0.2, 0.5, 0.9), rel=1e-12)
    assert maps.values[1] == pytest.approx((3 / 16, 3 / 16, 1), rel=1e-12)
    assert maps.values[0] == pytest.approx((0, 13 / 16, 13 / 16), rel=1e-12)
    between = maps(torch.tensor([0.3, 0.7], dtype=torch.float64).view(1, 2, 1, 1))
    # .7 of class 1 is half way from .5 to .9, .3 of class 0 half way from .1 to .5
    half, other = (3 / 16 + 1) / 2, 13 / 32
    assert between[0, 1].item() == pytest.approx((half + UNIFORM / 2) / (half + other + UNIFORM), rel=1e-12)
    assert between.sum(1).item() == pytest.approx(1, rel=1e-15)


def test_isotonic_maps_of_random_predictions_follow_their_frequencies():
    probabilities, labels = skewed()
    maps = fitted(IsotonicFit, probabilities, labels).calibrator()
    for c in range(4):
        p = probabilities[:, c].flatten().numpy()
        order = np.argsort(p)
        exact = pool_adjacent_violators((labels.flatten().numpy() == c)[order].astype(float), np.ones(len(p)))
        assert (np.diff(maps.points[c]) > 0).all()
        assert (np.diff(maps.values[c]) >= 0).all()
        # bins of 1/32 of the distance to 0 or 1 move the corners of the map a little
        assert np.abs(np.interp(p[order], maps.points[c], maps.values[c]) - exact).mean() < 0.02
