"""docs/losses-conversion.md: every row marked there is a pair of calls that give the same numbers."""

import re
import sys
import warnings
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
from benchmarks.losses import peers  # noqa: E402
from segloss import labels, losses  # noqa: E402

DOCUMENT = (ROOT / "docs" / "losses-conversion.md").read_text(encoding="utf-8")
C, EACH_IMAGE = 4, (0.0, 1.0, 0.0)


def monai(name: str, scale: float = 1.0, **options):
    loss = getattr(peers._monai(), name)(to_onehot_y=True, **options)
    return lambda z, y: scale * loss(z, y[:, None])


def smp(name: str, **options):
    return getattr(peers._smp(), name)(**options)


def mmseg(name: str, call=None, **options):
    loss = getattr(peers._mmseg(), name)(**options)
    return lambda z, y: loss(z, y, **(call or {}))


def kornia(name: str, scale: float = 1.0, **options):
    return lambda z, y: scale * getattr(peers._kornia(), name)(z, y, **options)


def ours(name: str, **options):
    return lambda z, y: losses.get(name)(z, y, **options)


def dice_ce(z, y):
    terms = [{"loss": "dice", "classes": "all", "smooth": 1e-5}, {"loss": "cross_entropy"}]
    return losses.compound(z, y, terms=terms)


def smoothed(z, y):
    target, valid = labels.uniform_smoothing(y, y >= 0, C, epsilon=0.2)
    return losses.cross_entropy(z, target, valid=valid)


def first(loss):
    """On the first channel's logits, with class 1 as the foreground."""
    return lambda z, y: loss(z[:, :1], (y == 1).long())


