"""Images and labels decoded once: a pipeline's transforms up to the first that may draw random numbers, remembered."""

from collections.abc import Callable
from typing import Any

import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmengine.dataset import Compose
from mmseg.datasets.transforms import LoadAnnotations, Resize

# Their results follow from the files and their options alone. Subclasses may draw random numbers and do not count.
REPEATABLE = {LoadImageFromFile, LoadAnnotations, Resize}
# A process that loads data remembers no more than this many bytes of arrays.
LIMIT = 256 * 2**20


def _copied(results: dict[str, Any]) -> dict[str, Any]:
    """Results whose arrays and lists may be changed without a trace in the original."""
    return {name: value.copy() if isinstance(value, (np.ndarray, list)) else value for name, value in results.items()}


class DecodedPipeline:
    """A pipeline that decodes each image once, as long as the memory lasts; its samples are those of the pipeline.

    Nothing is forgotten for the sake of another: every pass visits all images in a new order, so that whichever stays
    is as good as any.

    Args:
        pipeline: MMEngine's composed transforms.
        limit: Bytes of arrays that are kept. Default 256 MiB.
    """

    def __init__(self, pipeline: Compose, limit: int = LIMIT) -> None:
        transforms = pipeline.transforms
        first = next((n for n, each in enumerate(transforms) if type(each) not in REPEATABLE), len(transforms))
        self.decode, self.augment = transforms[:first], transforms[first:]
        self.limit, self.bytes = limit, 0
        self.kept: dict[int, dict[str, Any]] = {}

    def __call__(self, index: int, paths: Callable[[int], dict[str, Any]]) -> Any:
        """The sample of the image with that index, whose files ``paths`` gives."""
        if index in self.kept:
            results = _copied(self.kept[index])
        else:
            results = paths(index)
            for transform in self.decode:
                results = transform(results)
            size = sum(value.nbytes for value in results.values() if isinstance(value, np.ndarray))
            if self.bytes + size <= self.limit:
                self.kept[index] = _copied(results)
                self.bytes += size
        for transform in self.augment:
            results = transform(results)
        return results
