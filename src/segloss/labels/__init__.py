"""Label scenarios: from class maps, rater stacks or a teacher to the target of a loss.

Every function of ``CATALOGUE`` is called as ``scenario(labels, valid, num_classes, **options)``:

- ``labels``: class ids, int64; (B, *spatial) if the function's ``source`` is "map", one map per image, and
  (B, R, *spatial) if it is "raters", one map per rater. Arbitrary where ``valid`` is False.
- ``valid``: bool of the same shape, False for void; a missing rater is False everywhere.
- ``num_classes``: the number of classes C.

It returns ``(target, valid)``: the target an int64 class map (B, *spatial) or float32 probabilities (B, C, *spatial),
and a bool mask (B, *spatial). The function's ``needs`` are the options that are tensors of the batch ("draws",
"teacher_logits"). ``pseudo_labels`` is not in the catalogue: it is for images without labels.

Every private module of this package is imported, so a scenario in a new file is registered automatically.
"""

import importlib
import pkgutil

from segloss.labels._catalogue import CATALOGUE, register
from segloss.labels._maps import boundary_smoothing, gaussian_smoothing, hard, uniform_smoothing
from segloss.labels._raters import dice_rater_weights, dice_weighted_raters, majority, random_rater, rater_mean
from segloss.labels._staple import staple
from segloss.labels._teacher import pseudo_labels, teacher, teacher_probabilities

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
globals().update(CATALOGUE)

__all__ = [
    "CATALOGUE",
    "boundary_smoothing",
    "dice_rater_weights",
    "dice_weighted_raters",
    "gaussian_smoothing",
    "hard",
    "majority",
    "pseudo_labels",
    "random_rater",
    "rater_mean",
    "register",
    "staple",
    "teacher",
    "teacher_probabilities",
    "uniform_smoothing",
]
