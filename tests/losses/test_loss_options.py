"""What the options of single losses mean, beyond what holds for every loss."""

import pytest
import torch
from loss_cases import inputs, value_and_gradient

from segloss import losses
from segloss.losses import get

LOGITS, TARGET = torch.zeros(2, 3, 4, 5), torch.zeros(2, 4, 5, dtype=torch.int64)


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("confidence_penalty", {"alpha": -1.0}, "Expected alpha to be a number of at least 0, got -1.0."),
        ("margin_label_smoothing", {"margin": -1.0}, "Expected margin to be a number of at least 0, got -1.0."),
        ("neighbor_aware_calibration", {"kernel_size": 2}, "a whole number of at least 1 and odd, got 2."),
        ("neighbor_aware_calibration", {"distance": "l3"}, "Expected distance to be one of l1, l2, got 'l3'."),
        ("neighbor_aware_calibration", {"border": "same"}, "Expected border to be one of valid, zero, got 'same'."),
        ("average_calibration_error", {"bins": 1}, "Expected bins to be a whole number of at least 2, got 1."),
        ("average_calibration_error", {"classes": "agnostic"}, "classes to be one of present, all, got 'agnostic'."),
        ("poly_cross_entropy", {"epsilon": -2.0}, "Expected epsilon to be a number of at least -1, got -2.0."),
        ("poly_focal", {"gamma": -2.0}, "Expected gamma to be a number of at least 0, got -2.0."),
        ("topk_cross_entropy", {"k": 0.0}, "Expected k to be a number above 0 and of at most 1, got 0.0."),
        ("ohem_cross_entropy", {"threshold": 2.0}, "to be None or a number above 0 and of at most 1, got 2.0."),
        ("ohem_cross_entropy", {"min_kept": 0}, "Expected min_kept to be a whole number of at least 1, got 0."),
        ("asymmetric_focal", {"delta": 2.0}, "Expected delta to be a number from 0 to 1, got 2.0."),
        ("asymmetric_focal", {"gamma": -1.0}, "Expected gamma to be a number of at least 0, got -1.0."),
        ("asymmetric_focal_tversky", {"gamma": 1.0}, "gamma to be a number of at least 0 and below 1, got 1.0."),
        ("asymmetric_focal_tversky", {"smooth": -1.0}, "Expected smooth to be a number of at least 0, got -1.0."),
        ("asymmetric_focal_tversky", {"classes": "some"}, "Expected classes to be one of present, all, got 'some'."),
        ("unified_focal", {"region_weight": 2.0}, "Expected region_weight to be a number from 0 to 1, got 2.0."),
        ("hausdorff", {"alpha": 0.0}, "Expected alpha to be a number above 0, got 0.0."),
        ("cldice", {"iterations": -1}, "Expected iterations to be a whole number of at least 0, got -1."),
    ],
)  # fmt: skip
def test_options_that_do_not_fit(name, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        get(name)(LOGITS, TARGET, **options)


@pytest.mark.parametrize("name", ["boundary", "cldice"])
def test_a_loss_of_shapes_takes_no_probabilities(name):
    with pytest.raises(ValueError, match="Expected an int64 class map, got target probabilities: "):
        get(name)(LOGITS, torch.full((2, 3, 4, 5), 1 / 3))


@pytest.mark.parametrize("name", ["confidence_penalty", "margin_label_smoothing", "neighbor_aware_calibration"])
@pytest.mark.parametrize("soft", [False, True])
def test_a_penalty_is_a_term_of_its_own(name, soft):
    logits, target, probabilities, valid = inputs(0)
    given = probabilities if soft else target
    options = {"margin": 1.0} if name == "margin_label_smoothing" else {}
    terms = [{"loss": "cross_entropy", "weight": 0.3}, {"loss": name, "ce_weight": 0.0, **options}]
    torch.testing.assert_close(
        value_and_gradient(losses.compound, logits, given, valid=valid, terms=terms),
        value_and_gradient(get(name), logits, given, valid=valid, ce_weight=0.3, **options),
    )
    assert get(name).pixelwise


def test_losses_without_their_extra_are_cross_entropy_or_focal():
    logits, target, probabilities, valid = inputs(0)
    for name, options, plain in (
        ("topk_cross_entropy", {"k": 1.0}, "cross_entropy"),
        ("ohem_cross_entropy", {"threshold": 1.0}, "cross_entropy"),
        ("confidence_penalty", {"alpha": 0.0}, "cross_entropy"),
        ("poly_cross_entropy", {"epsilon": 0.0}, "cross_entropy"),
        ("poly_focal", {"epsilon": 0.0}, "focal"),
    ):
        for given in (target, probabilities):
            torch.testing.assert_close(
                value_and_gradient(get(name), logits, given, valid=valid, **options),
                value_and_gradient(get(plain), logits, given, valid=valid),
            )


def test_of_equally_hard_pixels_the_first_are_kept():
    logits, target = torch.zeros(1, 2, 10), torch.zeros(1, 10, dtype=torch.int64)
    _, gradient = value_and_gradient(losses.topk_cross_entropy, logits, target, k=0.3)
    assert gradient[0, 0].nonzero().flatten().tolist() == [0, 1, 2]


def test_a_calibrated_constant_has_no_calibration_error():
    target = torch.tensor([[0, 0, 0, 1, 1, 2, 2, 2, 2, 2]])
    frequencies = torch.tensor([0.3, 0.2, 0.5], dtype=torch.float64).log()[None, :, None].expand(1, 3, 10)
    for soft_bins in (False, True):
        assert losses.average_calibration_error(frequencies, target, soft_bins=soft_bins).item() < 1e-12
    certain = 50 * torch.nn.functional.one_hot(torch.zeros_like(target), 3).movedim(-1, 1).double()
    # All predicted as class 0: errors .7, .2 and .5.
    assert losses.average_calibration_error(certain, target).item() == pytest.approx((0.7 + 0.2 + 0.5) / 3)


def test_calibration_error_on_probabilities_is_zero_where_p_equals_y():
    _, _, probabilities, valid = inputs(0)
    for options in ({}, {"soft_bins": True}, {"per_image": False}):
        assert losses.average_calibration_error(probabilities.log(), probabilities, valid=valid, **options) < 1e-12


def test_descent_calibrates_an_overconfident_prediction():
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(2, (1, 4000), generator=generator)
    logits = torch.stack([torch.full((1, 4000), 3.0), torch.zeros(1, 4000)], 1).requires_grad_()  # .95 for a half
    scale = torch.ones((), requires_grad=True)
    optimizer = torch.optim.Adam([scale], lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        losses.average_calibration_error(scale * logits.detach(), target, soft_bins=True).backward()
        optimizer.step()
    assert abs(scale.item()) < 0.1


def test_neighbour_shares_of_a_constant_label_are_that_label():
    logits = torch.zeros(1, 3, 5, 5, dtype=torch.float64)
    logits[:, 1] = 1
    penalty = losses.neighbor_aware_calibration(logits, torch.ones(1, 5, 5, dtype=torch.int64), ce_weight=0.0)
    assert penalty == 0


def test_the_boundary_loss_falls_as_a_shape_moves_to_its_place():
    target = torch.zeros(1, 12, 12, dtype=torch.int64)
    target[:, 4:8, 4:8] = 1
    values = []
    for shift in (3, 2, 1, 0):
        logits = torch.zeros(1, 2, 12, 12, dtype=torch.float64)
        logits[:, 1] = -8
        logits[:, 1, 4:8, 4 + shift : 8 + shift] = 8
        values.append([get(name)(logits, target).item() for name in ("boundary", "hausdorff")])
    for series in zip(*values, strict=True):
        assert list(series) == sorted(series, reverse=True)
        assert len(set(series)) == len(series)
