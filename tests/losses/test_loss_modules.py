"""The losses as modules of plain PyTorch: options, weight, deferred options, reports of terms, maps of losses."""

import copy
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from loss_cases import COUNTS, HARD_ONLY, OPTIONS, WEIGHTS, inputs, value_and_gradient

from segloss import losses
from segloss.losses import CATALOGUE, SegmentationLoss, term_report

NAMES = sorted(CATALOGUE)
MEANS_OVER_PIXELS = sorted(name for name in CATALOGUE if "pixel_weights" in CATALOGUE[name].options)


def module(name: str, options=None, **more) -> SegmentationLoss:
    return getattr(losses, CATALOGUE[name].module_name)(**(options or {}), **more)


@pytest.mark.parametrize("name", NAMES)
def test_a_module_is_its_function(name):
    logits, target, _, valid = inputs(0)
    for options in OPTIONS[name]:
        built = module(name, options, loss_weight=0.5)
        expected = 0.5 * CATALOGUE[name](logits, target, valid=valid, **options)
        assert built(logits, target, valid=valid) == expected
        assert built(logits, torch.where(valid, target, 255), ignore_index=255) == expected
        assert pickle.loads(pickle.dumps(built))(logits, target, valid=valid) == expected
        assert copy.deepcopy(built)(logits, target, valid=valid) == expected
        if name in MEANS_OVER_PIXELS and name != "compound":
            per_pixel = CATALOGUE[name](logits, target, valid=valid, reduction="none", **options)
            assert torch.equal(built(logits, target, valid=valid, reduction="none"), 0.5 * per_pixel)
    assert type(built).__name__ == CATALOGUE[name].module_name
    assert type(built).__doc__ == CATALOGUE[name].__doc__
    assert type(built) is getattr(losses, type(built).__name__)


def test_a_module_that_does_not_exist_names_the_nearest():
    with pytest.raises(AttributeError, match="no attribute 'JacardMetricLoss'; did you mean JaccardMetricLoss"):
        losses.JacardMetricLoss  # noqa: B018
    assert {"JaccardMetricLoss", "jaccard_metric"} <= set(dir(losses))


@pytest.mark.parametrize(
    ("name", "options", "error", "sentence"),
    [
        ("dice", {"smoth": 1.0}, TypeError, "SoftDiceLoss got the unknown option 'smoth'; known: squared"),
        ("dice", {"reduction": "none"}, TypeError, "the unknown option 'reduction'"),
        ("dice", {"valid": None}, TypeError, "the unknown option 'valid'"),
        ("dice", {"smooth": -1}, ValueError, r"Expected smooth to be a number of at least 0, got -1\."),
        ("dice", {"loss_weight": float("inf")}, ValueError, "loss_weight to be a number of at least 0, got inf"),
        ("dice", {"exchange": 1}, ValueError, r"Expected exchange to be true or false, got 1\."),
        ("dice", {"defer": {"power": 0.5}}, TypeError, "SoftDiceLoss defers 'power', which is not among its options"),
        ("dice", {"power": 2.0, "defer": {"power": 2}}, ValueError, "defer of power to be a number from 0 to 1, got 2"),
        ("compound", {"terms": [{"loss": "dice", "smooth": "1"}]}, ValueError, "smooth to be a number .* got '1'"),
        ("compound", {"terms": [{"loss": "dise"}]}, ValueError, "Expected the name of a loss, got 'dise'"),
        ("compound", {"terms": [{"loss": "dice", "gamma": 1}]}, TypeError, "got the unknown option 'gamma'"),
        ("compound", {"terms": [{"loss": "dice", "exchange": "no"}]}, ValueError, "exchange to be true or false"),
    ],
)  # fmt: skip
def test_wrong_options_are_refused_when_a_module_is_built(name, options, error, sentence):
    with pytest.raises(error, match=sentence):
        module(name, options)


def test_deferred_options_hold_from_their_fraction_on():
    logits, target, _, _ = inputs(0)
    built = module("ldam", {"class_counts": COUNTS, "reweighting": 0.99, "defer": {"reweighting": 0.8}})
    plain = losses.ldam(logits, target, class_counts=COUNTS)
    weighted = losses.ldam(logits, target, class_counts=COUNTS, reweighting=0.99)
    for progress, expected in ((0.0, plain), (0.79, plain), (0.8, weighted), (1.0, weighted)):
        built.progress = progress
        assert built(logits, target) == expected


