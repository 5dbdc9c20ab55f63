"""Metric names as written in the literature, in plain text and in LaTeX; and sets of metrics shown together."""

import re

from segloss.metrics import METRICS, Metric
from segloss.metrics.catalogue import find_metric

# Command-line names of sets of metrics.
METRIC_SETS = {
    "paper": ("mIoU", "ECE"),
    "calibration": ("ECE", "ECE_scaled"),
    "soft": ("mDice", "Dice_thresholds", "mDice_soft", "KL"),
    "levels": ("mIoU", "mIoU_I", "mIoU_C"),
    "worst": ("mIoU_I_q", "mIoU_I_q5", "mIoU_C_q", "mIoU_C_q5"),
}
CLASS_IOU = "IoU of "  # prefix of the IoU of one class, which is not a metric in records
CALIBRATED = {"scaled": "TS", "vector": "VS", "isotonic": "IR"}
LEVELS = re.compile(r"(?P<name>\w+?)_(?P<level>I|C|I_one|I_skip)(?P<worst>_q5|_q)?")


def metric_of(name: str) -> Metric:
    """The metric with the given name, or the IoU of one class.

    Raises:
        ValueError: there is no such metric.
    """
    if name.startswith(CLASS_IOU):
        return Metric(name, "higher", "percent", f"{name}, over the data set", "")
    return find_metric(name)


def heading(metric: Metric) -> tuple[str, str]:
    """Name, unit and direction of a metric in plain text and in LaTeX.

    Levels D, I and C and worst cases as in Wang et al., 2023, https://arxiv.org/abs/2310.19252: the plain name is over
    the data set (D), a superscript marks images (I) or classes (C), q̄ the mean over worst shares, 5 the worst 5 %.
    """
    up = metric.higher_is_better
    plain, latex = words(metric.name)
    unit = f" ({metric.unit})" if metric.unit == "nats" else ""
    return f"{plain}{unit} {'↑' if up else '↓'}", rf"{latex}{unit} $\{'up' if up else 'down'}arrow$"


def words(name: str) -> tuple[str, str]:
    """The name of a metric in plain text and in LaTeX."""
    if name.startswith(CLASS_IOU):
        return (plain := name.removeprefix(CLASS_IOU)), escape(plain)
    base, _, form = name.rpartition("_")
    if form in CALIBRATED:
        plain, latex = words(base)
        return f"{plain}, {CALIBRATED[form]}", f"{latex}, {CALIBRATED[form]}"
    if match := LEVELS.fullmatch(name):
        plain, latex = words(match["name"])
        level, _, empty = match["level"].partition("_")
        worst = {"_q": "q̄", "_q5": "5", None: ""}[match["worst"]]
        tex = {"_q": r"_{\bar q}", "_q5": "_5", None: ""}[match["worst"]]
        note = {"one": ", empty 1", "skip": ", no empty"}.get(empty, "")
        return f"{plain}^{level}{worst}{note}", rf"{latex}$^{{\mathrm{{{level}}}{tex}}}${note}"
    if name.endswith("_fg"):
        plain, latex = words(name.removesuffix("_fg"))
        return f"{plain} (fg)", f"{latex} (fg)"
    plain = (METRICS[name].heading if name in METRICS else None) or name
    return plain, escape(plain)


def escape(plain: str) -> str:
    """Plain text as LaTeX: it is printed as it was typed, on one line."""
    # Two hyphens would become a dash; the bar of q̄ is a combining character.
    signs = one_line(plain).replace("--", "-\0-").replace("--", "-\0-").replace("q̄", "\1")
    return "".join(LATEX.get(sign, sign if ord(sign) < 0x180 else f"[U+{ord(sign):04X}]") for sign in signs)


def one_line(plain: str) -> str:
    """Text on one line, without non-printable characters."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in str(plain)).split())


GREEK = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi o pi rho varsigma sigma tau upsilon phi "
    "chi psi omega"
)
LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "\0": "{}",
    "`": r"\textasciigrave{}",
    "'": r"\textquotesingle{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "°": r"$^\circ$",
    "–": "--",
    "—": "---",
    "…": r"\dots{}",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "→": r"$\rightarrow$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "≠": r"$\neq$",
    "∞": r"$\infty$",
    "\1": r"$\bar q$",
    "∑": r"$\sum$",
    "Δ": r"$\Delta$",
    "Σ": r"$\Sigma$",
    "Ω": r"$\Omega$",
    "“": "``",
    "”": "''",
    "‘": "`",
    "’": "'",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    **{chr(0x3B1 + place): rf"$\{name}$" for place, name in enumerate(GREEK.split())},
}
