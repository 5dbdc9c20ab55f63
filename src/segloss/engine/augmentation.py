"""Augmentations that neither MMCV nor MMSegmentation has."""

import numpy as np
from mmcv.transforms import BaseTransform
from mmseg.datasets.transforms import Resize
from mmseg.registry import TRANSFORMS


@TRANSFORMS.register_module()
class RandomScale(BaseTransform):
    """Resize an image and its maps by a random factor, drawn uniformly from a range.

    RandomResize scales relative to one size for all images; this transform suits data sets with images of many sizes.

    Args:
        ratio_range: Smallest and largest factor. Default (0.5, 2.0), as in the articles of the JDT losses.
    """

    def __init__(self, ratio_range: tuple[float, float] = (0.5, 2.0)) -> None:
        self.ratio_range = ratio_range

    def transform(self, results: dict) -> dict:
        """Resizes ``img`` bilinearly and all maps with nearest-neighbour interpolation."""
        return Resize(scale_factor=np.random.uniform(*self.ratio_range), keep_ratio=True)(results)