DICE = {"softmax": True, "batch": True}
ALL = {"classes": "all", "smooth": 1e-5}
HINGE = ours("lovasz_hinge", foreground_channel=True, per_image=True)
AGNOSTIC = {"classes": "agnostic", "level_weights": EACH_IMAGE, "smooth": 0}
# The first column of a row, the library's call (made only if the library is installed), and ours.
ROWS = {
    "MONAI": [
        ("DiceLoss(softmax=True, batch=True)", lambda: monai("DiceLoss", **DICE), ours("dice", **ALL)),
        ("DiceLoss(softmax=True)", lambda: monai("DiceLoss", softmax=True),
         ours("dice", **ALL, level_weights=EACH_IMAGE)),
        ("DiceLoss(softmax=True, batch=True, squared_pred=True)", lambda: monai("DiceLoss", **DICE, squared_pred=True),
         ours("dice", **ALL, squared=True)),
        ("DiceLoss(softmax=True, batch=True, jaccard=True)", lambda: monai("DiceLoss", **DICE, jaccard=True),
         ours("jaccard", classes="all", smooth=5e-6)),
        ("DiceLoss(include_background=False)", lambda: monai("DiceLoss", **DICE, include_background=False),
         ours("dice", **ALL, class_weights=[0, 1, 1, 1])),
        ("DiceLoss(sigmoid=True)", lambda: monai("DiceLoss", sigmoid=True, batch=True),
         ours("bce_dice", bce_weight=0, **ALL)),
        ("TverskyLoss(softmax=True, batch=True, alpha=a, beta=b)",
         lambda: monai("TverskyLoss", **DICE, alpha=0.3, beta=0.7),
         ours("tversky", alpha=0.3, beta=0.7, **ALL)),
        *[("GeneralizedDiceLoss(softmax=True, batch=True, w_type=t)",
           lambda t=t: monai("GeneralizedDiceLoss", **DICE, w_type=t, smooth_nr=0, smooth_dr=0),
           ours("generalized_dice", weight_type=t)) for t in ("square", "simple", "uniform")],
        ("FocalLoss(use_softmax=True, gamma=g)", lambda: monai("FocalLoss", C, use_softmax=True, gamma=1.5),
         ours("focal", gamma=1.5)),
        ("DiceCELoss(softmax=True, batch=True)", lambda: monai("DiceCELoss", **DICE), dice_ce),
    ],
    "SMP": [
        ('DiceLoss("multiclass")', lambda: smp("DiceLoss", mode="multiclass"), ours("dice", smooth=0)),
        ('JaccardLoss("multiclass")', lambda: smp("JaccardLoss", mode="multiclass"), ours("jaccard", smooth=0)),
        ('TverskyLoss("multiclass", alpha=a, beta=b)',
         lambda: smp("TverskyLoss", mode="multiclass", alpha=0.2, beta=0.6),
         ours("tversky", alpha=0.2, beta=0.6, smooth=0)),
        ('LovaszLoss("multiclass")', lambda: smp("LovaszLoss", mode="multiclass"), ours("lovasz_softmax")),
        ('LovaszLoss("multiclass", per_image=True)', lambda: smp("LovaszLoss", mode="multiclass", per_image=True),
         ours("lovasz_softmax", per_image=True)),
        ('LovaszLoss("binary", per_image=True)', lambda: first(smp("LovaszLoss", mode="binary", per_image=True)),
         first(HINGE)),
        ("SoftCrossEntropyLoss(smooth_factor=e)", lambda: smp("SoftCrossEntropyLoss", smooth_factor=0.2), smoothed),
    ],
    "MMSegmentation": [
        ("CrossEntropyLoss(avg_non_ignore=True)", lambda: mmseg("CrossEntropyLoss", avg_non_ignore=True),
         ours("cross_entropy")),
        ("DiceLoss(use_sigmoid=False, naive_dice=True)", lambda: mmseg("DiceLoss", use_sigmoid=False, naive_dice=True),
         ours("dice", classes="agnostic", level_weights=EACH_IMAGE)),
        ("TverskyLoss(alpha=a, beta=b, smooth=s)", lambda: mmseg("TverskyLoss", alpha=0.3, beta=0.7, smooth=2.0),
         ours("tversky", alpha=0.3, beta=0.7, smooth=2.0, classes="all", level_weights=EACH_IMAGE)),
        ('LovaszLoss(reduction="none")', lambda: mmseg("LovaszLoss", reduction="none"), ours("lovasz_softmax")),
        ("LovaszLoss(per_image=True)", lambda: mmseg("LovaszLoss", per_image=True),
         ours("lovasz_softmax", per_image=True)),
        ('LovaszLoss(classes=[1, 2], reduction="none")', lambda: mmseg("LovaszLoss", classes=[1, 2], reduction="none"),
         ours("lovasz_softmax", classes=[1, 2])),
    ],
    "kornia": [
        ('dice_loss(average="micro")', lambda: kornia("dice_loss", average="micro"), ours("dice", **AGNOSTIC)),
        ('dice_loss(average="macro")', lambda: kornia("dice_loss", average="macro"),
         ours("dice", classes="all", level_weights=EACH_IMAGE, smooth=0)),
        ("tversky_loss(alpha=a, beta=b)", lambda: kornia("tversky_loss", alpha=0.3, beta=0.7),
         ours("tversky", alpha=0.3, beta=0.7, level_weights=EACH_IMAGE, smooth=0)),
        ("lovasz_softmax_loss", lambda: kornia("lovasz_softmax_loss"),
         ours("lovasz_softmax", classes="all", per_image=True)),
        ("lovasz_hinge_loss", lambda: first(kornia("lovasz_hinge_loss")), first(HINGE)),
        ("focal_loss(alpha=None, gamma=g)", lambda: kornia("focal_loss", C, alpha=None, gamma=2.0, reduction="mean"),
         ours("focal")),
    ],
}  # fmt: skip
LIBRARIES = {"MONAI": peers._monai, "SMP": peers._smp, "MMSegmentation": peers._mmseg, "kornia": peers._kornia}
CASES = [(library, *row) for library, rows in ROWS.items() for row in rows]


@pytest.mark.filterwarnings("ignore")  # those of the peers
@pytest.mark.parametrize(("library", "theirs", "call", "here"), CASES, ids=[f"{case[0]}-{case[1]}" for case in CASES])
def test_a_marked_row_gives_the_same_numbers(library, theirs, call, here):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if LIBRARIES[library]() is None:
            pytest.skip(f"{library} is not installed")
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(3, C, 9, 10, generator=generator)
    target = torch.randint(C, (3, 9, 10), generator=generator)
    results = []
    for loss in (call(), here):
        leaf = logits.clone().requires_grad_()
        value = loss(leaf, target).mean()
        results.append((value.detach(), *torch.autograd.grad(value, leaf)))
    torch.testing.assert_close(*results, rtol=2e-5, atol=1e-7)


def test_exactly_the_marked_rows_are_compared():
    marked = set(re.findall(r"^\| `([^`]+)` \|[^\n]*\| ✓ \|", DOCUMENT, re.MULTILINE))
    assert marked == {theirs for _, theirs, *_ in CASES}


def test_the_document_names_losses_that_exist():
    for call in re.findall(r"^\| `[^`]+` \| `([^`(]+)", DOCUMENT, re.MULTILINE):
        assert call in losses.CATALOGUE or hasattr(losses, call), call
