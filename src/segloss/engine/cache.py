"""A cache of decoded images and labels: a pipeline's results up to the first transform that may draw random numbers."""

import mmap
import os
import pickle
from collections.abc import Callable
from multiprocessing import Lock
from typing import Any

import numpy as np
from mmseg.datasets.transforms import Resize

# Transforms whose results depend on the files and their options alone; `segloss.engine.data` adds its readers.
# Subclasses may draw random numbers and are excluded.
DETERMINISTIC = {Resize}
LIMIT = 2**30  # bytes


def bytes_allowed(limit: int = LIMIT) -> int:
    """The limit, or a quarter of the memory that is free now (page cache excluded) if that is less."""
    return min(limit, os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 4)


class SharedCache:
    """Pickled values by index, up to a number of bytes, in memory that forked processes share.

    Nothing is evicted: every pass over a data set visits all images in a new order, so no entry is more useful
    than another. A process that is spawned instead of forked gets an empty cache of its own.

    Args:
        count: Number of indices.
        limit: Maximum number of bytes of all values.
    """

    def __init__(self, count: int, limit: int) -> None:
        self.count, self.limit = count, limit
        # Pages of an anonymous map take memory only once they are written.
        self._memory = mmap.mmap(-1, max(limit, 1))
        # One row per index: the start of its bytes and their end (exclusive); a final row holds the end of all values.
        self._spans = np.frombuffer(mmap.mmap(-1, 16 * (count + 1)), np.int64).reshape(count + 1, 2)
        self._lock = Lock()

    def __getstate__(self) -> tuple[int, int]:
        return self.count, self.limit

    def __setstate__(self, state: tuple[int, int]) -> None:
        self.__init__(*state)

    def __len__(self) -> int:
        return int((self._spans[:-1, 1] > 0).sum())

    @property
    def bytes(self) -> int:
        """Bytes of the values that are kept."""
        return int(self._spans[-1, 1])

    def get(self, index: int) -> Any:
        """The value stored for an index, None if there is none."""
        start, stop = self._spans[index]
        return pickle.loads(memoryview(self._memory)[start:stop]) if stop else None

    def put(self, index: int, value: Any) -> None:
        """Store a value, unless the index has one already or the new one does not fit."""
        data = pickle.dumps(value, protocol=5)
        with self._lock:
            start = self.bytes
            stop = start + len(data)
            if stop > self.limit or self._spans[index, 1]:
                return
            self._memory[start:stop] = data
            self._spans[-1, 1] = stop
            self._spans[index] = start, stop


class CachedPipeline:
    """A pipeline that decodes each image only once, memory permitting; the samples are the same as without the cache.

    Args:
        pipeline: MMEngine's composed transforms.
        images: Number of images.
        limit: Maximum number of bytes that all loader workers of a process store together. Default: 1 GiB, or a
            quarter of the available memory if that is less.
    """

    def __init__(self, pipeline: Any, images: int, limit: int | None = None) -> None:
        transforms = pipeline.transforms
        first = next((n for n, step in enumerate(transforms) if type(step) not in DETERMINISTIC), len(transforms))
        self.decode, self.augment = transforms[:first], transforms[first:]
        self.kept = SharedCache(images, bytes_allowed() if limit is None else limit)

    def __call__(self, index: int, paths: Callable[[int], dict[str, Any]]) -> Any:
        """The sample of the image with that index; ``paths`` returns the paths of its files."""
        results = self.kept.get(index)
        if results is None:
            results = paths(index)
            for transform in self.decode:
                results = transform(results)
            self.kept.put(index, results)
        for transform in self.augment:
            results = transform(results)
        return results
