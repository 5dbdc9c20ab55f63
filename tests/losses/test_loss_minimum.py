"""What each loss elicits: where its minimum is, and how much larger it is elsewhere."""

import pytest
import torch
from loss_cases import CLASSES, COUNTS, inputs, value_and_gradient

from segloss import losses

SMALLEST_AT_THE_TARGET = [
    ("cross_entropy", {}),
    ("dice", {"squared": True}),
    ("jaccard", {"squared": True}),
    ("jaccard_metric", {}),
    ("dice_semimetric", {}),
    ("compatible_tversky", {}),
    ("jaccard_metric", {"level_weights": (0.2, 0.3, 0.5), "classes": "all", "smooth": 0.0}),
]
NOT_SMALLEST_AT_THE_TARGET = [
    "dice",
    "jaccard",
    "tversky",
    "generalized_dice",
    "dice_focal",
    "focal",
    "confidence_penalty",
    "neighbor_aware_calibration",
    "poly_cross_entropy",
    "poly_focal",
    "asymmetric_focal",
    "asymmetric_focal_tversky",
    "unified_focal",
    "focal_tversky",
]
JDT = ["jaccard_metric", "dice_semimetric", "compatible_tversky"]


def perturbed(soft: torch.Tensor, seed: int, size: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return soft.log() + size * torch.randn(soft.shape, generator=generator, dtype=soft.dtype)


@pytest.mark.parametrize(("name", "options"), SMALLEST_AT_THE_TARGET)
@pytest.mark.parametrize("size", [1e-3, 0.1, 3.0])
def test_on_soft_labels_p_equal_to_y_is_a_minimum(name, options, size):
    _, _, soft, valid = inputs(0)
    best = losses.get(name)(soft.log(), soft, valid=valid, **options)
    for seed in range(10):
        assert losses.get(name)(perturbed(soft, seed, size), soft, valid=valid, **options) > best


@pytest.mark.parametrize("name", NOT_SMALLEST_AT_THE_TARGET)
def test_on_soft_labels_p_equal_to_y_is_not_the_minimum_of_the_others(name):
    _, _, soft, _ = inputs(0)
    value, gradient = value_and_gradient(losses.get(name), soft.log(), soft)
    downhill = soft.log() - gradient / gradient.norm()
    assert losses.get(name)(downhill, soft) < value


def test_the_product_form_prefers_certainty_to_the_truth():
    # One class against the rest, y = ½ in every pixel: Dice is smaller at p = 1 than at p = y.
    logits = torch.zeros(1, 2, 10, dtype=torch.float64)
    certain = torch.stack([torch.full((1, 10), 40.0), torch.full((1, 10), -40.0)], 1).double()
    target, only_first = torch.full((1, 2, 10), 0.5, dtype=torch.float64), {"class_weights": [1.0, 0.0], "smooth": 0.0}
    assert losses.dice(logits, target, **only_first).item() == pytest.approx(0.5)
    assert losses.dice(certain, target, **only_first).item() == pytest.approx(1 / 3)
    assert losses.dice_semimetric(logits, target, **only_first).item() == 0
    assert losses.dice_semimetric(certain, target, **only_first).item() == pytest.approx(1 / 3)


@pytest.mark.parametrize("name", JDT)
@pytest.mark.parametrize("seed", range(5))
def test_jdt_losses_are_zero_only_where_p_equals_y(name, seed):
    _, _, soft, valid = inputs(seed)
    options = {"valid": valid, "classes": "all", "smooth": 0.0}
    assert abs(losses.get(name)(soft.log(), soft, **options)) < 1e-14
    for size in (1e-6, 1e-2, 1.0):
        assert losses.get(name)(perturbed(soft, seed, size), soft, **options) > size * 1e-3


PENALISE_CERTAINTY = {"confidence_penalty", "margin_label_smoothing", "neighbor_aware_calibration"}
WITH_A_POWER = {"exponential_logarithmic", "focal_tversky", "asymmetric_focal_tversky", "unified_focal"}


@pytest.mark.parametrize(
    "name", sorted(set(losses.CATALOGUE) - {"compound", "bce_dice", "lovasz_hinge", "boundary"} - PENALISE_CERTAINTY)
)
def test_on_a_class_map_a_perfect_prediction_is_the_minimum(name):
    logits, target, _, valid = inputs(0)
    options = {"class_counts": COUNTS} if losses.get(name).takes_class_counts and name != "cross_entropy" else {}
    perfect = 60 * torch.nn.functional.one_hot(target, CLASSES).movedim(-1, 1).double()
    best = losses.get(name)(perfect, target, valid=valid, **options)
    # Not exactly 0 with a power below 1: the loss is cut off there, and 1e-6^.3 is .016, times weights.
    assert 0 <= best < (0.05 if name in WITH_A_POWER else 1e-9)
    for seed in range(10):
        generator = torch.Generator().manual_seed(seed)
        other = perfect + 30 * torch.randn(logits.shape, generator=generator, dtype=logits.dtype)
        assert losses.get(name)(other, target, valid=valid, **options) >= best
    assert losses.get(name)(logits, target, valid=valid, **options) > best + 0.01


def distance(name: str, a: torch.Tensor, b: torch.Tensor) -> float:
    """The loss of one class as a function of two vectors in (0, 1)."""
    logits, target = torch.stack([a.log(), (1 - a).log()])[None], torch.stack([b, 1 - b])[None]
    return losses.get(name)(logits, target, class_weights=[1.0, 0.0], classes="all", smooth=0.0).item()


def test_jaccard_metric_is_a_metric():
    generator = torch.Generator().manual_seed(0)
    smallest_gap = 1.0
    for _ in range(300):
        # Powers spread the entries from nearly hard to nearly even, so that near-equalities occur.
        a, b, c = (
            torch.rand(3, 4, generator=generator, dtype=torch.float64)
            .pow(float(10 ** torch.randn(1, generator=generator)))
            .clamp(1e-9, 1 - 1e-9)
        )
        ab, bc, ac = (distance("jaccard_metric", *pair) for pair in ((a, b), (b, c), (a, c)))
        assert ab == pytest.approx(distance("jaccard_metric", b, a), abs=1e-12)
        assert ac <= ab + bc + 1e-12
        smallest_gap = min(smallest_gap, ab + bc - ac)
    assert smallest_gap < 0.05


def test_dice_semimetric_breaks_the_triangle_inequality_and_no_more():
    tiny = 1e-12
    a, b, c = (torch.tensor(point, dtype=torch.float64).clamp(tiny, 1 - tiny) for point in ([1, 0], [1, 1], [0, 1]))
    assert distance("dice_semimetric", a, b) == pytest.approx(1 / 3)
    assert distance("dice_semimetric", b, c) == pytest.approx(1 / 3)
    assert distance("dice_semimetric", a, c) == pytest.approx(1)
    assert distance("dice_semimetric", c, a) == pytest.approx(1)


def test_one_class_present_reads_the_same_whatever_the_number_of_absent_ones():
    # Uniform predictions of five classes, all pixels of class 0: libraries give .16 to .96; Jaccard of class 0 is .8.
    logits, target = torch.zeros(2, 5, 4, 4, dtype=torch.float64), torch.zeros(2, 4, 4, dtype=torch.int64)
    assert losses.jaccard(logits, target, smooth=0.0).item() == pytest.approx(0.8)
    assert losses.jaccard(logits, target, smooth=0.0, classes="all").item() == pytest.approx(0.96)
