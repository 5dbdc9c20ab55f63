"""The same losses elsewhere: for each entry of the catalogue, the installed libraries with the same options.

A peer is a function of logits and a target in which void is 255. It converts the target to the form that its library
requires, usually one-hot, and the time of the conversion counts.
"""

import importlib.util
import sys
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from benchmarks.losses import plain

VOID = 255
Peer = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Entry:
    """A loss of the catalogue with its options, and the peers that can be configured to compute the same."""

    loss: str
    options: dict[str, Any] = field(default_factory=dict)
    peers: dict[str, Peer] = field(default_factory=dict)
    void: bool = True
    """Whether the data contain void pixels; False where a peer does not support them."""

    @property
    def title(self) -> str:
        shown = {name: value for name, value in self.options.items() if name not in ("class_counts", "terms")}
        text = ", ".join(f"{name}={value}" for name, value in shown.items())
        if "terms" in self.options:
            text = " + ".join(f"{term['weight']} {term['loss']}" for term in self.options["terms"])
        return f"{self.loss} ({text})" if text else self.loss


def plain_jdt(logits: Tensor, target: Tensor) -> Tensor:
    """The Jaccard metric loss written with plain autograd: softmax, one-hot target, mask, L1 norms."""
    p = logits.softmax(1)
    if target.is_floating_point():
        y, keep = target, 1.0
    else:
        keep = (target != VOID)[:, None]
        y = F.one_hot(target.clamp_max(logits.shape[1] - 1), logits.shape[1]).movedim(-1, 1) * keep
        p = p * keep
    axes = (0, 2, 3)
    size, distance = (p.abs() + y.abs()).sum(axes), (p - y).abs().sum(axes)
    tp = (size - distance) / 2
    return 1 - ((tp + 1e-3) / (size - tp + 1e-3)).mean()


