"""What each metric means, whether more of it is better, in which unit it is given, and where it was defined."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """One column of a results table.

    Args:
        direction: "higher" or "lower" is better.
        unit: "percent", "nats" per pixel, or "1" for a pure number.
        meaning: what is averaged over what, in one phrase.
        source: where it was defined first, or as computed here; a link with its year.
    """

    direction: Literal["higher", "lower"]
    unit: Literal["percent", "nats", "1"]
    meaning: str
    source: str


_FCN = "Long et al., 2015, https://arxiv.org/abs/1411.4038"
_VNET = "Milletari et al., 2016, https://arxiv.org/abs/1606.04797"
_FINE = "Wang et al., 2023, https://arxiv.org/abs/2310.19252"
_ECE = "Guo et al., 2017, https://arxiv.org/abs/1706.04599"
_MCE = "Naeini et al., 2015, https://doi.org/10.1609/aaai.v29i1.9602"
_CLASSWISE = "Kull et al., 2019, https://arxiv.org/abs/1910.12656"
_BRIER = "Brier, 1950, https://doi.org/10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2"
_KL = "Kullback and Leibler, 1951, https://doi.org/10.1214/aoms/1177729694"
_SOFT = "Wang et al., 2023, https://arxiv.org/abs/2303.16296"
_QUBIQ = "Li et al., 2024, https://arxiv.org/abs/2405.18435"
_REFERENCE = "Maier-Hein et al., 2024, https://arxiv.org/abs/2206.01653"

_SCORES = {
    "Acc": ("accuracy (recall)", "labels", _FCN),
    "IoU": ("intersection over union", "labels or predictions", _FCN),
    "Dice": ("Dice score", "labels or predictions", _VNET),
}
_LEVELS = {
    "I": "mean over the classes labelled in an image, then over the images",
    "C": "mean over the images in which a class is labelled, then over the classes",
}
_WORST = {
    "_q5": "; of the lowest 5 % of the images alone (rounded down, at least one)",
    "_q": "; mean over q = 10, 20, ..., 100 of that of the lowest q % of the images (rounded down, at least one)",
}


def _overlap() -> dict[str, Metric]:
    metrics = {"aAcc": Metric("higher", "percent", "share of the valid pixels predicted right", _FCN)}
    for name, (words, where, source) in _SCORES.items():
        meaning = f"{words} over the data set, mean over the classes that occur in {where}"
        metrics[f"m{name}"] = Metric("higher", "percent", meaning, source)
        for level, average in _LEVELS.items():
            for suffix, worst in {"": "", **_WORST}.items():
                metrics[f"m{name}_{level}{suffix}"] = Metric("higher", "percent", f"{words}, {average}{worst}", _FINE)
    return metrics


def _foreground() -> dict[str, Metric]:
    metrics = {}
    for name in ("IoU", "Dice"):
        words, _, source = _SCORES[name]
        of_images = f"{words} of class 1 of two, mean over the images; an image empty in label and prediction"
        metrics[f"{name}_fg"] = Metric("higher", "percent", f"{words} of class 1 of two, over the data set", source)
        metrics[f"{name}_fg_I_one"] = Metric("higher", "percent", f"{of_images} counts 1", _REFERENCE)
        metrics[f"{name}_fg_I_skip"] = Metric("higher", "percent", f"{of_images} is left out", _REFERENCE)
    return metrics


_BINS = "10 left-closed bins of equal width"
_CUT = "probabilities below 2**-126 count as that"

METRICS: dict[str, Metric] = {
    **_overlap(),
    **_foreground(),
    "ECE": Metric("lower", "percent", f"distance of accuracy and confidence, {_BINS}, over the data set", _ECE),
    "ECE_I": Metric("lower", "percent", f"distance of accuracy and confidence, {_BINS}, mean over the images", _FINE),
    "MCE": Metric("lower", "percent", f"largest distance of accuracy and confidence of a bin, {_BINS}", _MCE),
    "cwECE": Metric(
        "lower",
        "percent",
        f"distance of frequency and probability of a class, {_BINS}, mean over all classes",
        _CLASSWISE,
    ),
    "SCE": Metric(
        "lower",
        "percent",
        "as cwECE, but a pixel counts for its class only where it is also predicted right, so that a calibrated model "
        "is not at 0; a tenth of the per mille their code prints",
        _FINE,
    ),
    "NLL": Metric("lower", "nats", f"-log of the probability of the label, mean over pixels; {_CUT}", _ECE),
    "Brier": Metric(
        "lower", "1", "squared distance of probabilities and one-hot label (0 to 2), mean over pixels", _BRIER
    ),
    "KL": Metric(
        "lower", "nats", f"Kullback-Leibler divergence of truth from prediction, mean over pixels; {_CUT}", _KL
    ),
    "Brier_soft": Metric(
        "lower", "1", "squared distance of probabilities and soft truth (0 to 2), mean over pixels", _BRIER
    ),
    "mDice_soft": Metric(
        "higher", "percent", "1 - Σ|p-t| / Σ(p+t) over the data set, mean over the classes that occur", _SOFT
    ),
    "Dice_thresholds": Metric(
        "higher",
        "percent",
        "Dice of probability and truth, both cut at .1, ..., .9 (>=), mean over thresholds, classes and images; two "
        "empty masks count 1; of two classes the foreground alone, of more those whose truth reaches .1 in the image",
        _QUBIQ,
    ),
    "mDice_raters": Metric("higher", "percent", "mDice against each rater, mean over the raters", _QUBIQ),
}
