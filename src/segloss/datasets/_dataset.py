"""The description of a data set, its lists, and the one way its images and labels are read."""

import hashlib
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segloss.datasets._read import DatasetError, content, read_image, read_label, readable

Entry = tuple[str | None, ...]  # image, label, raters..., relative to the data set's folder; None: no map of this rater


def read_list(folder: Path | str, split: str) -> list[Entry]:
    """The lines of ``<split>.txt``: image, label and raters' maps, relative to the data set's folder.

    Args:
        folder: The data set's own folder, as ``locate`` returns it.
        split: Name of the list without its extension, such as "train" or "ssl_seed0/1_16/labeled".

    Returns:
        One tuple per image, with None where the line has "-": this rater has no map of the image. Names are separated
        by spaces; names that contain spaces are separated by tabs, or each is in double quotes.

    Raises:
        DatasetError: There is no such list, or it or a line cannot be read.
    """
    folder = Path(folder)
    path = folder / f"{split}.txt"
    if not path.is_file():
        known = sorted(file.stem for file in folder.glob("*.txt") if file.stem != "README")
        raise DatasetError(f"there is no list {path}; lists there: {', '.join(known) or 'none'}")
    with readable(path):
        lines = path.read_text(encoding="utf-8").split("\n")
    return [tuple(None if name == "-" else name for name in split_line(line, path)) for line in lines if line.strip()]


def split_line(line: str, path: Path) -> list[str]:
    """The file names of a line of a list."""
    if "\t" in line:
        return [name.strip() for name in line.split("\t")]
    try:
        return shlex.split(line) if '"' in line else line.split()
    except ValueError as error:
        raise DatasetError(f"{path} has a line that cannot be read ({error}): {line.strip()}") from error


@dataclass(frozen=True)
class Dataset:
    """A data set of the benchmark; each one is a constant in a module of this package.

    ``prepare`` takes the data root and makes or fetches ``<data root>/<folder>``; the other functions take that folder.
    Images and labels are read only through ``load_image`` and ``load_label``, which check what the data set's own
    readers return.

    Attributes:
        name: Its name in grid files, and that of its folder below the data root.
        classes: Class names; the position is the class id.
        palette: RGB colour of each class.
        void: The label value that marks pixels without a class, or None.
        raters: Length of the rater stack, 0 without raters.
        generated: Whether ``prepare`` generates it, without any download.
        instructions: One sentence for a person who does not have it: where to get it, where to put it.
        prepare: Make or fetch it below the data root and return its folder; a repeated call does nothing.
        verify: Raise DatasetError with one sentence unless the folder holds the complete data set.
        splits: Names of its lists.
        folder: Name of its folder below the data root, if it differs from the data set's name.
        location: Its folder if that is not below the data root; None otherwise.
        read_list: (folder, split) -> entries: image, label, raters, relative to the folder.
        read_image: Path -> uint8 (height, width, channels), RGB where there are three.
        read_label: Path of a label or rater map -> uint8 (height, width) class ids or ``void``.
        read_truth: (folder, image as in the list) -> float32 (classes, height, width), the known probability of each
            class; None where only the raters' maps are known.
        channels: Channels of its images. Default 3.
        folds: Number of folds of its cross-validation; 0 without one. The data set itself is fold 0.
        with_fold: Fold -> the data set with that fold's lists; None without folds.
        terms: The terms of use, in a few words.
        megabytes: Approximate size of the download; None if unknown.
        redistributable: True if its terms allow its images to be shown in a published page.
    """

    name: str
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    void: int | None
    raters: int
    generated: bool
    instructions: str
    prepare: Callable[[Path], Path] | None = None
    verify: Callable[[Path], None] | None = None
    splits: tuple[str, ...] = ("train", "val", "test")
    folder: str | None = None
    location: Path | None = None
    read_list: Callable[[Path, str], list[Entry]] = read_list
    read_image: Callable[[Path], np.ndarray] = read_image
    read_label: Callable[[Path], np.ndarray] = read_label
    read_truth: Callable[[Path, str], np.ndarray] | None = None
    channels: int = 3
    folds: int = 0
    with_fold: Callable[[int], "Dataset"] | None = None
    terms: str = ""
    megabytes: int | None = None
    redistributable: bool = False

    def load_image(self, path: Path) -> np.ndarray:
        """An image as uint8 (height, width, channels).

        Raises:
            DatasetError: It cannot be read, or has a different number of channels.
        """
        with readable(path):
            image = self.read_image(Path(path))
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != self.channels:
            raise DatasetError(
                f"{path} must be read as uint8 (height, width, {self.channels}), got {image.dtype} {image.shape}"
            )
        return image

    def load_label(self, path: Path, size: tuple[int, int] | None = None) -> np.ndarray:
        """A label or rater map as uint8 (height, width) class ids or ``void``.

        Args:
            path: The file.
            size: Height and width of its image. Default: None: not compared.

        Raises:
            DatasetError: It cannot be read, has a different size, or holds a value that is neither a class nor void.
        """
        with readable(path):
            labels = self.read_label(Path(path))
        if labels.dtype != np.uint8 or labels.ndim != 2:
            raise DatasetError(f"{path} must be read as uint8 (height, width), got {labels.dtype} {labels.shape}")
        if size is not None and labels.shape != tuple(size):
            turned = "; it is transposed, or the image has an EXIF orientation" if labels.shape == size[::-1] else ""
            raise DatasetError(
                f"{path} must be {size[1]} x {size[0]} pixels as its image, "
                f"got {labels.shape[1]} x {labels.shape[0]}{turned}"
            )
        known = bytes([*range(len(self.classes)), *([] if self.void is None else [self.void])])
        # The bytes that remain after deleting all known ones; this takes a fraction of the decoding time.
        strange = labels.tobytes().translate(None, known)
        if strange:
            void = "" if self.void is None else f" and void {self.void}"
            raise DatasetError(f"{path} must hold classes 0..{len(self.classes) - 1}{void}, got {min(strange)}")
        return labels

    def image_names(self, folder: Path, entries: Sequence[Entry]) -> list[str]:
        """The names of a list's images in counts and pictures.

        The stem of each file, or its whole path if several images of the data set share a stem, as with one folder per
        case.
        """
        paths = {entry[0] for split in self.splits for entry in self.read_list(folder, split)}
        paths.update(entry[0] for entry in entries)
        unique = len({Path(path).stem for path in paths}) == len(paths)
        return [Path(entry[0]).stem if unique else entry[0] for entry in entries]

    def fingerprint(self, folder: Path, lists: Mapping[str, list[Entry]] | None = None) -> str:
        """SHA-256 (hex) of lists, by default its own, and of the content of every label and rater file they name."""
        if lists is None:
            lists = {split: self.read_list(folder, split) for split in self.splits}
        digest = hashlib.sha256()
        for split, entries in lists.items():
            digest.update(f"[{split}]\n".encode())
            for entry in entries:
                digest.update(" ".join(name or "-" for name in entry).encode() + b"\n")
                for relative in entry[1:]:
                    if relative is not None:
                        digest.update(hashlib.sha256(content(folder / relative)).digest())
        return digest.hexdigest()

    def class_counts(self, folder: Path, entries: list[Entry]) -> list[int]:
        """Number of pixels of each class over the labels of a list; every label value is checked as well.

        Raises:
            DatasetError: A label cannot be read or holds a value that is neither a class nor void.
        """
        counts = np.zeros(256, np.int64)
        for entry in entries:
            counts += np.bincount(self.load_label(folder / entry[1]).ravel(), minlength=256)
        return counts[: len(self.classes)].tolist()
