"""The losses: pure functions of logits, target and valid, and a catalogue of them by name.

>>> import torch
>>> from segloss.losses import compound
>>> logits, target = torch.zeros(1, 2, 4, 4), torch.zeros(1, 4, 4, dtype=torch.int64)
>>> terms = [{"loss": "cross_entropy", "weight": 0.25}, {"loss": "jaccard_metric", "weight": 0.75}]
>>> round(float(compound(logits, target, terms=terms)), 3)
0.548
"""

from segloss.losses._boundary import boundary, hausdorff
from segloss.losses._calibration import confidence_penalty, margin_label_smoothing, neighbor_aware_calibration
from segloss.losses._calibration_error import average_calibration_error
from segloss.losses._catalogue import CATALOGUE, get, register
from segloss.losses._composite import bce_dice, dice_focal, exponential_logarithmic
from segloss.losses._compound import compound
from segloss.losses._flags import set_switches, switches
from segloss.losses._hard_pixels import ohem_cross_entropy, topk_cross_entropy
from segloss.losses._jdt import compatible_tversky, dice_semimetric, jaccard_metric
from segloss.losses._lovasz import lovasz_softmax
from segloss.losses._margin import ldam, lmf
from segloss.losses._overlap import dice, generalized_dice, jaccard, tversky
from segloss.losses._pixel import cross_entropy, focal
from segloss.losses._poly import poly_cross_entropy, poly_focal
from segloss.losses._skeleton import cldice
from segloss.losses._unified_focal import asymmetric_focal, asymmetric_focal_tversky, focal_tversky, unified_focal
from segloss.losses._weights import class_weights

__all__ = [
    "CATALOGUE",
    "asymmetric_focal",
    "asymmetric_focal_tversky",
    "average_calibration_error",
    "bce_dice",
    "boundary",
    "class_weights",
    "cldice",
    "compatible_tversky",
    "compound",
    "confidence_penalty",
    "cross_entropy",
    "dice",
    "dice_focal",
    "dice_semimetric",
    "exponential_logarithmic",
    "focal",
    "focal_tversky",
    "generalized_dice",
    "get",
    "hausdorff",
    "jaccard",
    "jaccard_metric",
    "ldam",
    "lmf",
    "lovasz_softmax",
    "margin_label_smoothing",
    "neighbor_aware_calibration",
    "ohem_cross_entropy",
    "poly_cross_entropy",
    "poly_focal",
    "register",
    "set_switches",
    "switches",
    "topk_cross_entropy",
    "tversky",
    "unified_focal",
]
