"""The losses: pure functions of logits, target and valid, and a catalogue of them by name.

Every loss is called as ``loss(logits, target, *, valid=None, <options>)`` and returns a scalar:

- ``logits``: (B, C, *spatial), any float type and any number of spatial axes; half precision is computed in float32.
- ``target``: int64 class map (B, *spatial), or probabilities (B, C, *spatial) that sum to 1 over the classes.
- ``valid``: bool (B, *spatial), False for void, where the target is arbitrary; None: every pixel is valid. Void
  pixels contribute nothing to value or gradient; without valid pixels the loss is exactly 0, with zero gradient.

For finite logits no gradient is NaN or infinite, nor is any value unless the logits, weights and exponents overflow the
dtype: log p is clamped at -1e30. Under ``torch.distributed`` the sums are all-reduced over the processes: W processes
give the value and, after DDP's averaging, the gradient of one process with all the data. Target values are checked,
which synchronises with the device; ``with unchecked():`` skips the checks.

Each loss is an ``nn.Module`` too, under the name it has in MMSegmentation's registry: `JaccardMetricLoss` takes the
options when it is built, and logits, target and ``valid`` or ``ignore_index`` when it is called.

Every private module of this package is imported, so a loss in a new file is registered automatically.

>>> import torch
>>> from segloss.losses import compound
>>> logits, target = torch.zeros(1, 2, 4, 4), torch.zeros(1, 4, 4, dtype=torch.int64)
>>> terms = [{"loss": "cross_entropy", "weight": 0.25}, {"loss": "jaccard_metric", "weight": 0.75}]
>>> round(float(compound(logits, target, terms=terms)), 3)
0.548
"""

import difflib
import importlib
import pkgutil

from segloss.losses._boundary import boundary, hausdorff
from segloss.losses._calibration import confidence_penalty, margin_label_smoothing, neighbor_aware_calibration
from segloss.losses._calibration_error import average_calibration_error
from segloss.losses._catalogue import CATALOGUE, Loss, check_options, get, register
from segloss.losses._composite import bce_dice, dice_focal, exponential_logarithmic
from segloss.losses._compound import compound, term_report
from segloss.losses._flags import set_switches, switches, unchecked
from segloss.losses._hard_pixels import ohem_cross_entropy, topk_cross_entropy
from segloss.losses._jdt import compatible_tversky, dice_semimetric, jaccard_metric
from segloss.losses._lovasz import lovasz_hinge, lovasz_softmax
from segloss.losses._margin import ldam, lmf
from segloss.losses._modules import SegmentationLoss, module_class
from segloss.losses._overlap import dice, generalized_dice, jaccard, tversky
from segloss.losses._pixel import cross_entropy, focal
from segloss.losses._poly import poly_cross_entropy, poly_focal
from segloss.losses._skeleton import cldice
from segloss.losses._unified_focal import asymmetric_focal, asymmetric_focal_tversky, focal_tversky, unified_focal
from segloss.losses._weights import class_weights

for _module in pkgutil.iter_modules(__path__):
    if _module.name != "_fused":  # needs Triton; imported only for logits on a GPU
        importlib.import_module(f"{__name__}.{_module.name}")
globals().update(CATALOGUE)


def __getattr__(name: str) -> type[SegmentationLoss]:
    """The module class of a loss, made on first use."""
    modules = {loss.module_name: loss for loss in CATALOGUE.values()}
    if name not in modules:
        near = difflib.get_close_matches(name, [*modules, *CATALOGUE], n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}{hint}")
    globals()[name] = module_class(modules[name])
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *(loss.module_name for loss in CATALOGUE.values())})


__all__ = [
    "CATALOGUE",
    "Loss",
    "SegmentationLoss",
    "asymmetric_focal",
    "asymmetric_focal_tversky",
    "average_calibration_error",
    "bce_dice",
    "boundary",
    "check_options",
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
    "lovasz_hinge",
    "lovasz_softmax",
    "margin_label_smoothing",
    "module_class",
    "neighbor_aware_calibration",
    "ohem_cross_entropy",
    "poly_cross_entropy",
    "poly_focal",
    "register",
    "set_switches",
    "switches",
    "term_report",
    "topk_cross_entropy",
    "tversky",
    "unchecked",
    "unified_focal",
]
