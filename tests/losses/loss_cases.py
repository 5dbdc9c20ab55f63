"""The options with which the tests call every loss of the catalogue, and small inputs."""

from typing import Any

import torch
from torch import Tensor

COUNTS = [100, 20, 3, 0, 50]  # training pixels of the five classes of every case; one never occurs
WEIGHTS = [1.0, 0.5, 2.0, 0.0, 3.0]
CLASSES = len(COUNTS)

REGION_OPTIONS: list[dict[str, Any]] = [
    {},
    {"level_weights": (0.5, 0.3, 0.2)},
    {"classes": "all", "power": 2.0},
    {"classes": "agnostic", "class_weights": WEIGHTS},
    {"smooth": 0.0, "class_weights": WEIGHTS, "log": True},
    {"classes": "all", "smooth": 0.0, "power": 0.75},
]
OPTIONS: dict[str, list[dict[str, Any]]] = {
    "cross_entropy": [{}, {"class_weights": WEIGHTS}, {"weighting": "median", "class_counts": COUNTS}],
    "focal": [{}, {"gamma": 0.5, "alpha": WEIGHTS}, {"gamma": 0.0}],
    "dice": [*REGION_OPTIONS, {"squared": True}],
    "jaccard": [*REGION_OPTIONS, {"squared": True}],
    "tversky": REGION_OPTIONS,
    "generalized_dice": [
        {},
        {"per_image": True},
        {"weight_type": "simple", "smooth": 0.5, "class_weights": WEIGHTS},
        {"weight_type": "uniform"},
    ],
    "bce_dice": [{}, {"classes": "all", "dice_weight": 0.3}, {"class_weights": WEIGHTS}],
    "dice_focal": [{}, {"gamma": 0.5, "alpha": WEIGHTS}],
    "exponential_logarithmic": [{}, {"class_counts": COUNTS, "gamma_cross": 0.7}],
    "lovasz_softmax": [
        {},
        {"per_image": True},
        {"classes": "all"},
        {"class_weights": WEIGHTS},
        {"per_image": True, "class_weights": WEIGHTS, "classes": "all"},
    ],
    "lovasz_hinge": [{}, {"per_image": True}, {"classes": "present", "class_weights": WEIGHTS}],
    "jaccard_metric": REGION_OPTIONS,
    "dice_semimetric": REGION_OPTIONS,
    "compatible_tversky": [*REGION_OPTIONS, {"alpha": 0.9, "beta": 0.2}],
    "ldam": [{"class_counts": COUNTS}, {"class_counts": COUNTS, "scale": 3.0, "reweighting": 0.9}],
    "lmf": [{"class_counts": COUNTS}, {"class_counts": COUNTS, "ldam_weight": 1.5, "gamma": 1.5, "scale": 2.0}],
    "confidence_penalty": [{}, {"alpha": 0.5, "ce_weight": 0.3}],
    "margin_label_smoothing": [{}, {"margin": 1.0, "alpha": 0.7, "ce_weight": 0.0}],
    "neighbor_aware_calibration": [{}, {"border": "zero", "distance": "l2"}, {"kernel_size": 5, "ce_weight": 0.5}],
    "average_calibration_error": [
        {},
        {"bins": 5, "soft_bins": True},
        {"bins": 7, "per_image": False, "classes": "all"},
        {"soft_bins": True, "per_image": False},
    ],
    "poly_cross_entropy": [{}, {"epsilon": -1.0, "alpha": WEIGHTS}],
    "poly_focal": [{}, {"gamma": 0.5, "epsilon": 2.0, "alpha": WEIGHTS}],
    "topk_cross_entropy": [{}, {"k": 0.6}],
    "ohem_cross_entropy": [{}, {"threshold": 0.3, "min_kept": 5}, {"threshold": None, "min_kept": 7}],
    "focal_tversky": [{}, {"alpha": 0.4, "power": 2.0, "classes": "all"}],
    "asymmetric_focal": [{}, {"delta": 0.2, "gamma": 0.5}],
    "asymmetric_focal_tversky": [{}, {"delta": 0.4, "gamma": 0.3, "classes": "all"}],
    "unified_focal": [{}, {"region_weight": 0.2, "delta": 0.3}],
    "boundary": [{}, {"include_background": True}],
    "hausdorff": [{}, {"alpha": 1.0, "include_background": True, "log": True}],
    "cldice": [{}, {"iterations": 1, "smooth": 0.1, "include_background": True}],
    "compound": [
        {"terms": [{"loss": "cross_entropy", "weight": 0.25}, {"loss": "jaccard_metric", "weight": 0.75}]},
        {
            "terms": [{"loss": "ldam"}, {"loss": "dice", "squared": True}, {"loss": "bce_dice", "weight": 0.1}],
            "class_counts": COUNTS,
        },
    ],
}
HARD_ONLY = {"lovasz_softmax", "lovasz_hinge", "boundary", "cldice"}
READS_NEIGHBOURS = {"neighbor_aware_calibration", "boundary", "hausdorff", "cldice"}
BACKGROUND_APART = {  # class 0 is the background
    "asymmetric_focal",
    "asymmetric_focal_tversky",
    "unified_focal",
    "boundary",
    "hausdorff",
    "cldice",
}
MAY_BE_NEGATIVE = {"confidence_penalty", "boundary"}
Case = tuple[str, dict[str, Any]]
HARD: list[Case] = [(name, options) for name, choices in OPTIONS.items() for options in choices]
SOFT: list[Case] = [(name, options) for name, options in HARD if name not in HARD_ONLY]


def label(value: object) -> str | None:
    """The name of a parameter in the test's identifier."""
    if isinstance(value, dict):
        return ",".join(f"{key}={item}" for key, item in value.items()).replace(" ", "") or "default"
    return None


def inputs(seed: int, spatial: tuple[int, ...] = (6, 7), dtype: torch.dtype = torch.float64, images: int = 3):
    """Logits, a class map (class 3 absent), probabilities, and a mask with one image all void."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(images, CLASSES, *spatial, generator=generator, dtype=torch.float64)
    target = torch.tensor([0, 1, 2, 4])[torch.randint(4, (images, *spatial), generator=generator)]
    soft = torch.softmax(2 * torch.randn(images, CLASSES, *spatial, generator=generator, dtype=torch.float64), 1)
    valid = torch.rand(images, *spatial, generator=generator) > 0.25
    valid[-1] = False
    return logits.to(dtype), target, soft.to(dtype), valid


def value_and_gradient(loss, logits: Tensor, target: Tensor, **options: Any) -> tuple[Tensor, Tensor]:
    """The loss and its gradient with respect to the logits."""
    logits = logits.detach().requires_grad_()
    value = loss(logits, target, **options)
    (gradient,) = torch.autograd.grad(value, logits)
    return value.detach(), gradient
