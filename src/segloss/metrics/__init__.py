"""Predictions to counts, counts to metrics. Imports numpy; torch only where predictions are counted or calibrated."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from segloss.metrics._calibration import calibration_error
from segloss.metrics._edges import optimal_dataset_scale
from segloss.metrics._overlap import image_mean_iou, mean_accuracy, mean_dice, mean_iou, mean_precision
from segloss.metrics.boundaries import Boundaries
from segloss.metrics.catalogue import CALIBRATED, METRICS, Metric, find_metric
from segloss.metrics.counts import METRICS_VERSION, Counts
from segloss.metrics.image_counts import ImageCounts, divergence, image_counts, soft_brier, soft_dice
from segloss.metrics.summary import absent_classes, per_class, per_image, per_rater, reliability, summarize

if TYPE_CHECKING:
    from segloss.metrics.isotonic import IsotonicFit, IsotonicMaps
    from segloss.metrics.temperature import TemperatureFit, TemperatureScaling, rescale
    from segloss.metrics.vector_scaling import VectorScaling, VectorScalingFit

__all__ = [
    "CALIBRATED",
    "METRICS",
    "METRICS_VERSION",
    "Boundaries",
    "Counts",
    "ImageCounts",
    "IsotonicFit",
    "IsotonicMaps",
    "Metric",
    "TemperatureFit",
    "TemperatureScaling",
    "VectorScaling",
    "VectorScalingFit",
    "absent_classes",
    "calibration_error",
    "divergence",
    "find_metric",
    "image_counts",
    "image_mean_iou",
    "mean_accuracy",
    "mean_dice",
    "mean_iou",
    "mean_precision",
    "optimal_dataset_scale",
    "per_class",
    "per_image",
    "per_rater",
    "reliability",
    "rescale",
    "soft_brier",
    "soft_dice",
    "summarize",
]

# Names whose modules import torch; the modules are imported on first use.
_WITH_TORCH = {
    "IsotonicFit": "isotonic",
    "IsotonicMaps": "isotonic",
    "TemperatureFit": "temperature",
    "TemperatureScaling": "temperature",
    "VectorScaling": "vector_scaling",
    "VectorScalingFit": "vector_scaling",
    "rescale": "temperature",
}


def __getattr__(name: str) -> Any:
    if name not in _WITH_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WITH_TORCH[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
