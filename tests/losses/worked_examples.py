"""Small inputs with the values of losses worked out from their formulas, most of them confirmed by other code."""

import torch

# Four pixels and three classes; p_y is .665241, .665241, .114195 and .422319.
LOGITS = torch.tensor([[2, 1, 0], [0, 2, 1], [1, 0, 3], [0, 1, 1]], dtype=torch.float64).T.reshape(1, 3, 2, 2)
CLASS_MAP = torch.tensor([[[0, 1], [0, 2]]])
SOFT = torch.tensor([[0.75, 0.25, 0], [0, 1, 0], [0.5, 0, 0.5], [0, 0.25, 0.75]], dtype=torch.float64)
LAST_VOID = torch.tensor([[[True, True], [True, False]]])


def _binary(foreground: torch.Tensor) -> torch.Tensor:
    return torch.stack([1 - foreground, foreground])[None].log()


def _square():
    """A square of 4x4, predicted one column too far to the right."""
    foreground, target = torch.full((8, 8), 0.1, dtype=torch.float64), torch.zeros(1, 8, 8, dtype=torch.int64)
    foreground[2:6, 3:7], target[:, 2:6, 2:6] = 0.9, 1
    return _binary(foreground), target, None


def _bar():
    """A bar of 3x7, predicted with a gap."""
    foreground, target = torch.full((9, 9), 0.1, dtype=torch.float64), torch.zeros(1, 9, 9, dtype=torch.int64)
    foreground[3:6, 1:8], target[:, 3:6, 1:8] = 0.9, 1
    foreground[:, 4] = 0.3
    return _binary(foreground), target, None


INPUTS = {
    "pixels": (LOGITS, CLASS_MAP, None),
    "void": (LOGITS, CLASS_MAP, LAST_VOID),
    "soft": (LOGITS, SOFT.T.reshape(1, 3, 2, 2), None),
    "square": _square(),
    "bar": _bar(),
}
CE = (0.407606, 0.407606, 2.169846, 0.861995)
EXAMPLES = [
    ("confidence_penalty", {}, {"pixels": 0.881603, "void": 0.922051, "soft": 0.694103}),
    ("confidence_penalty", {"ce_weight": 0.0}, {"pixels": 0.881603 - 0.961763}),
    ("margin_label_smoothing", {}, {"pixels": 0.961763}),
    ("margin_label_smoothing", {"margin": 1.0}, {"pixels": 1.003430, "void": 1.050575, "soft": 0.815930}),
    ("margin_label_smoothing", {"margin": 1.0, "alpha": 1.0, "ce_weight": 0.0}, {"pixels": 0.416667}),
    ("margin_label_smoothing", {"margin": 2.0}, {"pixels": 0.970097}),
    ("neighbor_aware_calibration", {}, {"pixels": 1.053430, "void": 1.095019}),
    ("neighbor_aware_calibration", {"border": "zero"}, {"pixels": 1.058059}),
    ("neighbor_aware_calibration", {"border": "zero", "distance": "l2"}, {"pixels": 1.119788}),
    ("neighbor_aware_calibration", {"distance": "l2", "alpha": 1.0, "ce_weight": 0.0}, {"pixels": 1.333333}),
    ("average_calibration_error", {"bins": 5}, {"pixels": 0.324709, "void": 0.286744, "soft": 0.151977}),
    (
        "average_calibration_error",
        {"bins": 5, "soft_bins": True},
        {"pixels": 0.323989, "void": 0.366926, "soft": 0.141962},
    ),
    ("average_calibration_error", {"bins": 5, "classes": "all"}, {"pixels": (0.274115 + 0.260954 + 0.439059) / 3}),
    ("average_calibration_error", {}, {"pixels": 0.355501}),
    ("average_calibration_error", {"soft_bins": True, "per_image": False}, {"pixels": 0.325045}),
    ("poly_cross_entropy", {}, {"pixels": 1.495014, "void": 1.513460, "soft": 1.242596}),
    ("poly_cross_entropy", {"epsilon": 2.0}, {"pixels": 2.028265}),
    ("poly_cross_entropy", {"epsilon": -1.0}, {"pixels": 0.428512}),
    ("poly_focal", {}, {"pixels": 0.761111, "void": 0.854667}),
    ("poly_focal", {"epsilon": 0.0}, {"pixels": 0.520397}),
    ("topk_cross_entropy", {}, {"pixels": CE[2]}),  # at least one pixel
    ("topk_cross_entropy", {"k": 0.5}, {"pixels": (CE[2] + CE[3]) / 2, "void": CE[2]}),
    ("topk_cross_entropy", {"k": 1.0}, {"pixels": 0.961763, "void": 0.995019, "soft": 0.774263}),
    ("ohem_cross_entropy", {"threshold": 0.3, "min_kept": 1}, {"pixels": CE[2]}),
    ("ohem_cross_entropy", {"threshold": 0.3, "min_kept": 3}, {"pixels": (CE[0] + CE[2] + CE[3]) / 3}),
    ("ohem_cross_entropy", {"threshold": 0.5, "min_kept": 1}, {"pixels": (CE[2] + CE[3]) / 2}),
    ("ohem_cross_entropy", {"threshold": None, "min_kept": 9}, {"pixels": 0.961763}),
    ("focal_tversky", {"smooth": 0.0}, {"pixels": 0.618384, "void": 0.526127}),
    ("focal_tversky", {"smooth": 0.0, "power": 4 / 3}, {"pixels": 0.431400}),
    ("focal_tversky", {"smooth": 0.0, "classes": "all"}, {"void": 0.684083}),
    ("asymmetric_focal", {"delta": 0.6, "gamma": 0.5}, {"square": 0.161973}),
    ("asymmetric_focal_tversky", {"delta": 0.6, "gamma": 0.5}, {"square": 0.368503}),
    ("unified_focal", {}, {"square": 0.265238}),
    ("unified_focal", {"delta": 0.7}, {"square": 0.264306}),
    ("boundary", {}, {"square": 0.123217}),
    ("boundary", {"include_background": True}, {"square": -0.142869}),
    ("hausdorff", {}, {"square": 0.265}),
    ("hausdorff", {"include_background": True}, {"square": 0.265}),
    ("hausdorff", {"log": True}, {"square": 0.235072}),
    ("cldice", {"iterations": 0}, {"bar": 0.285714}),
    ("cldice", {"iterations": 1}, {"bar": 0.210167}),
    ("cldice", {}, {"bar": 0.203252}),
]
