"""The only output of an evaluation: additive counts per image and class. Every metric is a function of them."""

from __future__ import annotations

import functools
import hashlib
import os
import zipfile
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

import numpy as np

from segloss.files import write_atomic
from segloss.metrics._exact import add_exact, as_float
from segloss.metrics.boundaries import Boundaries

if TYPE_CHECKING:
    from torch import Tensor

METRICS_VERSION = 3  # increases when a count or a metric is added or changes its meaning
EXACT = ("class_probability", "fine_confidence")  # totals in units and fractions


class Counts:
    """Counts of a model's predictions on a data set: rows per image, and class-wise sums over all of them.

    Images are kept in the order of their names; images without a name come first, in the order of their counts. So the
    same images give the same counts, to the last bit on a CPU, whatever the order and batches of updates and merges.

    Args:
        num_classes: C, at least 2 (a binary task has a background channel).
        bins: equal-width bins of the class-wise totals; a multiple of 10, since metrics report 10.
        classwise: also keep the class-wise histograms, which `cwECE` and `SCE` need (the most expensive part of
            `update`).
        boundaries: the boundary counts to take in addition to pixel counts; None for none.

    `rows` maps names of counts to arrays whose first axis is the image:
        true_positives, labelled, predicted (n, C) int64;
        histogram (n, 2, 10) int64, the wrong and the correct pixels by their confidence, and confidence (n, 10)
        float64, its sums, in the 10 bins that metrics report;
        negative_log_likelihood (n,) in nats and brier (n,), float64 sums over the pixels;
        if classwise, class_gap (n, C) float64, Σ over 10 bins of |correct pixels of the class - its probability|;
        with a soft truth soft_divergence (n,) in nats, soft_brier (n,), soft_difference, soft_truth, soft_probability
        (n, C) float64 sums and soft_levels (n, C, 10, 10) int64, pixels by the thresholds .1 to .9 that their truth and
        their probability reach;
        with R raters rater_true_positives, rater_labelled (n, R, C) int64, 0 for a rater who did not label the image;
        with boundaries the counts that `boundary_counts` and `edge_counts` return, int64.
    `totals` maps names to sums over the images (`total` returns them as plain numbers):
        confusion (C, C) int64, label by prediction;
        fine_histogram (2, 769) int64 and fine_confidence (2, 769), as histogram and confidence in the bins of
        `fine_bin`;
        if classwise, by the probability of the class, class_pixels, class_labelled, class_right (C, bins) int64, and
        class_probability (2, C, bins), its sums. The sums are int64 units and fractions, exact in any order.
    """

    def __init__(
        self, num_classes: int, bins: int = 100, *, classwise: bool = True, boundaries: Boundaries | None = None
    ):
        if num_classes < 2:
            raise ValueError(
                f"num_classes must be at least 2 (a binary task has a background class), got {num_classes}"
            )
        if bins < 10 or bins % 10:
            raise ValueError(f"bins must be a multiple of 10, got {bins}")
        if boundaries is not None and boundaries.edge_tolerance is not None and num_classes != 2:
            raise ValueError(f"edge_tolerance is defined for two classes, background and boundary, got {num_classes}")
        self.num_classes, self.bins, self.classwise = num_classes, bins, classwise
        self.boundaries = boundaries or Boundaries()
        self._names: list[str] = []
        self._known: set[str] = set()
        self._rows: dict[str, list[np.ndarray]] = {}
        self.totals: dict[str, np.ndarray] = {}
        self._sorted = True

    def update(
        self,
        probabilities: Tensor,
        labels: Tensor,
        valid: Tensor | None = None,
        names: Sequence[str] | None = None,
        *,
        truth: Tensor | None = None,
        raters: Tensor | None = None,
        present: Tensor | None = None,
    ) -> None:
        """Add a batch.

        Args:
            probabilities: (B, C, H, W) float, over the classes at least 0 and summing to 1.
            labels: (B, H, W) int64 in [0, C) where valid, anything elsewhere.
            valid: (B, H, W) bool; None means every pixel.
            names: one per image, each used once; needed to compare two models image by image.
            truth: (B, C, H, W) float, the probability of each class, known or the raters' mean; for all images or none.
            raters: (B, R, H, W) int64, one label per rater; for all images or none.
            present: (B, R) bool, which raters labelled the image (all its valid pixels); None means all did. The map
                of a rater who did not may hold anything.

        Raises:
            ValueError: shapes, types, labels, probabilities or names are not as above. The counts are then unchanged.
        """
        from segloss.metrics._batch import count_batch  # imports torch, not needed to merge or read counts

        rows, totals = count_batch(
            probabilities,
            labels,
            valid,
            self.num_classes,
            self.bins,
            self.classwise,
            None if self.boundaries == Boundaries() else self.boundaries,
            truth,
            raters,
            present,
        )
        self._add(self._check_names(names, len(labels)), rows, totals)

    def merge(self, other: Counts) -> None:
        """Add the counts of other images; the order of merging makes no difference.

        Raises:
            ValueError: the two differ in classes, bins or class-wise histograms, or share an image.
        """
        for what in ("num_classes", "bins", "classwise", "boundaries"):
            mine, theirs = getattr(self, what), getattr(other, what)
            if mine != theirs:
                raise ValueError(f"cannot merge counts with {what} {mine} and {theirs}")
        if other._names:
            self._add(self._check_names(other._names, len(other._names)), other.rows, other.totals)

    @property
    def names(self) -> list[str]:
        """Names of the images, in the order of `rows`; "" where none was given."""
        self._sort()
        return list(self._names)

    @property
    def rows(self) -> dict[str, np.ndarray]:
        """Counts per image, as documented above; first axis as `names`."""
        self._sort()
        return {name: parts[0] for name, parts in self._rows.items()}

    def total(self, name: str) -> np.ndarray:
        """A total; float64 for those stored in units and fractions."""
        return as_float(self.totals[name]) if name in EXACT else self.totals[name]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Counts):
            return NotImplemented
        mine, theirs = self._arrays(), other._arrays()
        return mine.keys() == theirs.keys() and all(np.array_equal(mine[name], theirs[name]) for name in mine)

    __hash__ = None  # type: ignore[assignment]  # mutable

    def save(self, path: str | os.PathLike) -> None:
        """Write an .npz; equal counts give equal bytes. The file appears complete or not at all.

        The file holds plain arrays, which `numpy.load` reads without this package: names, row_<name> and total_<name>.
        """
        arrays: dict[str, Any] = self._arrays()
        checksum = np.array(_sha256(arrays))
        write_atomic(Path(path), lambda file: np.savez_compressed(file, **arrays, sha256=checksum))

    @classmethod
    def load(cls, path: str | os.PathLike) -> Counts:
        """Read what `save` wrote.

        Raises:
            ValueError: the file is damaged, contains no counts, or is of another METRICS_VERSION.
            FileNotFoundError: the file does not exist.
        """
        content = Path(path).read_bytes()
        try:
            return cls.from_bytes(content)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    @classmethod
    def from_bytes(cls, content: bytes) -> Counts:
        """The counts in the content of a file; as `load`."""
        try:
            arrays = read_arrays(content)
            if str(arrays.pop("sha256")) != _sha256(arrays):
                raise ValueError("its contents do not match its checksum")
            header = {name: int(arrays.pop(name)) for name in ("version", "num_classes", "bins", "classwise")}
            limits = {name: arrays.pop(name).tolist() for name in vars(Boundaries()) if name in arrays}
            names = arrays.pop("names").tolist()
        except Exception as error:  # an altered byte makes numpy, zipfile, zlib or tokenize raise its own error
            raise ValueError(
                f"it is damaged or contains no counts: {type(error).__name__}: {shorten(str(error), 200)}"
            ) from error
        if header["version"] != METRICS_VERSION:
            raise ValueError(
                f"it was counted with version {header['version']} of the metrics, this is version {METRICS_VERSION}; "
                "evaluate its checkpoint again"
            )
        classwise, boundaries = bool(header["classwise"]), Boundaries(**limits)
        counts = cls(header["num_classes"], header["bins"], classwise=classwise, boundaries=boundaries)
        rows = {name.removeprefix("row_"): value for name, value in arrays.items() if name.startswith("row_")}
        totals = {name.removeprefix("total_"): value for name, value in arrays.items() if name.startswith("total_")}
        counts._add(counts._check_names(names, len(names)), rows, totals)
        return counts

    def _arrays(self) -> dict[str, np.ndarray]:
        header = {"num_classes": self.num_classes, "bins": self.bins, "classwise": int(self.classwise)}
        header |= {name: limit for name, limit in vars(self.boundaries).items() if limit is not None}
        arrays = {name: np.array(value) for name, value in ({"version": METRICS_VERSION} | header).items()}
        arrays["names"] = np.array(self.names, dtype=str)
        arrays |= {f"row_{name}": value for name, value in sorted(self.rows.items())}
        return arrays | {f"total_{name}": value for name, value in sorted(self.totals.items())}

    def _add(self, names: list[str], rows: dict[str, np.ndarray], totals: dict[str, np.ndarray]) -> None:
        if self._names:
            mine = {name: parts[0].shape[1:] for name, parts in self._rows.items()}
            theirs = {name: row.shape[1:] for name, row in rows.items()}
            if mine != theirs:
                different = ", ".join(sorted({name for name, _ in mine.items() ^ theirs.items()}))
                raise ValueError(
                    f"soft truth and raters must be given for all images or for none, got both: {different}"
                )
        for name, row in rows.items():
            parts = self._rows.setdefault(name, [])
            parts.append(row.copy())  # a view would keep a larger array alive
            # Two parts of equal length become one of twice the length: many small arrays between the large ones of each
            # update would fragment the heap, which would then grow with every image.
            while len(parts) > 1 and len(parts[-1]) >= len(parts[-2]):
                parts[-2:] = [np.concatenate(parts[-2:])]
        for name, total in totals.items():
            add = add_exact if name in EXACT else np.add
            self.totals[name] = add(self.totals[name], total) if name in self.totals else total
        self._names += names
        self._known.update(names)
        self._sorted = False

    def _sort(self) -> None:
        if self._sorted:
            return
        rows = {
            name: parts[0] if len(parts) == 1 else np.concatenate(parts) for name, parts in sorted(self._rows.items())
        }
        keys = [
            (name, b"" if name else b"".join(row[image].tobytes() for row in rows.values()))
            for image, name in enumerate(self._names)
        ]
        order = sorted(range(len(keys)), key=keys.__getitem__)
        self._names = [self._names[image] for image in order]
        in_order = order == list(range(len(order)))
        self._rows = {name: [row if in_order else row[order]] for name, row in rows.items()}
        self._sorted = True

    def _check_names(self, names: Iterable[str] | None, images: int) -> list[str]:
        if names is None:
            return [""] * images
        names = [str(name) for name in names]
        if len(names) != images:
            raise ValueError(f"one name per image is needed: {images} images, {len(names)} names")
        new: set[str] = set()
        for name in filter(None, names):
            if name in self._known or name in new:
                raise ValueError(f"image {name!r} is counted twice")
            new.add(name)
        return names


