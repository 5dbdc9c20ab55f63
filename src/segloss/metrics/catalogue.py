"""The catalogue of metrics: name, unit, direction, decimals, heading, meaning and source of each."""

import difflib
from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """A metric as tables, pages and documentation show it.

    Attributes:
        name: As used in the literature; also its key in records and results tables.
        direction: "higher" or "lower" is better.
        unit: "percent", "nats" per pixel, or "1" for a pure number.
        meaning: What is averaged over what, in one phrase.
        source: Where it was defined first, or as computed here: authors, year and link.
        decimals: Digits shown after the point; numbers are rounded in tables only.
        heading: Column heading, where it differs from the name.
    """

    name: str
    direction: Literal["higher", "lower"]
    unit: Literal["percent", "nats", "1"]
    meaning: str
    source: str
    decimals: int = 2
    heading: str | None = None

    @property
    def higher_is_better(self) -> bool:
        """Whether higher values are better."""
        return self.direction == "higher"

    @property
    def title(self) -> str:
        """Column heading with unit (percent is the default of tables and not shown) and an arrow for the direction."""
        unit = f" ({self.unit})" if self.unit == "nats" else ""
        return f"{self.heading or self.name}{unit} {'↑' if self.higher_is_better else '↓'}"


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
_ACE = "Neumann et al., 2018, https://openreview.net/forum?id=S1lG7aTnqQ"
_ADAPTIVE = "Nixon et al., 2019, https://arxiv.org/abs/1904.01685"
_RIJSBERGEN = "van Rijsbergen, 1979, https://www.dcs.gla.ac.uk/Keith/Preface.html"
_BOUNDARY_IOU = "Cheng et al., 2021, https://arxiv.org/abs/2103.16562"
_NSD = "Nikolov et al., 2018, https://arxiv.org/abs/1809.04430"
_BERKELEY = "Arbeláez et al., 2011, https://doi.org/10.1109/TPAMI.2010.161"
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
    "_q5": "; over the lowest 5 % of the images only (rounded down, at least one)",
    "_q": "; averaged over q = 10, 20, ..., 100, each over the lowest q % of the images (rounded down, at least one)",
}


def _percent(
    name: str, meaning: str, source: str, direction: Literal["higher", "lower"] = "higher", heading: str | None = None
) -> Metric:
    return Metric(name, direction, "percent", meaning, source, heading=heading)


def _overlap() -> list[Metric]:
    metrics = [
        _percent("aAcc", "share of the valid pixels predicted correctly", _FCN),
        _percent("mPrecision", "precision over the data set, mean over the classes in predictions", _RIJSBERGEN),
    ]
    for name, (words, where, source) in _SCORES.items():
        metrics.append(_percent(f"m{name}", f"{words} over the data set, mean over the classes in {where}", source))
        for level, average in _LEVELS.items():
            for suffix, worst in {"": "", **_WORST}.items():
                metrics.append(_percent(f"m{name}_{level}{suffix}", f"{words}, {average}{worst}", _FINE))
    return metrics


def _foreground() -> list[Metric]:
    metrics = []
    for name in ("IoU", "Dice"):
        words, _, source = _SCORES[name]
        images = f"{words} of class 1 of two, mean over the images; an image empty in label and prediction"
        metrics += [
            _percent(f"{name}_fg", f"{words} of class 1 of two, over the data set", source),
            _percent(f"{name}_fg_I_one", f"{images} counts 1", _REFERENCE),
            *(
                _percent(f"{name}_fg_I_one{suffix}", f"{images} counts 1{worst}", _FINE)
                for suffix, worst in _WORST.items()
            ),
            _percent(f"{name}_fg_I_skip", f"{images} is left out", _REFERENCE),
        ]
    return metrics


_BINS = "10 left-closed bins of equal width"
_CUT = "probabilities are clamped to at least 2**-126"
_SQUARED = "squared distance of probabilities"
_DIVERGENCE = "Kullback-Leibler divergence of truth from prediction"

