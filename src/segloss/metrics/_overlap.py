"""Accuracy, IoU and Dice from true positives, labelled and predicted pixels."""

import numpy as np

Rows = dict[str, np.ndarray]
WORST_PERCENT = 5


def class_scores(hits: np.ndarray, labelled: np.ndarray, predicted: np.ndarray) -> Rows:
    """Shares by class, NaN where there is no pixel to divide by."""
    either = labelled + predicted
    return {"Acc": _share(hits, labelled), "IoU": _share(hits, either - hits), "Dice": _share(2 * hits, either)}


def precision(hits: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Share of the pixels predicted as a class that belong to it, NaN for a class that is never predicted."""
    return _share(hits, predicted)


def mean_iou(counts: np.ndarray) -> np.ndarray:
    """mIoU in percent from counts (..., 3, classes): true positives, labelled, predicted pixels.

    Classes neither labelled nor predicted are left out. Counts may be sums or means over images: the number of images
    cancels.
    """
    return _mean_score(counts, "IoU")


def mean_dice(counts: np.ndarray) -> np.ndarray:
    """mDice in percent from counts as for `mean_iou`."""
    return _mean_score(counts, "Dice")


def mean_accuracy(counts: np.ndarray) -> np.ndarray:
    """mAcc, the mean recall of the classes in the labels, in percent from counts as for `mean_iou`."""
    return _mean_score(counts, "Acc")


def mean_precision(counts: np.ndarray) -> np.ndarray:
    """mPrecision in percent from counts as for `mean_iou`; a class that is never predicted is left out."""
    # Precision is recall with labels and predictions exchanged.
    return _mean_score(np.asarray(counts)[..., [0, 2, 1], :], "Acc")


def _mean_score(counts: np.ndarray, score: str) -> np.ndarray:
    hits, labelled, predicted = np.moveaxis(np.asarray(counts, dtype=np.float64), -2, 0)
    return 100 * np.nanmean(class_scores(hits, labelled, predicted)[score], axis=-1)


def image_mean_iou(counts: np.ndarray) -> np.ndarray:
    """The mIoU of each image in percent, whose mean is mIoU_I, from counts as for `mean_iou`; NaN without a label.

    Classes without a label in the image are left out, as in 2310.19252.
    """
    hits, labelled, predicted = np.moveaxis(np.asarray(counts, dtype=np.float64), -2, 0)
    scores = np.where(labelled > 0, class_scores(hits, labelled, predicted)["IoU"], 0.0)
    with np.errstate(invalid="ignore"):
        return 100 * scores.sum(-1) / (labelled > 0).sum(-1)


def image_scores(rows: Rows) -> Rows:
    """(n, C) as `class_scores`, and NaN for classes without a label in the image, as in 2310.19252."""
    scores = class_scores(rows["true_positives"], rows["labelled"], rows["predicted"])
    return {name: np.where(rows["labelled"] > 0, score, np.nan) for name, score in scores.items()}


def overlap_metrics(rows: Rows) -> dict[str, float]:
    """`rows` of images that have a valid pixel. Levels: the data set, I (images), C (classes); worst-case forms."""
    hits, labelled, predicted = (rows[name].sum(0) for name in ("true_positives", "labelled", "predicted"))
    of_images = image_scores(rows)
    result = {"aAcc": 100 * hits.sum() / labelled.sum(), "mPrecision": 100 * np.nanmean(precision(hits, predicted))}
    for name, score in class_scores(hits, labelled, predicted).items():
        result[f"m{name}"] = 100 * np.nanmean(score)
        images = np.sort(np.nanmean(of_images[name], 1))
        classes = [np.sort(column[~np.isnan(column)]) for column in of_images[name].T]
        for level, columns in (("I", [images]), ("C", [column for column in classes if len(column)])):
            result[f"m{name}_{level}"] = 100 * _lowest(columns, 100)
            result[f"m{name}_{level}_q{WORST_PERCENT}"] = 100 * _lowest(columns, WORST_PERCENT)
            result[f"m{name}_{level}_q"] = 100 * np.mean([_lowest(columns, q) for q in range(10, 101, 10)])
    return result


def foreground_metrics(rows: Rows) -> dict[str, float]:
    """Class 1 of two. An image is empty when neither label nor prediction has foreground; see `METRICS`.

    A metric is left out where every image is empty and it would divide by zero.
    """
    result: dict[str, float] = {}
    foreground = [rows[name][:, 1] for name in ("true_positives", "labelled", "predicted")]
    over_all = class_scores(*(count.sum() for count in foreground))
    of_images = class_scores(*foreground)
    for name in ("IoU", "Dice"):
        score = of_images[name]
        result[f"{name}_fg"] = float(100 * over_all[name])
        counted = np.where(np.isnan(score), 1, score)
        result[f"{name}_fg_I_one"] = float(100 * counted.mean())
        counted = np.sort(counted)
        result[f"{name}_fg_I_one_q{WORST_PERCENT}"] = 100 * _lowest([counted], WORST_PERCENT)
        result[f"{name}_fg_I_one_q"] = float(100 * np.mean([_lowest([counted], q) for q in range(10, 101, 10)]))
        result[f"{name}_fg_I_skip"] = np.nan if np.isnan(score).all() else float(100 * np.nanmean(score))
    return {name: value for name, value in result.items() if not np.isnan(value)}


def _lowest(columns: list[np.ndarray], percent: int) -> float:
    """Mean over the columns of the mean of the lowest `percent` of their ascending values, at least one of them."""
    numbers = [max(1, len(column) * percent // 100) for column in columns]
    # Equal to .mean() to the last bit, but without its checks, which take longer than these short sums.
    means = [np.add.reduce(column[:number]) / number for column, number in zip(columns, numbers, strict=True)]
    return float(np.add.reduce(means) / len(means))


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)