def test_a_report_holds_every_term_and_its_gradient():
    logits, target, _, valid = inputs(0)
    terms = [{"loss": "cross_entropy", "weight": 0.25}, {"loss": "ldam"}, {"loss": "ldam", "scale": 2.0}]
    built = module("compound", {"terms": terms, "class_counts": COUNTS})
    value, gradient = value_and_gradient(built, logits, target, valid=valid)
    assert built.report == {}
    built.report_terms = True
    again, gradient_again = value_and_gradient(built, logits, target, valid=valid)
    assert again == value
    assert torch.equal(gradient_again, gradient)
    assert list(built.report) == ["cross_entropy", "ldam", "ldam-3"]
    expected = [
        value_and_gradient(losses.cross_entropy, logits, target, valid=valid),
        value_and_gradient(losses.ldam, logits, target, valid=valid, class_counts=COUNTS),
        value_and_gradient(losses.ldam, logits, target, valid=valid, class_counts=COUNTS, scale=2.0),
    ]
    for entry, (term, term_gradient), weight in zip(built.report.values(), expected, (0.25, 1, 1), strict=True):
        torch.testing.assert_close(entry["value"], weight * term)
        torch.testing.assert_close(entry["gradient_norm"], weight * term_gradient.norm())
        assert not entry["value"].requires_grad
    single = module("dice", {"smooth": 1.0})
    single.report_terms = True
    single(logits, target, valid=valid)
    assert single.report == term_report(logits, target, valid=valid, terms=[{"loss": "dice", "smooth": 1.0}])


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("name", MEANS_OVER_PIXELS)
def test_maps_of_losses_and_weights_of_pixels(name, soft):
    """The weighted mean of the map is the loss; weights of 0 and 1 are a mask, and a factor of all changes nothing."""
    logits, target, probabilities, valid = inputs(0)
    given = probabilities if soft else target
    weights = torch.rand(valid.shape, dtype=logits.dtype, generator=torch.Generator().manual_seed(1))
    loss = CATALOGUE[name]
    for options in OPTIONS[name]:
        if name == "compound":
            others = [other for other in MEANS_OVER_PIXELS if other not in (name, "neighbor_aware_calibration")]
            terms = [{"loss": other, "weight": 0.5, **OPTIONS[other][-1]} for other in others]
            options = {"terms": terms}

        def call(logits, options=options, **more):
            return loss(logits, given, **{"valid": valid, **options, **more})

        loss_map = call(logits, reduction="none")
        assert loss_map.shape == valid.shape
        assert torch.count_nonzero(loss_map[~valid]) == 0
        kept = valid & (weights > 0.5)
        mask = kept.to(logits.dtype)
        if name != "neighbor_aware_calibration":  # pixels of weight 0 are still neighbours of others
            torch.testing.assert_close(_both(call, logits, pixel_weights=mask), _both(call, logits, valid=kept))
        torch.testing.assert_close(_both(call, logits, pixel_weights=torch.full_like(mask, 7.0)), _both(call, logits))
        weighted = call(logits, pixel_weights=weights, reduction="none")
        torch.testing.assert_close(weighted, loss_map * weights)
        if not {"class_weights", "weighting", "reweighting", "terms"} & set(options):
            torch.testing.assert_close(call(logits), loss_map.sum() / valid.sum())
            mean = weighted.sum() / weights[valid].sum()
            torch.testing.assert_close(call(logits, pixel_weights=weights), mean)


def _both(call, logits, **options):
    """Value and gradient."""
    logits = logits.detach().requires_grad_()
    value = call(logits, **options)
    return value.detach(), torch.autograd.grad(value, logits)[0]


def test_weights_of_pixels_and_classes_by_hand():
    logits = torch.tensor([[[0.75, 0.5, 0.5], [0.25, 0.5, 0.5]]], dtype=torch.float64).log()
    target = torch.tensor([[0, 1, 1]])
    log = torch.tensor([4 / 3, 2, 2], dtype=torch.float64).log()
    weights = torch.tensor([[2.0, 1.0, 0.0]])
    value = losses.cross_entropy(logits, target, class_weights=[3.0, 1.0], pixel_weights=weights)
    torch.testing.assert_close(value, (2 * 3 * log[0] + log[1]) / (2 * 3 + 1))
    one_hot = torch.nn.functional.one_hot(target, 2).movedim(-1, 1).double()
    soft = losses.cross_entropy(logits, one_hot, class_weights=[3.0, 1.0], pixel_weights=weights)
    torch.testing.assert_close(soft, value)


