"""Bad input is answered with one sentence: what was expected, what was given, what is possible."""

import pytest
import torch

from segloss import losses
from segloss.losses import CATALOGUE, get, switches, unchecked

LOGITS = torch.zeros(2, 3, 4, 5)
TARGET = torch.zeros(2, 4, 5, dtype=torch.int64)
SOFT = torch.full((2, 3, 4, 5), 1 / 3)
VALID = torch.ones(2, 4, 5, dtype=torch.bool)
REQUIRED = {
    "compound": {"terms": [{"loss": "focal"}]},
    "ldam": {"class_counts": [1, 2, 3]},
    "lmf": {"class_counts": [1, 2, 3]},
}


@pytest.mark.parametrize("name", sorted(CATALOGUE))
@pytest.mark.parametrize(
    ("logits", "target", "valid", "sentence"),
    [
        (LOGITS.long(), TARGET, None, r"Expected float logits of shape \(B, C, \*spatial\), got torch.int64"),
        (LOGITS[0, 0, 0], TARGET, None, r"logits of shape \(B, C, \*spatial\), got torch.float32 of shape \(5,\)."),
        (LOGITS[:, :1], TARGET, None, r"Expected logits of at least two channels, got shape \(2, 1, 4, 5\)"),
        (LOGITS, TARGET[:, 1:], None, r"Expected an int64 class map of shape \(2, 4, 5\), got \(2, 3, 5\)."),
        (LOGITS, SOFT.long(), None, r"shape \(2, 4, 5\), got \(2, 3, 4, 5\); target probabilities are float."),
        (LOGITS, TARGET.int(), None, r"Expected an int64 class map or float probabilities as target, got torch.int32."),
        (LOGITS, TARGET.float(), None, r"as the logits, got \(2, 4, 5\); a map of class indices is int64"),
        (LOGITS, TARGET, VALID.long(), r"bool valid mask of shape \(2, 4, 5\), got torch.int64 of shape \(2, 4, 5\)."),
        (LOGITS, TARGET, VALID[:1], r"bool valid mask of shape \(2, 4, 5\), got torch.bool of shape \(1, 4, 5\)."),
        (LOGITS, TARGET + 3, None, r"indices from 0 to 2 at valid pixels, got 3 to 3; mark void pixels in `valid`."),
        (LOGITS, TARGET - 1, None, r"Expected class indices from 0 to 2 at valid pixels, got -1 to -1"),
        (LOGITS, SOFT - 1, None, r"Expected target probabilities of at least 0 at valid pixels, got -0.666667."),
        (LOGITS, SOFT * torch.nan, None, r"Expected finite target probabilities at valid pixels, got NaN."),
        (LOGITS, SOFT * torch.inf, None, r"Expected finite target probabilities at valid pixels, got infinity."),
        (LOGITS, torch.zeros(2, 8, 10, dtype=torch.int64), None, r"label's size \(8, 10\), got \(4, 5\); upsample"),
        (LOGITS, torch.ones(2, 3, 16, 20), None, r"label's size \(16, 20\), got \(4, 5\); upsample the logits"),
    ],
)  # fmt: skip
def test_input_that_does_not_fit(name, logits, target, valid, sentence):
    with pytest.raises(ValueError, match=sentence):
        get(name)(logits, target, valid=valid, **REQUIRED.get(name, {}))


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("jaccard_metric", {"classes": "some"}, "None or one of present, all, agnostic, got .some."),
        ("jaccard_metric", {"level_weights": (1.0, 0.0)}, "a sequence of length 3, each item a number of"),
        ("dice", {"level_weights": (0.0, 0.0, 0.0)}, "not all 0, got"),
        ("dice", {"level_weights": (1, 0, 1), "classes": "agnostic"}, "Expected no weight on the class level"),
        ("tversky", {"power": 0.0}, "Expected power to be a number above 0, got 0.0."),
        ("tversky", {"alpha": -0.1}, "Expected alpha to be a number of at least 0, got -0.1."),
        ("jaccard", {"smooth": -1.0}, "smooth to be a number of at least 0, got -1.0."),
        ("cross_entropy", {"class_weights": [1.0]}, r"class_weights to hold .* of the 3 classes, got \[1.0\]."),
        ("cross_entropy", {"class_weights": [1, -1, 1]}, "None or a sequence, each item a number of at least 0"),
        ("cross_entropy", {"weighting": "inverse"}, "class_counts and no class_weights with weighting='inverse'."),
        ("cross_entropy", {"weighting": "log", "class_counts": [1, 2, 3]}, "one of inverse, median, got 'log'."),
        ("cross_entropy", {"weighting": "median", "class_counts": [0, 0, 0]}, "at least one class that occurs"),
        ("cross_entropy", {"class_weights": "median"}, "each item a number of at least 0, got 'median'."),
        ("dice", {"level_weights": None}, "level_weights to be a sequence of length 3, .* got None."),
        ("dice", {"squared": "no"}, "Expected squared to be true or false, got 'no'."),
        ("dice", {"smooth": "1e-3"}, "Expected smooth to be a number of at least 0, got '1e-3'."),
        ("focal", {"gamma": float("nan")}, "Expected gamma to be a number of at least 0, got nan."),
        ("tversky", {"beta": float("inf")}, "Expected beta to be a number of at least 0, got inf."),
        ("dice_focal", {"focal_weight": True}, "Expected focal_weight to be a number of at least 0, got True."),
        ("compound", {"terms": [{"loss": "dice", "weight": float("inf")}]}, "weight to be a number of at least 0"),
        ("focal", {"gamma": -1.0}, "Expected gamma to be a number of at least 0, got -1.0."),
        ("exponential_logarithmic", {"gamma_cross": 0.0}, "Expected gamma_cross to be a number above 0, got 0.0."),
        ("ldam", {"class_counts": [1, 2]}, r"Expected class_counts to hold .* 3 classes, got \[1, 2\]."),
        ("ldam", {"class_counts": [1, 2, 3], "scale": 0.0}, "Expected scale to be a number above 0, got 0.0."),
        ("ldam", {"class_counts": [1, 2, 3], "reweighting": 1.0}, "or a number of at least 0 and below 1, got 1.0."),
        ("lovasz_softmax", {"classes": "agnostic"}, "present, all or a sequence, each item a whole number"),
        ("bce_dice", {"foreground_channel": True}, r"Expected one channel of logits with foreground_channel, got"),
        ("lovasz_softmax", {"classes": [3]}, r"Expected at least one class from 0 to 2, got \[3\]."),
        ("lovasz_softmax", {"classes": []}, r"Expected at least one class from 0 to 2, got \[\]."),
        ("lovasz_softmax", {"classes": [0.5]}, "one of present, all or a sequence, each item a whole number"),
        ("compound", {"terms": [{"loss": "dice"}], "reduction": "none"}, "means over pixels .* got dice; mark"),
        ("cross_entropy", {"pixel_weights": TARGET[:, 1:]}, r"pixel_weights of shape \(2, 4, 5\), got \(2, 3, 5\)."),
        ("cross_entropy", {"pixel_weights": TARGET - 1.0}, "Expected finite pixel_weights of at least 0"),
        ("compound", {"terms": []}, r"Expected at least one term such as .*, got \[\]."),
        ("compound", {"terms": [{"weight": 1.0}]}, "a term to name its loss under 'loss', got {'weight': 1.0}."),
        ("compound", {"terms": [{"loss": "dise"}]}, "got 'dise'; known losses: asymmetric_focal, "),
    ],
)  # fmt: skip
def test_options_that_do_not_fit(name, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        get(name)(LOGITS, TARGET, **options)


def test_lovasz_explains_why_it_takes_no_probabilities():
    with pytest.raises(ValueError, match=r"Expected an int64 class map, got target probabilities: .* set function"):
        losses.lovasz_softmax(LOGITS, SOFT)
    with pytest.raises(ValueError, match="set function"):
        losses.compound(LOGITS, SOFT, terms=[{"loss": "lovasz_softmax"}])


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match="Expected the name of a loss, got 'jacard'; known losses: asymmetric_focal, "):
        get("jacard")


