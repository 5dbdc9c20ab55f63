"""Predictions to counts, counts to metrics. Imports torch and numpy, nothing else."""

from segloss.metrics.catalogue import METRICS, Metric
from segloss.metrics.counts import METRICS_VERSION, Counts
from segloss.metrics.summary import absent_classes, per_class, per_image, per_rater, reliability, summarize
from segloss.metrics.temperature import TemperatureFit, rescale

__all__ = [
    "METRICS",
    "METRICS_VERSION",
    "Counts",
    "Metric",
    "TemperatureFit",
    "absent_classes",
    "per_class",
    "per_image",
    "per_rater",
    "reliability",
    "rescale",
    "summarize",
]
