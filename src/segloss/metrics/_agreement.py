"""Agreement with a soft truth and with each of several raters."""

import numpy as np

from segloss.metrics._overlap import class_scores

Rows = dict[str, np.ndarray]


def soft_truth_metrics(rows: Rows) -> dict[str, float]:
    """`rows` of images that have a valid pixel."""
    pixels = rows["labelled"].sum()
    mass = (rows["soft_truth"] + rows["soft_probability"]).sum(0)
    some = mass > 0
    over_thresholds = _dice_over_thresholds(rows["soft_levels"])
    result = {
        "KL": rows["soft_divergence"].sum() / pixels,
        "Brier_soft": rows["soft_brier"].sum() / pixels,
        "mDice_soft": 100 * np.mean(1 - rows["soft_difference"].sum(0)[some] / mass[some]),
    }
    return result if np.isnan(over_thresholds) else result | {"Dice_thresholds": 100 * over_thresholds}


def _dice_over_thresholds(levels: np.ndarray) -> float:
    """Mean over images of the mean over classes and thresholds; two empty masks count 1.

    For two classes only the foreground counts; for more, the classes whose truth reaches the lowest threshold in the
    image. An image without such a class is left out (more than ten classes, truth near uniform).
    """
    reached = _from_level(_from_level(levels, 2), 3)  # pixels whose truth reaches at least j and probability at least k
    hits = np.diagonal(reached, axis1=2, axis2=3)[..., 1:]
    true, predicted = reached[:, :, 1:, 0], reached[:, :, 0, 1:]
    dice = class_scores(hits, true, predicted)["Dice"]
    dice = np.where(np.isnan(dice), 1, dice).mean(2)  # (n, C)
    counted = np.broadcast_to([False, True], dice.shape) if dice.shape[1] == 2 else true[:, :, 0] > 0
    some = counted.any(1)
    return float(np.mean(dice[some], axis=1, where=counted[some]).mean()) if some.any() else np.nan


def _from_level(levels: np.ndarray, axis: int) -> np.ndarray:
    """Cumulative sums from the top: pixels at this level or above."""
    return np.flip(np.cumsum(np.flip(levels, axis), axis), axis)


def rater_scores(rows: Rows) -> list[dict[str, float]]:
    """For each rater, over the images this rater labelled, in percent: mIoU and mDice.

    For two classes also IoU_fg and Dice_fg, the scores of class 1. A rater without any image has no scores.
    """
    # Every image has a valid pixel: a rater with no labelled pixel in an image did not label that image.
    seen = rows["rater_labelled"].any(2)
    scores = []
    for rater, images in enumerate(np.transpose(seen)):
        hits, labelled = (rows[name][images, rater].sum(0) for name in ("rater_true_positives", "rater_labelled"))
        predicted = rows["predicted"][images].sum(0)
        of_classes = class_scores(hits, labelled, predicted)
        scores_of_rater = (
            {f"m{name}": 100 * float(np.nanmean(of_classes[name])) for name in ("IoU", "Dice")} if images.any() else {}
        )
        if len(predicted) == 2 and labelled[1] + predicted[1]:
            scores_of_rater |= {f"{name}_fg": 100 * float(of_classes[name][1]) for name in ("IoU", "Dice")}
        scores.append(scores_of_rater)
    return scores