def _sha256(arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(array.tobytes() if array.ndim == 0 else np.ascontiguousarray(array).data)
    return digest.hexdigest()


def read_arrays(content: bytes) -> dict[str, np.ndarray]:
    """The arrays of an .npz, as `numpy.load` returns them without pickles, in half the time for many small arrays.

    Raises:
        Exception: raised by numpy, zipfile or zlib if the content is damaged.
    """
    with zipfile.ZipFile(BytesIO(content)) as archive:
        return {name.removesuffix(".npy"): _read_array(archive.read(name)) for name in archive.namelist()}


def _read_array(content: bytes) -> np.ndarray:
    if content[:8] != b"\x93NUMPY\x01\x00":
        return np.lib.format.read_array(BytesIO(content), allow_pickle=False)
    start = 10 + int.from_bytes(content[8:10], "little")
    shape, fortran_order, dtype = _array_header(content[8:start])
    if dtype.hasobject:
        raise ValueError("it holds Python objects")
    # Copied to be writeable; content that is not of exactly this length is damaged.
    array = np.frombuffer(content, dtype, offset=start).copy()
    return array.reshape(shape, order="F" if fortran_order else "C")


@functools.lru_cache(maxsize=256)  # the files of a grid have the same arrays
def _array_header(header: bytes) -> tuple[tuple[int, ...], bool, np.dtype]:
    return np.lib.format.read_array_header_1_0(BytesIO(header))