_CALIBRATION = [
    _percent("ECE", f"|accuracy - confidence|, {_BINS}, over the data set", _ECE, "lower"),
    _percent("ECE_I", f"|accuracy - confidence|, {_BINS}, mean over the images", _FINE, "lower"),
    _percent("MCE", f"largest |accuracy - confidence| of a bin, {_BINS}", _MCE, "lower"),
    _percent("cwECE", f"|frequency - probability| of a class, {_BINS}, mean over all classes", _CLASSWISE, "lower"),
    _percent(
        "SCE",
        "as cwECE, but a pixel counts for its class only where it is also predicted correctly, so that a calibrated "
        "model is not at 0; a tenth of the per mille of the authors' code",
        _FINE,
        "lower",
    ),
    _percent(
        "SCE_I",
        "as SCE, mean over the classes labelled in an image, then over the images; for more than two classes",
        _FINE,
        "lower",
    ),
    _percent("SCE_fg", "as SCE, for class 1 of two only: the binary SCE of the authors' code", _FINE, "lower"),
    _percent("SCE_fg_I", "as SCE_fg, mean over the images", _FINE, "lower"),
    _percent("ACE", f"|accuracy - confidence|, {_BINS}, unweighted mean over the non-empty bins", _ACE, "lower"),
    _percent(
        "aECE",
        "|accuracy - confidence| over the data set, 10 bins of equal mass; confidences within one of 769 fine bins (32 "
        "for each halving of 1 - p down to 2**-24) are ties",
        _ADAPTIVE,
        "lower",
    ),
    Metric("NLL", "lower", "nats", f"-log of the probability of the label, mean over pixels; {_CUT}", _ECE, 4),
    Metric("Brier", "lower", "1", f"{_SQUARED} and one-hot label (0 to 2), mean over pixels", _BRIER, 4),
]

_SOFT_TRUTH = [
    Metric("KL", "lower", "nats", f"{_DIVERGENCE}, mean over pixels; {_CUT}", _KL, 4),
    Metric(
        "Brier_soft", "lower", "1", f"{_SQUARED} and soft truth (0 to 2), mean over pixels", _BRIER, 4, "soft Brier"
    ),
    _percent(
        "mDice_soft",
        "1 - Σ|p-t| / Σ(p+t) over the data set, mean over the classes that occur",
        _SOFT,
        heading="soft mDice",
    ),
    _percent(
        "Dice_thresholds",
        "Dice of probability and truth, both cut at .1, ..., .9 (>=), mean over thresholds, classes and images; two "
        "empty masks count 1; for two classes only the foreground, for more those whose truth reaches .1 in the image",
        _QUBIQ,
        heading="QUBIQ Dice",
    ),
    _percent("mDice_raters", "mDice against each rater, mean over the raters", _QUBIQ, heading="mDice, raters"),
]

# Counted where `Boundaries` sets a distance.
_BOUNDARIES = [
    _percent(
        "mBoundaryIoU",
        "IoU of the pixels within iou_width of their class's boundary (chessboard distance, image borders included), "
        "over the data set, mean over the classes that occur",
        _BOUNDARY_IOU,
        heading="Boundary mIoU",
    ),
    _percent(
        "mNSD",
        "normalised surface Dice: share of both surfaces within surface_tolerance of the other, over the data set, "
        "mean over the classes that occur",
        _NSD,
    ),
    _percent(
        "mNSD_I", "normalised surface Dice, mean over the classes that occur in an image, then over the images", _NSD
    ),
    _percent(
        "ODS",
        "largest F of one of the thresholds .01 to .99 for all images; a pixel matches any within edge_tolerance, many "
        "to one and without thinning, unlike the Berkeley benchmark, so thick edges are not penalised",
        _BERKELEY,
    ),
    _percent("OIS", "as ODS, with each image's own best threshold, counts summed before F", _BERKELEY),
]

METRICS: dict[str, Metric] = {
    metric.name: metric for metric in (*_overlap(), *_foreground(), *_CALIBRATION, *_SOFT_TRUTH, *_BOUNDARIES)
}

# Forms of a metric after post-hoc calibration, by the suffix of their names in records and results tables.
CALIBRATED = {
    "scaled": "temperature scaling",
    "vector": "vector scaling",
    "isotonic": "class-wise isotonic regression",
}
_HEADINGS = {"scaled": "scaled", "vector": "vector scaling", "isotonic": "isotonic"}


def find_metric(name: str) -> Metric:
    """The metric with the given name in records and results tables, or a calibrated form of it (`ECE_scaled`).

    Raises:
        ValueError: there is no such metric.
    """
    if name in METRICS:
        return METRICS[name]
    base, _, suffix = name.rpartition("_")
    if base not in METRICS or suffix not in CALIBRATED:
        near = difflib.get_close_matches(name, METRICS, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise ValueError(
            f"there is no metric {name!r}{hint}; there are {', '.join(METRICS)}, "
            f"and their forms _{', _'.join(CALIBRATED)}"
        )
    known = METRICS[base]
    heading = f"{known.heading or base}, {_HEADINGS[suffix]}"
    return replace(known, name=name, heading=heading, meaning=f"{known.meaning}; after {CALIBRATED[suffix]}")
