"""From counts to metrics: pure functions in float64, nothing rounded."""

import numpy as np

from segloss.metrics.counts import Counts

REPORTED_BINS = 10
WORST_PERCENT = 5


def summarize(counts: Counts) -> dict[str, float]:
    """Every metric the counts allow, by its name in `METRICS` (which states meaning, unit, direction and source).

    Raises:
        ValueError: no valid pixel was counted.
    """
    rows = counts.rows
    if not rows or not rows["labelled"].any():
        raise ValueError("no valid pixel was counted, so no metric is defined")
    pixels = rows["labelled"].sum()
    result = _overlap(rows) | _calibration(rows)
    if counts.classwise:
        result |= _classwise_calibration(counts)
    result["NLL"] = rows["negative_log_likelihood"].sum() / pixels
    result["Brier"] = rows["brier"].sum() / pixels
    return {name: float(value) for name, value in result.items()}


def per_class(counts: Counts) -> dict[str, dict[int, float]]:
    """IoU, Dice and Acc in percent by class over the data set.

    A class that occurs neither in labels nor in predictions has no entry (see `absent_classes`); Acc has none for a
    class without labels.
    """
    rows = counts.rows
    scores = _scores(*(rows[name].sum(0) for name in ("true_positives", "labelled", "predicted")))
    return {
        name: {index: float(100 * score[index]) for index in np.flatnonzero(~np.isnan(score)).tolist()}
        for name, score in scores.items()
    }


def absent_classes(counts: Counts) -> list[int]:
    """Classes that occur neither in the labels nor in the predictions, which the means therefore leave out."""
    rows = counts.rows
    return np.flatnonzero((rows["labelled"] + rows["predicted"]).sum(0) == 0).tolist()


def per_image(counts: Counts) -> dict[str, np.ndarray]:
    """Columns name, pixels, aAcc, mIoU_I, mDice_I, ECE_I (percent), NLL, Brier: one entry per image with a valid pixel.

    For comparing two models on the same images.
    """
    rows = counts.rows
    some = rows["labelled"].any(1)
    rows = {name: row[some] for name, row in rows.items()}
    pixels = rows["labelled"].sum(1)
    scores = _image_scores(rows)
    return {
        "name": np.array(counts.names, dtype=str)[some],
        "pixels": pixels,
        "aAcc": 100 * rows["true_positives"].sum(1) / pixels,
        "mIoU_I": 100 * np.nanmean(scores["IoU"], 1),
        "mDice_I": 100 * np.nanmean(scores["Dice"], 1),
        "ECE_I": 100 * _gaps(*_merged(rows)[1:]).sum(1) / pixels,
        "NLL": rows["negative_log_likelihood"] / pixels,
        "Brier": rows["brier"] / pixels,
    }


def reliability(counts: Counts) -> dict[str, np.ndarray]:
    """Columns pixels, accuracy, confidence of the non-empty ones of the 10 bins: a reliability diagram."""
    pixels, right, confidence = (part.sum(0) for part in _merged(counts.rows))
    some = pixels > 0
    return {
        "pixels": pixels[some],
        "accuracy": right[some] / pixels[some],
        "confidence": confidence[some] / pixels[some],
    }


def _overlap(rows: dict[str, np.ndarray]) -> dict[str, float]:
    hits, labelled, predicted = (rows[name].sum(0) for name in ("true_positives", "labelled", "predicted"))
    scores = _scores(hits, labelled, predicted)
    result = {"aAcc": 100 * hits.sum() / labelled.sum()}
    result |= {f"m{name}": 100 * np.nanmean(scores[name]) for name in ("Acc", "IoU", "Dice")}
    scores = _image_scores({name: row[rows["labelled"].any(1)] for name, row in rows.items()})
    for name in ("IoU", "Dice"):
        images = np.sort(np.nanmean(scores[name], 1))
        classes = [np.sort(column[~np.isnan(column)]) for column in scores[name].T]
        classes = [column for column in classes if len(column)]
        for level, columns in (("I", [images]), ("C", classes)):
            result[f"m{name}_{level}"] = 100 * _worst(columns, 100)
            result[f"m{name}_{level}_q{WORST_PERCENT}"] = 100 * _worst(columns, WORST_PERCENT)
            result[f"m{name}_{level}_q"] = 10 * sum(_worst(columns, percent) for percent in range(10, 101, 10))
    return result


def _worst(columns: list[np.ndarray], percent: int) -> float:
    """Mean over the columns of the mean of the lowest `percent` of their ascending values, at least one value."""
    return float(np.mean([column[: max(1, len(column) * percent // 100)].mean() for column in columns]))


def _calibration(rows: dict[str, np.ndarray]) -> dict[str, float]:
    pixels, right, confidence = _merged(rows)
    per_image = pixels.sum(1)
    some = per_image > 0
    total = pixels.sum(0)
    gaps = _gaps(right.sum(0), confidence.sum(0))
    return {
        "ECE": 100 * gaps.sum() / total.sum(),
        "ECE_I": 100 * np.mean(_gaps(right, confidence).sum(1)[some] / per_image[some]),
        "MCE": 100 * np.max(gaps[total > 0] / total[total > 0]),
    }


def _classwise_calibration(counts: Counts) -> dict[str, float]:
    pixels, labelled, right = (_ten(counts.totals[f"class_{name}"]) for name in ("pixels", "labelled", "right"))
    probability = _ten(counts.class_probability)
    weight = pixels.sum()  # C times the number of pixels
    return {
        "cwECE": 100 * _gaps(labelled, probability).sum() / weight,
        "SCE": 100 * _gaps(right, probability).sum() / weight,
    }


def _gaps(right: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """n |right/n - confidence/n|: pixels of a bin times the distance between its accuracy and its mean confidence."""
    return np.abs(right - confidence)


def _merged(rows: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return _ten(rows["histogram"].sum(1)), _ten(rows["histogram"][:, 1]), _ten(rows["confidence"])


def _ten(histogram: np.ndarray) -> np.ndarray:
    """The stored bins, last axis, merged to the reported ones: their edges are among the stored edges."""
    return histogram.reshape(*histogram.shape[:-1], REPORTED_BINS, -1).sum(-1)


def _scores(hits: np.ndarray, labelled: np.ndarray, predicted: np.ndarray) -> dict[str, np.ndarray]:
    """Shares by class, NaN where a class has no pixel to divide by."""
    either = labelled + predicted
    return {"Acc": _share(hits, labelled), "IoU": _share(hits, either - hits), "Dice": _share(2 * hits, either)}


def _image_scores(rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """(n, C) as `_scores`, and NaN for classes without a label in the image (2310.19252)."""
    hits, labelled, predicted = rows["true_positives"], rows["labelled"], rows["predicted"]
    return {name: np.where(labelled > 0, score, np.nan) for name, score in _scores(hits, labelled, predicted).items()}


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)