def entries(classes: int) -> list[Entry]:
    """The catalogue on hard labels, with whatever peers are installed."""
    monai, smp, kornia, mmseg = _monai(), _smp(), _kornia(), _mmseg()
    jdt = {"loss": "jaccard_metric", "weight": 0.75}
    counts = [1000 + 100 * c for c in range(classes)]

    def one_of(**peers: Any) -> dict[str, Peer]:
        return {name.replace("_", " "): peer for name, peer in peers.items() if peer is not None}

    def mn(name: str, scale: float = 1.0, **options: Any) -> Peer | None:
        if monai is None:
            return None
        loss = getattr(monai, name)(to_onehot_y=True, **options)
        return lambda z, y: scale * loss(z, y[:, None])

    def sm(name: str, **options: Any) -> Peer | None:
        return None if smp is None else getattr(smp, name)(**options)

    def ko(call: Callable[[Any], Peer]) -> Peer | None:
        return None if kornia is None else call(kornia)

    def mm(name: str, call: Mapping[str, Any] | None = None, **options: Any) -> Peer | None:
        if mmseg is None:
            return None
        loss = getattr(mmseg, name)(**options)
        return lambda z, y: loss(z, y, **(call or {}))

    ignore = {"ignore_index": VOID}
    monai_dice = {"softmax": True, "batch": True}
    return [
        Entry(
            "cross_entropy",
            {},
            one_of(
                torch=lambda z, y: F.cross_entropy(z, y, **ignore),
                mmseg=mm("CrossEntropyLoss", call=ignore, avg_non_ignore=True),
                smp=sm("SoftCrossEntropyLoss", smooth_factor=0.0, **ignore),
            ),
        ),
        Entry(
            "compound",
            {"terms": [{"loss": "cross_entropy", "weight": 0.25}, jdt]},
            one_of(plain_autograd=lambda z, y: 0.25 * F.cross_entropy(z, y, **ignore) + 0.75 * plain_jdt(z, y)),
        ),
        Entry("jaccard_metric", {}, one_of(plain_autograd=plain_jdt)),
        Entry("dice_semimetric"),
        Entry("compatible_tversky"),
        Entry(
            "dice",
            {"smooth": 1e-5},
            one_of(
                monai=mn("DiceLoss", **monai_dice),
                smp=sm("DiceLoss", mode="multiclass"),
                kornia=ko(lambda k: lambda z, y: k.dice_loss(z, y, average="macro")),
                mmseg_class_agnostic=mm("DiceLoss", use_sigmoid=False, naive_dice=True),
            ),
            void=False,
        ),
        Entry(
            "dice",
            {"squared": True, "smooth": 1e-5},
            one_of(monai=mn("DiceLoss", squared_pred=True, **monai_dice)),
            void=False,
        ),
        Entry(
            "jaccard",
            {"smooth": 1e-5},
            one_of(monai=mn("DiceLoss", jaccard=True, **monai_dice), smp=sm("JaccardLoss", mode="multiclass")),
            void=False,
        ),
        Entry(
            "tversky",
            {"alpha": 0.3, "beta": 0.7, "smooth": 1e-5},
            one_of(
                monai=mn("TverskyLoss", alpha=0.3, beta=0.7, **monai_dice),
                smp=sm("TverskyLoss", mode="multiclass", alpha=0.3, beta=0.7),
                kornia=ko(lambda k: lambda z, y: k.tversky_loss(z, y, 0.3, 0.7)),
                mmseg=mm("TverskyLoss", alpha=0.3, beta=0.7, smooth=1e-5),
            ),
            void=False,
        ),
        Entry("generalized_dice", {}, one_of(monai=mn("GeneralizedDiceLoss", **monai_dice)), void=False),
        Entry(
            "focal",
            {},
            one_of(
                monai=mn("FocalLoss", scale=classes, use_softmax=True),  # its mean is over classes, too
                kornia=ko(lambda k: lambda z, y: k.focal_loss(z, y, None, 2.0, reduction="sum") / y.numel()),
            ),
            void=False,
        ),
        Entry(
            "dice_focal",
            {"focal_weight": 1.0, "smooth": 1e-5},
            one_of(monai=mn("DiceFocalLoss", lambda_focal=float(classes), **monai_dice)),
            void=False,
        ),
        Entry("bce_dice", {}, one_of(torch_and_smp=None if smp is None else _bce_dice(smp)), void=False),
        Entry("exponential_logarithmic", {"class_counts": counts}),
        Entry("ldam", {"class_counts": counts}),
        Entry("lmf", {"class_counts": counts}),
        Entry(
            "lovasz_softmax",
            {},
            one_of(
                mmseg=mm("LovaszLoss", reduction="none"),
                smp=sm("LovaszLoss", mode="multiclass", ignore_index=VOID),
            ),
        ),
        Entry(
            "lovasz_softmax",
            {"classes": "all", "per_image": True},
            one_of(kornia=ko(lambda k: k.lovasz_softmax_loss)),
            void=False,
        ),
        Entry("lovasz_hinge", {"per_image": True}, one_of(kornia=ko(_kornia_hinge)), void=False),
        *[
            Entry(name, {}, one_of(plain_autograd=getattr(plain, name)), void=name.startswith("poly"))
            for name in (
                "confidence_penalty",
                "margin_label_smoothing",
                "average_calibration_error",
                "topk_cross_entropy",
                "poly_cross_entropy",
                "poly_focal",
                "asymmetric_focal",
                "asymmetric_focal_tversky",
                "unified_focal",
            )
        ],
        Entry("average_calibration_error", {"soft_bins": True}, {}, void=False),
        Entry(
            "neighbor_aware_calibration",
            {"border": "zero"},
            one_of(monai=None if monai is None else monai.NACLLoss(classes=classes, dim=2)),
            void=False,
        ),
        Entry("ohem_cross_entropy", {}, one_of(mmseg=mm("OhemCrossEntropy"))),
        Entry(
            "focal_tversky",
            {"smooth": 1e-5},
            one_of(smp_power_after_the_mean=sm("TverskyLoss", mode="multiclass", alpha=0.3, beta=0.7, gamma=0.75)),
            void=False,
        ),
        Entry(
            "boundary",
            {},
            one_of(monai=mn("BoundaryLoss", softmax=True, include_background=False)),
            void=False,
        ),
        Entry(
            "hausdorff",
            {},
            one_of(
                monai=mn("HausdorffDTLoss", softmax=True),  # its prediction is p > ½
                mmseg_two_classes_only=mm("HuasdorffDisstanceLoss"),
            ),
            void=False,
        ),
        Entry(
            "cldice",
            {},
            one_of(monai_classes_together=mn("SoftclDiceLoss", softmax=True, include_background=False)),
            void=False,
        ),
    ]


