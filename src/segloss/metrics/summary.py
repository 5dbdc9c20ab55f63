"""From counts to metrics: pure functions in float64, nothing rounded."""

import numpy as np

from segloss.metrics._agreement import rater_scores, soft_truth_metrics
from segloss.metrics._calibration import bin_gaps, calibration_metrics, classwise_calibration_metrics, reported_bins
from segloss.metrics._edges import boundary_metrics
from segloss.metrics._overlap import class_scores, foreground_metrics, image_scores, overlap_metrics, precision
from segloss.metrics.counts import Counts


def summarize(counts: Counts) -> dict[str, float]:
    """Every metric the counts allow, by its name in `METRICS`, which states meaning, unit, direction and source.

    Raises:
        ValueError: no valid pixel was counted.
    """
    rows = _seen(counts)[1]
    pixels = rows["labelled"].sum()
    result = overlap_metrics(rows)
    result |= calibration_metrics(rows, counts.totals["fine_histogram"], counts.total("fine_confidence"))
    if counts.num_classes == 2:
        result |= foreground_metrics(rows)
    if counts.classwise:
        result |= classwise_calibration_metrics(rows, counts.totals, counts.total("class_probability"))
    result["NLL"] = rows["negative_log_likelihood"].sum() / pixels
    result["Brier"] = rows["brier"].sum() / pixels
    if "soft_levels" in rows:
        result |= soft_truth_metrics(rows)
    if "rater_labelled" in rows and (scores := [score["mDice"] for score in rater_scores(rows) if score]):
        result["mDice_raters"] = float(np.mean(scores))
    result |= boundary_metrics(rows)
    return {name: float(value) for name, value in result.items()}


def per_class(counts: Counts) -> dict[str, dict[int, float]]:
    """Acc (recall), Precision, IoU and Dice in percent by class over the data set.

    A class that occurs neither in labels nor in predictions has no entry (see `absent_classes`); Acc has none for a
    class without labels, Precision none for a class without predictions.
    """
    rows = _seen(counts)[1]
    hits, labelled, predicted = (rows[name].sum(0) for name in ("true_positives", "labelled", "predicted"))
    scores = class_scores(hits, labelled, predicted) | {"Precision": precision(hits, predicted)}
    return {
        name: {index: float(100 * score[index]) for index in np.flatnonzero(~np.isnan(score)).tolist()}
        for name, score in scores.items()
    }


def absent_classes(counts: Counts) -> list[int]:
    """Classes that occur neither in the labels nor in the predictions, which the means therefore leave out."""
    rows = _seen(counts)[1]
    return np.flatnonzero((rows["labelled"] + rows["predicted"]).sum(0) == 0).tolist()


def per_rater(counts: Counts) -> list[dict[str, float]]:
    """For each rater, over the images this rater labelled: mIoU, mDice, for two classes also IoU_fg, Dice_fg; percent.

    Raises:
        ValueError: the counts were taken without raters.
    """
    rows = _seen(counts)[1]
    if "rater_labelled" not in rows:
        raise ValueError("these counts have no raters; pass raters=(B, R, H, W) to Counts.update")
    return rater_scores(rows)


def per_image(counts: Counts) -> dict[str, np.ndarray]:
    """Columns name, pixels, aAcc, mIoU_I, mDice_I, ECE_I (percent), NLL, Brier: one entry per image with a valid pixel.

    For comparing two models on the same images; with a soft truth also KL.
    """
    names, rows = _seen(counts)
    pixels, right, confidence = reported_bins(rows)
    pixels = pixels.sum(1)
    scores = image_scores(rows)
    columns = {
        "name": names,
        "pixels": pixels,
        "aAcc": 100 * rows["true_positives"].sum(1) / pixels,
        "mIoU_I": 100 * np.nanmean(scores["IoU"], 1),
        "mDice_I": 100 * np.nanmean(scores["Dice"], 1),
        "ECE_I": 100 * bin_gaps(right, confidence).sum(1) / pixels,
        "NLL": rows["negative_log_likelihood"] / pixels,
        "Brier": rows["brier"] / pixels,
    }
    return columns | ({"KL": rows["soft_divergence"] / pixels} if "soft_divergence" in rows else {})


def reliability(counts: Counts) -> dict[str, np.ndarray]:
    """Columns pixels, accuracy, confidence (both in [0, 1]) of the non-empty bins among the 10, for a diagram."""
    pixels, right, confidence = (part.sum(0) for part in reported_bins(_seen(counts)[1]))
    some = pixels > 0
    return {
        "pixels": pixels[some],
        "accuracy": right[some] / pixels[some],
        "confidence": confidence[some] / pixels[some],
    }


def _seen(counts: Counts) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Names and rows of the images that have a valid pixel: the others have no metric of their own and add nothing."""
    rows = counts.rows
    some = rows["labelled"].any(1) if rows else np.zeros(0, bool)
    if not some.any():
        raise ValueError("no valid pixel was counted, so no metric is defined")
    names = np.array(counts.names, dtype=str)
    return (names, rows) if some.all() else (names[some], {name: row[some] for name, row in rows.items()})
