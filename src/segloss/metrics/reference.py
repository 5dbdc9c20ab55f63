"""The metrics reference in Markdown, docs/metrics.md, generated from the catalogue.

python -m segloss.metrics.reference > docs/metrics.md
"""

from segloss.metrics.catalogue import CALIBRATED, METRICS, Metric

_HEAD = """# Metrics

Generated from the metrics catalogue by `python -m segloss.metrics.reference > docs/metrics.md`. Every metric is a
function of counts, exact to rounding: integers and float64 sums, merged in any order. Pixels without a label (void) are
left out, as are classes for which a metric would divide by zero (`absent_classes` lists them). Levels: without suffix,
counts are summed over the data set; `_I`, mean over the images; `_C`, mean over the classes of their means over images.
"""


def metrics_markdown() -> str:
    """A table of all metrics in the order of the catalogue, and a list of the suffixes after calibration."""
    rows = [_row(metric) for metric in METRICS.values()]
    table = ["| Metric | Unit | Better | Meaning | Source |", "|:--|:--|:--|:--|:--|", *rows]
    suffixes = [
        f"- `_{suffix}`: after {method}, fitted on the validation images" for suffix, method in CALIBRATED.items()
    ]
    return "\n".join([_HEAD, *table, "", "Suffixes of the same metrics:", "", *suffixes, ""])


def _row(metric: Metric) -> str:
    authors, _, link = metric.source.rpartition(", ")
    unit = {"percent": "%", "nats": "nats per pixel", "1": "–"}[metric.unit]
    meaning = metric.meaning.replace("|", "\\|")
    return f"| `{metric.name}` | {unit} | {metric.direction} | {meaning} | [{authors}]({link}) |"


if __name__ == "__main__":
    print(metrics_markdown(), end="")
