"""Values derived by hand from two pixels and two classes, and the identities between the losses."""

from math import exp, log

import pytest
import torch
from loss_cases import REGION_OPTIONS, inputs, value_and_gradient
from worked_examples import EXAMPLES

from segloss import losses

# Pixel 0 is of class 0 and predicted (¾, ¼), pixel 1 is of class 1 and predicted (½, ½).
PROBABILITIES = torch.tensor([[[0.75, 0.5], [0.25, 0.5]]], dtype=torch.float64)
TARGET = torch.tensor([[0, 1]])
HALVES = torch.full((1, 2, 2), 0.5, dtype=torch.float64)
FOCAL = (log(4 / 3) / 16 + log(2) / 4) / 2
LDAM = (log(1 + exp(0.25) / 3) + log(1 + exp(0.5))) / 2  # margins ½ · (1/16)^¼ = ¼ and ½
JACCARD = (1 / 2 + 3 / 5) / 2  # Σp·y = (¾, ½), Σp = (5/4, ¾), Σy = (1, 1)

HARD_VALUES = [
    ("cross_entropy", {}, (log(4 / 3) + log(2)) / 2),
    ("cross_entropy", {"class_weights": [3.0, 1.0]}, (3 * log(4 / 3) + log(2)) / 4),
    ("cross_entropy", {"weighting": "inverse", "class_counts": [1, 3]}, (3 * log(4 / 3) + log(2)) / 4),
    ("focal", {}, FOCAL),
    ("focal", {"gamma": 0.0, "alpha": [0.25, 0.75]}, (log(4 / 3) / 4 + 3 * log(2) / 4) / 2),
    ("dice", {"smooth": 0.0}, (1 / 3 + 3 / 7) / 2),
    ("dice", {"smooth": 1.0}, ((1 - 2.5 / 3.25) + (1 - 2 / 2.75)) / 2),
    ("dice", {"smooth": 0.0, "squared": True}, (5 / 29 + 5 / 21) / 2),
    ("jaccard", {"smooth": 0.0}, JACCARD),
    ("jaccard", {"smooth": 0.0, "log": True}, (log(2) + log(5 / 2)) / 2),
    ("jaccard", {"smooth": 0.0, "classes": "agnostic"}, 1 - 1.25 / 2.75),
    ("tversky", {"smooth": 0.0}, (13 / 43 + 17 / 37) / 2),
    ("generalized_dice", {}, 3 / 8),
    ("dice_focal", {"smooth": 0.0}, 8 / 21 + FOCAL / 2),
    (
        "exponential_logarithmic",
        {},
        0.4 * (log(13 / 10) ** 0.3 + log(11 / 8) ** 0.3) + 0.1 * (log(4 / 3) ** 0.3 + log(2) ** 0.3),
    ),
    (
        "exponential_logarithmic",
        {"class_counts": [4, 12], "dice_weight": 0.0, "cross_weight": 1.0},
        (2 * log(4 / 3) ** 0.3 + (4 / 3) ** 0.5 * log(2) ** 0.3) / 2,
    ),
    # Class 0: errors ½ (not its pixel), ¼ (its pixel); Jaccard losses ½, 1. Class 1: errors ½ (its own), ¼; 1, 1.
    ("lovasz_softmax", {}, (0.5 * 0.5 + 0.25 * 0.5 + 0.5) / 2),
    ("lovasz_softmax", {"class_weights": [1.0, 3.0]}, (0.375 + 3 * 0.5) / 4),
    ("lovasz_softmax", {"classes": [1]}, 0.5),
    # z = log p: class 0: errors 1 - log ¾ (its own) and 1 + log ½; 1 and 0 of its Jaccard loss. Class 1: 1 - log ½ (its
    # own) and 1 + log ¼ < 0.
    ("lovasz_hinge", {}, ((1 - log(0.75)) + (1 - log(0.5))) / 2),
    ("jaccard_metric", {"smooth": 0.0}, JACCARD),
    ("jaccard", {"smooth": 0.0, "squared": True}, (10 / 34 + 10 / 26) / 2),
    ("generalized_dice", {"weight_type": "uniform"}, 3 / 8),
    ("dice_semimetric", {"smooth": 0.0}, (1 / 3 + 3 / 7) / 2),
    ("compatible_tversky", {"smooth": 0.0}, (13 / 43 + 17 / 37) / 2),
    ("ldam", {"class_counts": [16, 1]}, LDAM),
    ("lmf", {"class_counts": [16, 1], "ldam_weight": 1.5}, 1.5 * LDAM + FOCAL),
    (
        "compound",
        {
            "terms": [
                {"loss": "cross_entropy", "weight": 0.25},
                {"loss": "jaccard_metric", "weight": 0.75, "smooth": 0.0},
            ]
        },
        0.25 * log(8 / 3) / 2 + 0.75 * JACCARD,
    ),
]


