"""The losses: pure functions of logits, target and valid, and a catalogue of them by name."""

from segloss.losses._catalogue import CATALOGUE, get, register
from segloss.losses._compound import compound
from segloss.losses._jdt import compatible_tversky, dice_semimetric, jaccard_metric
from segloss.losses._lovasz import lovasz_softmax
from segloss.losses._overlap import dice
from segloss.losses._pixel import cross_entropy, focal
from segloss.losses._switches import set_switches, switches

__all__ = [
    "CATALOGUE",
    "compatible_tversky",
    "compound",
    "cross_entropy",
    "dice",
    "dice_semimetric",
    "focal",
    "get",
    "jaccard_metric",
    "lovasz_softmax",
    "register",
    "set_switches",
    "switches",
]