def soft_entries() -> list[Entry]:
    """The catalogue on soft labels, all pixels valid; the JDT losses as their articles use them on such labels."""
    jdt = {"loss": "jaccard_metric", "weight": 0.75, "classes": "all"}
    monai = _monai()
    monai_dice = {}
    if monai is not None:
        monai_dice["monai"] = monai.DiceLoss(softmax=True, batch=True, soft_label=True)
    cross_entropy = F.cross_entropy
    return [
        Entry("cross_entropy", {}, {"torch": cross_entropy}, void=False),
        Entry("jaccard_metric", {"classes": "all"}, {"plain autograd": plain_jdt}, void=False),
        Entry("jaccard_metric", {}, {}, void=False),
        Entry(
            "compound",
            {"terms": [{"loss": "cross_entropy", "weight": 0.25}, jdt]},
            {"plain autograd": lambda z, y: 0.25 * cross_entropy(z, y) + 0.75 * plain_jdt(z, y)},
            void=False,
        ),
        Entry("dice_semimetric", {"classes": "all"}, monai_dice, void=False),
        Entry("dice", {"classes": "all"}, {}, void=False),
        Entry("focal", {}, {}, void=False),
    ]


def _bce_dice(smp: types.ModuleType) -> Peer:
    dice = smp.DiceLoss(mode="multilabel", smooth=1.0)

    def loss(z: Tensor, y: Tensor) -> Tensor:
        y = F.one_hot(y, z.shape[1]).movedim(-1, 1).to(z.dtype)
        return F.binary_cross_entropy_with_logits(z, y) + dice(z, y)

    return loss


def _kornia_hinge(kornia: types.ModuleType) -> Peer:
    """The hinge of each class against the rest, in a loop: kornia has only the binary hinge."""

    def loss(z: Tensor, y: Tensor) -> Tensor:
        classes = [kornia.lovasz_hinge_loss(z[:, c : c + 1], (y == c).long()) for c in range(z.shape[1])]
        return sum(classes[1:], start=classes[0]) / len(classes)

    return loss


def _monai() -> types.ModuleType | None:
    return importlib.import_module("monai.losses") if importlib.util.find_spec("monai") else None


def _kornia() -> types.ModuleType | None:
    return importlib.import_module("kornia.losses") if importlib.util.find_spec("kornia") else None


def _smp() -> types.ModuleType | None:
    """Only the losses of segmentation-models-pytorch: its package requires encoders and a matching torchvision."""
    spec = importlib.util.find_spec("segmentation_models_pytorch")
    if spec is None or spec.origin is None:
        return None
    name = "smp_losses"
    if name not in sys.modules:
        folder = Path(spec.origin).parent / "losses"
        spec = importlib.util.spec_from_file_location(
            name, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def _mmseg() -> types.ModuleType | None:
    if importlib.util.find_spec("mmseg") is None:
        return None
    from segloss.engine.mmcv_stub import import_mmseg

    import_mmseg()
    return importlib.import_module("mmseg.models.losses")
