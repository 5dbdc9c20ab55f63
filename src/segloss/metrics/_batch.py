"""Counts of one batch of predictions: the part of `Counts` that needs torch."""

import numpy as np
from torch import Tensor

from segloss.metrics._check import check_labels, check_present, check_probabilities, check_valid
from segloss.metrics._exact import exact_sum
from segloss.metrics._hard import hard_label_counts
from segloss.metrics._soft import rater_counts, soft_truth_counts

Arrays = dict[str, np.ndarray]


def count_batch(
    probabilities: Tensor,
    labels: Tensor,
    valid: Tensor | None,
    num_classes: int,
    bins: int,
    classwise: bool,
    truth: Tensor | None = None,
    raters: Tensor | None = None,
    present: Tensor | None = None,
) -> tuple[Arrays, Arrays]:
    """The rows of each image and the totals of the batch, as `Counts` holds them; arguments as of `Counts.update`."""
    check_probabilities("probabilities", probabilities, (None, num_classes, None, None))
    valid = check_valid(valid, probabilities)
    labels = check_labels("labels", labels, valid, num_classes, tuple(valid.shape))
    probabilities = probabilities.detach()
    counts = hard_label_counts(probabilities, labels, valid, bins, classwise)
    if truth is not None:
        check_probabilities("truth", truth, tuple(probabilities.shape))
        counts |= soft_truth_counts(probabilities, truth.detach(), valid)
    if raters is not None:
        shape = (len(labels), raters.shape[1] if raters.ndim == 4 else "R", *labels.shape[1:])
        seen = valid[:, None] & check_present(present, raters)[:, :, None, None]
        raters = check_labels("raters", raters, seen, num_classes, shape)
        counts |= rater_counts(probabilities, raters, seen)
    rows = {name: count.cpu().numpy() for name, count in counts.items()}
    confusion = rows.pop("confusion")
    totals = {"confusion": confusion.sum(0)}
    if classwise:
        totals["class_probability"] = exact_sum(rows.pop("class_probability"))
        totals |= {name: rows.pop(name).sum(0) for name in ("class_pixels", "class_labelled", "class_right")}
    rows["true_positives"] = np.ascontiguousarray(confusion.diagonal(axis1=1, axis2=2))
    rows["labelled"], rows["predicted"] = confusion.sum(2), confusion.sum(1)
    return rows, totals
