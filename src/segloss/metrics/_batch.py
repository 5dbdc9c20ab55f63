"""Counts of one batch of predictions: the part of `Counts` that needs torch."""

import numpy as np
from torch import Tensor

from segloss.metrics._boundary import boundary_counts, edge_counts
from segloss.metrics._calibration import bin_gaps, merge_bins
from segloss.metrics._check import check_labels, check_probabilities, check_raters, check_valid
from segloss.metrics._exact import exact_sum
from segloss.metrics._hard import hard_label_counts, largest_class
from segloss.metrics._soft import rater_counts, soft_truth_counts
from segloss.metrics.boundaries import Boundaries

Arrays = dict[str, np.ndarray]


def count_batch(
    probabilities: Tensor,
    labels: Tensor,
    valid: Tensor | None,
    num_classes: int,
    bins: int,
    classwise: bool,
    boundaries: Boundaries | None = None,
    truth: Tensor | None = None,
    raters: Tensor | None = None,
    present: Tensor | None = None,
) -> tuple[Arrays, Arrays]:
    """The rows of each image and the totals of the batch, as `Counts` holds them; arguments as for `Counts.update`."""
    check_probabilities("probabilities", probabilities, (None, num_classes, None, None))
    valid = check_valid(valid, probabilities)
    labels = check_labels("labels", labels, valid, num_classes, tuple(valid.shape))
    probabilities = probabilities.detach()
    counts = hard_label_counts(probabilities, labels, valid, bins, classwise)
    if truth is not None:
        check_probabilities("truth", truth, tuple(probabilities.shape))
        counts |= soft_truth_counts(probabilities, truth.detach(), valid)
    truths, seen = labels[:, None], valid[:, None]
    if raters is not None:
        truths, seen = check_raters(raters, present, valid, num_classes)
        counts |= rater_counts(probabilities, truths, seen)
    if boundaries is not None:
        _, predicted = largest_class(probabilities)
        counts |= boundary_counts(predicted, labels, valid, num_classes, boundaries)
    if boundaries is not None and boundaries.edge_tolerance is not None:
        counts |= edge_counts(probabilities[:, 1], truths, seen, valid, boundaries.edge_tolerance)
    rows = {name: count.cpu().numpy() for name, count in counts.items()}
    # No metric needs finer bins per image, and they would make up most of a file of counts.
    rows |= {name: merge_bins(rows[name]) for name in ("histogram", "confidence")}
    confusion = rows.pop("confusion")
    totals = {
        "confusion": confusion.sum(0),
        "fine_histogram": rows.pop("fine_histogram").sum(0),
        "fine_confidence": exact_sum(rows.pop("fine_confidence")),
    }
    if classwise:
        right, probability = (merge_bins(rows[f"class_{name}"]) for name in ("right", "probability"))
        rows["class_gap"] = bin_gaps(right, probability).sum(2)
        totals["class_probability"] = exact_sum(rows.pop("class_probability"))
        totals |= {name: rows.pop(name).sum(0) for name in ("class_pixels", "class_labelled", "class_right")}
    rows["true_positives"] = np.ascontiguousarray(confusion.diagonal(axis1=1, axis2=2))
    rows["labelled"], rows["predicted"] = confusion.sum(2), confusion.sum(1)
    return rows, totals
