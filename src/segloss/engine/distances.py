"""Signed distances to the boundary of every class of a label, computed in the data loader for boundary losses."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS
from torch import Tensor

from segloss.datasets import find
from segloss.engine.losses import VOID
from segloss.grid import Experiment
from segloss.losses import CATALOGUE

# Label scenarios whose losses are, at least in part, against the label itself.
LABEL_TARGETS = ("hard", "teacher")


def signed_distance_maps(labels: np.ndarray, num_classes: int, include_background: bool = True) -> np.ndarray:
    """φ of every class: outside the class the distance to it, inside it 1 minus the distance to its complement.

    So φ is 0 on the class's outermost pixels and negative further inside. A class that is absent or fills the image
    has no boundary: φ is 0 everywhere. The distances are Euclidean, exact up to 800 pixels and to float32's rounding
    beyond, as `segloss.losses.boundary` needs them.

    Args:
        labels: Class ids, integers (H, W); ids from `num_classes` on are void, which belongs to no class.
        num_classes: Number of classes C.
        include_background: Whether class 0 gets its distances, or 0 everywhere. Default: True.

    Returns:
        float32 (C, H, W), in pixels.
    """
    maps = np.zeros((num_classes, *labels.shape), np.float32)
    for index in range(0 if include_background else 1, num_classes):
        inside = np.uint8(labels == index)
        if inside.any() and not inside.all():
            to_class, to_complement = (
                cv2.distanceTransform(mask, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) for mask in (1 - inside, inside)
            )
            # The last bit of OpenCV's result depends on the memory address; squared distances are integers.
            distances = np.sqrt(np.rint(np.square(to_class + to_complement)))
            maps[index] = np.where(inside, 1 - distances, distances)
    return maps


@TRANSFORMS.register_module()
class MakeDistanceMaps(BaseTransform):
    """Makes the signed distance maps of the label as it is trained on: after crops and flips, and padded.

    They are computed anew for every sample: a crop changes them, and without crops, caching the maps of eleven classes
    would leave room in the cache for only a twelfth of the images.

    Args:
        num_classes: Number of classes C.
        size: Height and width to which a batch pads smaller labels with void, which bounds a class like any other.
        include_background: Whether class 0 gets its distances. Default: False.
    """

    def __init__(self, num_classes: int, size: Sequence[int], include_background: bool = False) -> None:
        self.num_classes, self.size, self.include_background = num_classes, size, include_background

    def transform(self, results: dict) -> dict:
        """Adds ``gt_distances``, float32 (C, H, W), to the results and its name to their ``pixel_fields``."""
        label = results["gt_seg_map"]
        padding = [(0, max(least - side, 0)) for least, side in zip(self.size, label.shape, strict=True)]
        label = np.pad(label, padding, constant_values=VOID)
        results["gt_distances"] = signed_distance_maps(label, self.num_classes, self.include_background)
        results.setdefault("pixel_fields", []).append("gt_distances")
        return results


def distance_transforms(experiment: Experiment, size: Sequence[int]) -> list[dict[str, Any]]:
    """The transform that makes the distance maps of a cell's loss, for the end of its training pipeline.

    The list is empty if no term of the loss needs the maps. It is also empty if the target is not the label itself
    (smoothed labels, raters): the loss then computes the distances of that target on the training device.

    Args:
        experiment: The cell, resolved.
        size: Height and width to which a batch pads smaller labels.
    """
    terms = [term for term in experiment.loss if "distance_maps" in CATALOGUE[term["loss"]].needs]
    if not terms or experiment.scenario["target"] not in LABEL_TARGETS:
        return []
    background = any(term.get("include_background", False) for term in terms)
    classes = len(find(experiment.source).classes)
    return [dict(type="MakeDistanceMaps", num_classes=classes, size=tuple(size), include_background=background)]


def stacked_distance_maps(data_samples: list) -> Tensor | None:
    """The distance maps of a batch, float32 (B, C, H, W); None where its pipeline makes none."""
    if "gt_distances" not in data_samples[0]:
        return None
    return torch.stack([sample.gt_distances.data for sample in data_samples])
