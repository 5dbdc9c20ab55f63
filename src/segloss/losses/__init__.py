"""The losses: pure functions of logits, target and valid, and a catalogue of them by name.

Every private module of this folder is imported, so that a loss in a new file is found by being there.

>>> import torch
>>> from segloss.losses import compound
>>> logits, target = torch.zeros(1, 2, 4, 4), torch.zeros(1, 4, 4, dtype=torch.int64)
>>> terms = [{"loss": "cross_entropy", "weight": 0.25}, {"loss": "jaccard_metric", "weight": 0.75}]
>>> round(float(compound(logits, target, terms=terms)), 3)
0.548
"""

import importlib
import pkgutil

from segloss.losses._catalogue import CATALOGUE, get, register
from segloss.losses._composite import bce_dice, dice_focal, exponential_logarithmic
from segloss.losses._compound import compound
from segloss.losses._flags import set_switches, switches
from segloss.losses._jdt import compatible_tversky, dice_semimetric, jaccard_metric
from segloss.losses._lovasz import lovasz_softmax
from segloss.losses._margin import ldam, lmf
from segloss.losses._overlap import dice, generalized_dice, jaccard, tversky
from segloss.losses._pixel import cross_entropy, focal
from segloss.losses._weights import class_weights

for _module in pkgutil.iter_modules(__path__):
    if _module.name != "_fused":  # needs Triton; imported where there is a GPU
        importlib.import_module(f"{__name__}.{_module.name}")
globals().update(CATALOGUE)

__all__ = [
    "CATALOGUE",
    "bce_dice",
    "class_weights",
    "compatible_tversky",
    "compound",
    "cross_entropy",
    "dice",
    "dice_focal",
    "dice_semimetric",
    "exponential_logarithmic",
    "focal",
    "generalized_dice",
    "get",
    "jaccard",
    "jaccard_metric",
    "ldam",
    "lmf",
    "lovasz_softmax",
    "register",
    "set_switches",
    "switches",
    "tversky",
]
