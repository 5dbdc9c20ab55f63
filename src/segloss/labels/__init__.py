"""Label scenarios: from class maps, rater stacks or a teacher to the target a loss is trained on.

Every function of ``CATALOGUE`` is called as ``scenario(labels, valid, num_classes, **options)`` and returns
``(target, valid)``: the target an int64 class map (B, *spatial) or float32 probabilities (B, C, *spatial), and a bool
mask (B, *spatial). Its attribute ``source`` says what ``labels`` is: "map" for int64 class ids (B, *spatial), "raters"
for int64 (B, R, *spatial); ``valid`` is bool of the same shape. Anything may stand in ``labels`` where it is False.
Its attribute ``needs`` names the options that are tensors of the batch ("draws", "teacher_logits").
``pseudo_labels`` stands beside the catalogue: it is for images without labels.
"""

from segloss.labels._catalogue import CATALOGUE, register
from segloss.labels._maps import boundary_smoothing, gaussian_smoothing, hard, uniform_smoothing
from segloss.labels._raters import dice_weighted_raters, majority, random_rater, rater_mean
from segloss.labels._staple import staple
from segloss.labels._teacher import pseudo_labels, teacher, teacher_probabilities

__all__ = [
    "CATALOGUE",
    "boundary_smoothing",
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
