"""Every metric again, from its definition: pixel by pixel in Python floats, no code shared with the package."""

import math
from collections import defaultdict
from itertools import pairwise


def mean(values):
    values = list(values)
    return math.fsum(values) / len(values)


def ratio(part, whole):
    return part / whole if whole else None


def bin_of(value):
    edges = [index / 10 for index in range(11)]
    for index, (low, high) in enumerate(pairwise(edges)):
        if low <= value < high:
            return index
    return 9


def calibration_error(pairs):
    """ECE, MCE and ACE, as shares, of `pairs` of (confidence, whether right)."""
    binned = defaultdict(list)
    for confidence, right in pairs:
        binned[bin_of(confidence)].append((confidence, right))
    gaps = {
        key: abs(mean(right for _, right in inside) - mean(confidence for confidence, _ in inside))
        for key, inside in binned.items()
    }
    weighted = math.fsum(gaps[key] * len(binned[key]) for key in gaps) / len(pairs)
    return weighted, max(gaps.values()), mean(gaps.values())


def adaptive_error(pairs):
    """`pairs` of (confidence, whether right), in ten bins of equal mass; equal confidences share their mean.

    Each pixel is ten units, of which every bin takes as many as there are pixels.
    """
    groups = defaultdict(list)
    for confidence, right in pairs:
        groups[confidence].append(right)
    units = [mean(groups[confidence]) - confidence for confidence in sorted(groups) for _ in groups[confidence] * 10]
    size = len(pairs)
    return mean(abs(mean(units[size * part : size * (part + 1)])) for part in range(10))


def scaled_error(pixels, c):
    """Calibration error of a class over pixels (label, prediction, probabilities) as in the JDT code."""
    return calibration_error([(p[c], y == c == k) for y, k, p in pixels])[0]


def overlap(pixels, index):
    """Accuracy, IoU and Dice of one class over pixels (label, prediction, ...), None where undefined."""
    hits = sum(label == index and predicted == index for label, predicted, *_ in pixels)
    labelled = sum(label == index for label, *_ in pixels)
    predicted = sum(predicted == index for _, predicted, *_ in pixels)
    union = labelled + predicted - hits
    return {"Acc": ratio(hits, labelled), "IoU": ratio(hits, union), "Dice": ratio(2 * hits, labelled + predicted)}


def lowest(values, percent):
    values = sorted(values)
    return mean(values[: max(1, math.floor(len(values) * percent / 100 + 1e-9))])


def reference(images, classes):
    """`images` is a list of lists of valid pixels (label, probabilities); returns what `summarize` should return."""
    images = [[(label, p.index(max(p)), p) for label, p in image] for image in images if image]
    pixels = [pixel for image in images for pixel in image]
    out = {"aAcc": 100 * mean(label == predicted for label, predicted, _ in pixels)}
    for name in ("Acc", "IoU", "Dice"):
        everywhere = [overlap(pixels, index)[name] for index in range(classes)]
        out[f"m{name}"] = 100 * mean(score for score in everywhere if score is not None)
        by_image = [
            {
                index: overlap(image, index)[name]
                for index in range(classes)
                if any(pixel[0] == index for pixel in image)
            }
            for image in images
        ]
        over_images = [mean(scores.values()) for scores in by_image]
        over_classes = [[scores[index] for scores in by_image if index in scores] for index in range(classes)]
        over_classes = [scores for scores in over_classes if scores]
        for level, groups in (("I", [over_images]), ("C", over_classes)):
            at = {
                percent: 100 * mean(lowest(group, percent) for group in groups) for percent in (5, *range(10, 101, 10))
            }
            out[f"m{name}_{level}"] = at[100]
            out[f"m{name}_{level}_q5"] = at[5]
            out[f"m{name}_{level}_q"] = mean(at[percent] for percent in range(10, 101, 10))
    if classes == 2:
        for name in ("IoU", "Dice"):
            values = [overlap(image, 1)[name] for image in images]
            counted = [1 if value is None else value for value in values]
            out[f"{name}_fg_I_one"] = 100 * mean(counted)
            out[f"{name}_fg_I_one_q5"] = 100 * lowest(counted, 5)
            out[f"{name}_fg_I_one_q"] = 100 * mean(lowest(counted, percent) for percent in range(10, 101, 10))
            values = [value for value in values if value is not None]
            if values:
                out[f"{name}_fg"] = 100 * overlap(pixels, 1)[name]
                out[f"{name}_fg_I_skip"] = 100 * mean(values)
    confidences = [(max(p), y == k) for y, k, p in pixels]
    out["ECE"], out["MCE"], out["ACE"] = (100 * error for error in calibration_error(confidences))
    out["aECE"] = 100 * adaptive_error(confidences)
    out["ECE_I"] = 100 * mean(calibration_error([(max(p), y == k) for y, k, p in image])[0] for image in images)
    out["cwECE"] = 100 * mean(calibration_error([(p[c], y == c) for y, _, p in pixels])[0] for c in range(classes))
    out["SCE"] = 100 * mean(scaled_error(pixels, c) for c in range(classes))
    if classes == 2:
        out["SCE_fg"] = 100 * scaled_error(pixels, 1)
        out["SCE_fg_I"] = 100 * mean(scaled_error(image, 1) for image in images)
    else:
        out["SCE_I"] = 100 * mean(mean(scaled_error(image, c) for c in {y for y, *_ in image}) for image in images)
    precisions = [
        ratio(sum(y == k == c for y, k, _ in pixels), sum(k == c for _, k, _ in pixels)) for c in range(classes)
    ]
    out["mPrecision"] = 100 * mean(value for value in precisions if value is not None)
    out["NLL"] = mean(-math.log(max(p[y], 2.0**-126)) for y, _, p in pixels)
    out["Brier"] = mean(math.fsum((p[c] - (c == y)) ** 2 for c in range(classes)) for y, _, p in pixels)
    return out


def soft_reference(images, classes, thresholds):
    """`images` is a list of lists of valid pixels (truth, probabilities); `thresholds` one of pairs for these two."""
    images = [image for image in images if image]
    pixels = [pixel for image in images for pixel in image]
    out = {
        "KL": mean(
            math.fsum(t[c] * math.log(t[c] / max(p[c], 2.0**-126)) for c in range(classes) if t[c] > 0)
            for t, p in pixels
        ),
        "Brier_soft": mean(math.fsum((t[c] - p[c]) ** 2 for c in range(classes)) for t, p in pixels),
    }
    soft_dice = []
    for c in range(classes):
        mass = math.fsum(t[c] + p[c] for t, p in pixels)
        if mass:
            shared = math.fsum(min(t[c], p[c]) for t, p in pixels)
            soft_dice.append(2 * shared / mass)
    out["mDice_soft"] = 100 * mean(soft_dice)
    image_scores = []
    for image in images:
        used = [1] if classes == 2 else [c for c in range(classes) if any(t[c] >= thresholds[0][0] for t, _ in image)]
        scores = []
        for c in used:
            for true_threshold, predicted_threshold in thresholds:
                true = {n for n, (t, _) in enumerate(image) if t[c] >= true_threshold}
                predicted = {n for n, (_, p) in enumerate(image) if p[c] >= predicted_threshold}
                size = len(true) + len(predicted)
                scores.append(2 * len(true & predicted) / size if size else 1)
        if scores:
            image_scores.append(mean(scores))
    if image_scores:
        out["Dice_thresholds"] = 100 * mean(image_scores)
    return out
