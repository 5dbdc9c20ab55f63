"""Predictions to counts, counts to metrics. Imports torch and numpy, nothing else."""

from segloss.metrics.counts import METRICS_VERSION, Counts
from segloss.metrics.summary import absent_classes, per_class, per_image, reliability, summarize

__all__ = ["METRICS_VERSION", "Counts", "absent_classes", "per_class", "per_image", "reliability", "summarize"]
