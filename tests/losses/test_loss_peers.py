"""The same numbers as other libraries where they compute the same, and by how much they differ where they do not."""

import sys
from pathlib import Path

import pytest
import torch
from loss_cases import value_and_gradient
from worked_examples import INPUTS

from segloss import losses
from segloss.losses import get

sys.path.insert(0, str(Path(__file__).parents[2]))

pytestmark = pytest.mark.filterwarnings("ignore")  # those of the peers


def batch(classes: int, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(classes, (2, 4, 5), generator=generator).repeat_interleave(4, 1).repeat_interleave(4, 2)
    logits = torch.randn(2, classes, 16, 20, generator=generator)
    return logits + 2 * torch.nn.functional.one_hot(target, classes).movedim(-1, 1), target


@pytest.fixture(scope="module")
def monai():
    return pytest.importorskip("monai.losses", reason="MONAI is not installed: requirements-peers.txt")


def same(name, peer, logits, target, tolerance=2e-5, **options):
    ours = value_and_gradient(get(name), logits, target, **options)
    theirs = value_and_gradient(peer, logits, target)
    for actual, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance * float(expected.abs().max()))


@pytest.mark.parametrize("distance", ["l1", "l2"])
@pytest.mark.parametrize("kernel_size", [3, 5])
def test_nacl_with_a_border_of_zeros_is_monais(monai, distance, kernel_size):
    peer = monai.NACLLoss(classes=4, dim=2, kernel_size=kernel_size, distance_type=distance)
    options = {"kernel_size": kernel_size, "distance": distance, "border": "zero"}
    same("neighbor_aware_calibration", peer, *batch(4), **options)


@pytest.mark.parametrize("include_background", [False, True])
def test_boundary_is_monais(monai, include_background):
    peer = monai.BoundaryLoss(softmax=True, to_onehot_y=True, include_background=include_background)
    logits, target = batch(4)
    same("boundary", lambda z, y: peer(z, y[:, None]), logits, target, include_background=include_background)


@pytest.mark.parametrize("log", [False, True])
def test_hausdorff_of_two_classes_is_monais(monai, log):
    peer = (monai.LogHausdorffDTLoss if log else monai.HausdorffDTLoss)(softmax=True, to_onehot_y=True)
    logits, target = batch(2)
    same("hausdorff", lambda z, y: peer(z, y[:, None]), logits, target, log=log)


def test_hausdorff_of_more_classes_takes_the_most_probable_where_monai_takes_more_than_a_half(monai):
    logits, target = batch(4)
    peer = monai.HausdorffDTLoss(softmax=True, to_onehot_y=True)
    assert get("hausdorff")(logits, target) != pytest.approx(float(peer(logits, target[:, None])), rel=1e-3)
    certain = 20 * logits
    assert (certain.softmax(1).amax(1) > 0.5).all()
    same("hausdorff", lambda z, y: peer(z, y[:, None]), certain, target)


def test_cldice_of_one_foreground_class_is_monais_but_for_its_small_constant(monai):
    peer = monai.SoftclDiceLoss(softmax=True, to_onehot_y=True, include_background=False, smooth=1e-12)
    logits, target = batch(2)
    for image in range(2):  # MONAI averages over images, too; but counts those without foreground
        z, y = logits[image : image + 1], target[image : image + 1]
        value = get("cldice")(z, y)
        torch.testing.assert_close(value, peer(z, y[:, None]), rtol=1e-5, atol=1e-6)


def test_asymmetric_focal_losses_are_monais_which_halves_one_of_them(monai):
    logits, target = batch(2)
    focal = monai.AsymmetricUnifiedFocalLoss.__init__.__globals__["AsymmetricFocalLoss"](to_onehot_y=True)
    tversky = monai.AsymmetricUnifiedFocalLoss.__init__.__globals__["AsymmetricFocalTverskyLoss"](to_onehot_y=True)
    same("asymmetric_focal", lambda z, y: 2 * focal(z.softmax(1), y[:, None]), logits, target)
    same("asymmetric_focal_tversky", lambda z, y: tversky(z.softmax(1), y[:, None]), logits, target)


def test_focal_tversky_takes_the_power_before_the_mean_over_classes_where_smp_takes_it_after():
    from benchmarks.losses import peers

    smp = peers._smp()
    if smp is None:
        pytest.skip("segmentation-models-pytorch is not installed: requirements-peers.txt")
    logits, target, _ = INPUTS["pixels"]
    peer = smp.TverskyLoss(mode="multiclass", alpha=0.3, beta=0.7, gamma=0.75)
    assert float(peer(logits, target)) == pytest.approx(0.620463, abs=1e-5)
    assert float(get("focal_tversky")(logits, target, smooth=0.0)) == pytest.approx(0.618384, abs=1e-5)
    same("tversky", lambda z, y: peer(z, y) ** (4 / 3), logits, target, alpha=0.3, beta=0.7, smooth=0.0)


def test_ohem_is_mmsegmentations_and_its_hausdorff_loss_is_not_zero_for_a_perfect_prediction():
    from benchmarks.losses import peers

    mmseg = peers._mmseg()
    if mmseg is None:
        pytest.skip("MMSegmentation is not installed")
    logits, target = batch(4)
    with_void = torch.where(torch.rand(target.shape, generator=torch.Generator().manual_seed(0)) < 0.2, 255, target)
    for threshold, least in ((0.7, 10), (0.05, 100)):
        peer = mmseg.OhemCrossEntropy(thres=threshold, min_kept=least)
        same("ohem_cross_entropy", peer, logits, with_void, valid=with_void != 255, threshold=threshold, min_kept=least)
    target[0, :8], target[1, 8:] = 0, 2
    perfect = 50.0 * torch.nn.functional.one_hot(target, 4).movedim(-1, 1)
    assert float(mmseg.HuasdorffDisstanceLoss()(perfect, target)) > 1
    assert float(losses.hausdorff(perfect, target)) < 1e-6