@pytest.mark.parametrize(("name", "options", "expected"), HARD_VALUES)
def test_value_derived_by_hand(name, options, expected):
    assert losses.get(name)(PROBABILITIES.log(), TARGET, **options).item() == pytest.approx(expected, rel=1e-12)


def test_bce_dice_derived_by_hand():
    # All logits 0: every sigmoid is ½, and per class Σσy = ½, Σσ = Σy = 1.
    logits = torch.zeros(1, 2, 2, dtype=torch.float64)
    assert losses.bce_dice(logits, TARGET, smooth=0.0).item() == pytest.approx(log(2) + 0.5, rel=1e-12)
    one_channel = losses.bce_dice(logits[:, :1], TARGET, smooth=0.0, foreground_channel=True)
    assert one_channel.item() == pytest.approx(log(2) + 0.5, rel=1e-12)


def test_every_entry_has_a_value():
    assert {name for name, *_ in HARD_VALUES + EXAMPLES} | {"bce_dice"} == set(losses.CATALOGUE)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # Against y = ½ everywhere: Σmin = (1, ¾), false positives (¼, 0), false negatives (0, ¼).
        ("jaccard_metric", (1 / 5 + 1 / 4) / 2),
        ("dice_semimetric", (1 / 9 + 1 / 7) / 2),
        ("compatible_tversky", (3 / 43 + 7 / 37) / 2),
        # Σp·y = (5/8, 3/8) counts p < y as an error and p > y as a hit.
        ("jaccard", ((1 - 5 / 13) + (1 - 3 / 11)) / 2),
        ("dice", (4 / 9 + 4 / 7) / 2),
    ],
)
def test_soft_value_derived_by_hand(name, expected):
    assert losses.get(name)(PROBABILITIES.log(), HALVES, smooth=0.0).item() == pytest.approx(expected, rel=1e-12)


def test_generalized_dice_gives_an_absent_class_the_largest_finite_weight():
    # Both pixels are of class 0: w_0 = ¼, and so w_1 = ¼; Σp·y = (5/4, 0), Σp + Σy = (13/4, ¾).
    value = losses.generalized_dice(PROBABILITIES.log(), torch.tensor([[0, 0]]))
    assert value.item() == pytest.approx(1 - 2.5 / 4, rel=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_cross_entropy_is_that_of_torch(seed):
    logits, target, soft, valid = inputs(seed)
    with_void = torch.where(valid, target, 255)
    weights = [1.0, 0.5, 2.0, 0.1, 3.0]
    for options, theirs in ({}, None), ({"class_weights": weights}, torch.tensor(weights, dtype=torch.float64)):
        actual = value_and_gradient(losses.cross_entropy, logits, with_void, valid=valid, **options)
        expected = value_and_gradient(
            torch.nn.functional.cross_entropy, logits, with_void, weight=theirs, ignore_index=255
        )
        torch.testing.assert_close(actual, expected)
    torch.testing.assert_close(
        value_and_gradient(losses.cross_entropy, logits, soft),
        value_and_gradient(torch.nn.functional.cross_entropy, logits, soft),
    )


CORRECTED = [("jaccard_metric", "jaccard"), ("dice_semimetric", "dice"), ("compatible_tversky", "tversky")]


@pytest.mark.parametrize("options", REGION_OPTIONS, ids=str)
@pytest.mark.parametrize(
    ("corrected", "product"),
    CORRECTED,
)
def test_on_a_class_map_the_corrected_losses_are_the_products(corrected, product, options):
    logits, target, _, valid = inputs(0)
    theirs = dict(options)
    if product == "dice":
        theirs["smooth"] = 2 * options.get("smooth", 1e-3)  # added once to numerator and denominator of 2I / (Σp + Σy)
    torch.testing.assert_close(
        value_and_gradient(losses.get(corrected), logits, target, valid=valid, **options),
        value_and_gradient(losses.get(product), logits, target, valid=valid, **theirs),
    )


def test_bce_dice_on_one_channel_is_the_foreground_of_two():
    logits, target, _, valid = inputs(0)
    foreground = (target == 1).long()
    one_channel = losses.bce_dice(
        logits[:, :1], foreground, valid=valid, foreground_channel=True, classes="all", smooth=0.0
    )
    two_channels = losses.bce_dice(
        torch.stack([-logits[:, 0], logits[:, 0]], 1), foreground, valid=valid, dice_weight=0.0, classes="all"
    )
    soft = losses.bce_dice(
        logits[:, :1], foreground[:, None].double(), valid=valid, foreground_channel=True, classes="all", smooth=0.0
    )
    torch.testing.assert_close(one_channel, soft)
    overlap = losses.bce_dice(
        logits[:, :1], foreground, valid=valid, foreground_channel=True, classes="all", smooth=0.0, bce_weight=0.0
    )
    torch.testing.assert_close(one_channel, two_channels + overlap)  # both channels' BCE is the same