@pytest.mark.parametrize("name", sorted(set(CATALOGUE) - set(MEANS_OVER_PIXELS)))
def test_other_losses_refuse_weights_of_pixels(name):
    logits, target, _, _ = inputs(0)
    with pytest.raises(ValueError, match=f"means over pixels .*, got {name}; mark pixels that do not count in `valid`"):
        module(name, OPTIONS[name][0])(logits, target, pixel_weights=torch.ones(target.shape))


def test_generalized_dice_has_a_finite_gradient_where_a_class_is_almost_absent():
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        logits = torch.randn(1, 150, 2, generator=generator) * 1e3
        target = torch.rand(1, 150, 2, generator=generator) ** 50
        target = target / target.sum(1, keepdim=True)
        for options in OPTIONS["generalized_dice"]:
            options = {**options, "class_weights": None}
            value, gradient = value_and_gradient(losses.generalized_dice, logits, target, **options)
            assert 0 <= value <= 1
            assert gradient.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_values_stay_finite_to_the_end_of_the_type(name):
    generator = torch.Generator().manual_seed(0)
    for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
        most = torch.finfo(dtype).max
        for factor in (1.0, 0.5, 1e-3):
            signs = torch.randint(-1, 2, (2, 5, 6), generator=generator)
            logits = (signs.double() * (most * factor)).to(dtype)
            target = torch.randint(5, (2, 6), generator=generator)
            soft = torch.nn.functional.one_hot(target, 5).movedim(-1, 1).to(dtype) * 0.9 + 0.02
            for given in (target,) if name in HARD_ONLY else (target, soft):
                for options in OPTIONS[name]:
                    value, gradient = value_and_gradient(CATALOGUE[name], logits, given, **options)
                    assert value.isfinite(), (dtype, factor, options)
                    assert gradient.isfinite().all(), (dtype, factor, options)


def test_a_loss_in_a_new_file_is_found_by_being_there(tmp_path):
    """It is in the catalogue, has a module, and is known to the planning, which imports no torch."""
    import shutil

    package = Path(losses.__file__).parents[1]
    shutil.copytree(package, tmp_path / "segloss", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "segloss" / "losses" / "_mine.py").write_text(
        "from segloss.losses._batch import Batch\n"
        "from segloss.losses._catalogue import register\n"
        "from segloss.losses._pixel import mean_over_pixels\n"
        "from segloss.options import NonNegative\n\n\n"
        '@register("MyOwnLoss", sums=["likelihood"])\n'
        "def my_own(logits, target, *, valid=None, strength: NonNegative = 1.0):\n"
        "    batch = Batch.read(logits, target, valid, my_own.sums)\n"
        "    return mean_over_pixels(batch, -strength * batch.log_likelihood)\n"
    )
    code = """
import sys
from segloss.grid import configs
assert configs.signatures("losses")["my_own"]["options"].keys() == {"valid", "strength"}
configs.check_options("losses", "my_own", {"strength": 2.0}, "here")
try:
    configs.check_options("losses", "my_own", {"strength": -2.0}, "here")
except configs.ConfigError as error:
    assert "here: Expected strength to be a number of at least 0, got -2.0." in str(error)
else:
    raise AssertionError
assert "torch" not in sys.modules
import torch
from segloss import losses
logits, target = torch.zeros(1, 2, 4), torch.zeros(1, 4, dtype=torch.int64)
assert losses.my_own(logits, target, strength=2.0) == losses.MyOwnLoss(strength=2.0)(logits, target)
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env={"PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_class_lists_of_lovasz_are_weights_of_0_and_1():
    logits, target, _, valid = inputs(0)
    listed = losses.lovasz_softmax(logits, target, valid=valid, classes=[1, 4], class_weights=WEIGHTS)
    weights = [0.0, WEIGHTS[1], 0.0, 0.0, WEIGHTS[4]]
    assert listed == losses.lovasz_softmax(logits, target, valid=valid, classes="all", class_weights=weights)


def test_the_hinge_of_one_foreground_channel():
    logits, target, _, valid = inputs(0)
    foreground = (target == 1).long()
    one_channel = losses.lovasz_hinge(logits[:, :1], foreground, valid=valid, foreground_channel=True)
    two_channels = losses.lovasz_hinge(
        torch.cat([logits[:, 1:2], logits[:, :1]], 1), foreground, valid=valid, class_weights=[0.0, 1.0]
    )
    assert one_channel == two_channels