def test_an_unknown_option_is_refused():
    with pytest.raises(TypeError, match="smoth"):
        losses.dice(LOGITS, TARGET, smoth=1.0)
    with pytest.raises(TypeError, match="smoth"):
        losses.compound(LOGITS, TARGET, terms=[{"loss": "dice", "smoth": 1.0}])


@pytest.mark.parametrize("name", sorted(set(CATALOGUE) - {"bce_dice"}))
@pytest.mark.parametrize(
    ("target", "sums"), [(100 * SOFT, "100 to 100"), (0 * SOFT, "0 to 0"), (1.5 * SOFT, "1.5 to 1.5")]
)
def test_probabilities_that_do_not_sum_to_1(name, target, sums):
    sentence = rf"sum to 1 over the classes at valid pixels, got sums from {sums}; divide percentages by 100"
    with pytest.raises(ValueError, match=sentence):
        get(name)(LOGITS, target, **REQUIRED.get(name, {}))
    target[0], valid = SOFT[0], VALID.clone()
    valid[1] = False
    if get(name).soft_targets:
        get(name)(LOGITS, target, valid=valid, **REQUIRED.get(name, {}))


def test_independent_probabilities_are_a_target_of_sigmoids():
    losses.bce_dice(LOGITS, torch.ones_like(SOFT))
    with pytest.raises(ValueError, match=r"Expected target probabilities of at most 1 at valid pixels, got 33.3333."):
        losses.bce_dice(LOGITS, 100 * SOFT)


def test_checks_of_values_can_be_switched_off_and_come_back():
    for target in (SOFT - 1, SOFT * torch.nan):
        with unchecked():
            losses.dice(LOGITS, target)
        with pytest.raises(ValueError, match="target probabilities"):
            losses.dice(LOGITS, target)
    with pytest.raises(ZeroDivisionError), switches(checks=False):
        raise ZeroDivisionError
    with pytest.raises(ValueError, match="Expected class indices"):
        losses.dice(LOGITS, TARGET + 3)


def test_void_pixels_may_hold_anything_even_with_checks():
    nowhere = torch.zeros_like(VALID)
    assert losses.dice(LOGITS, TARGET - 77, valid=nowhere) == 0
    assert losses.dice(LOGITS, SOFT * torch.nan, valid=nowhere) == 0
