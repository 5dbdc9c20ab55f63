"""Label scenarios: from class maps, rater stacks or a teacher to the target a loss is trained on.

Every function of ``CATALOGUE`` is called as ``scenario(labels, valid, num_classes, **options)`` and returns
``(target, valid)``: the target an int64 class map (B, *spatial) or float32 probabilities (B, C, *spatial), and a bool
mask (B, *spatial). Its attribute ``source`` says what ``labels`` is: "map" for int64 class ids (B, *spatial), "raters"
for int64 (B, R, *spatial); ``valid`` is bool of the same shape. Anything may stand in ``labels`` where it is False.
"""

from segloss.labels._catalogue import CATALOGUE, register
from segloss.labels._maps import boundary_smoothing, hard, uniform_smoothing
from segloss.labels._raters import rater_mean

__all__ = ["CATALOGUE", "boundary_smoothing", "hard", "rater_mean", "register", "uniform_smoothing"]
