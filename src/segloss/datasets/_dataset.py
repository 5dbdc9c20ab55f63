"""What every data set says about itself, and what all of them share: lists, fingerprints, atomic folders."""

import gzip
import hashlib
import io
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

Entry = tuple[str | None, ...]  # image, label, raters..., relative to the data set's folder; None: no map of this rater


class DatasetError(Exception):
    """A data set is not there, not whole, or cannot be had: one sentence for the person who asked for it."""


def read_list(folder: Path | str, split: str) -> list[Entry]:
    """The lines of ``<split>.txt``: image, label and raters' maps, relative to the data set's folder.

    Args:
        folder: The data set's own folder, as ``locate`` gives it.
        split: Name of the list without its ending, such as "train" or "ssl_seed0/1_16/labeled".

    Returns:
        One tuple per image; None stands where the line has "-", for a rater without a map of this image.

    Raises:
        DatasetError: There is no such list.
    """
    folder = Path(folder)
    path = folder / f"{split}.txt"
    if not path.is_file():
        known = sorted(found.stem for found in folder.glob("*.txt") if found.stem != "README")
        raise DatasetError(f"there is no list {path}; lists there: {', '.join(known) or 'none'}")
    lines = path.read_text().split("\n")
    return [tuple(None if word == "-" else word for word in line.split()) for line in lines if line.strip()]


def image_names(entries: Sequence[Entry]) -> list[str]:
    """What the images of a list are called in counts and pictures.

    The stem of the file; where several share one, as with a folder for each case, the whole path.
    """
    stems = [Path(entry[0]).stem for entry in entries]
    return stems if len(set(stems)) == len(stems) else [entry[0] for entry in entries]


def read_image(path: Path) -> np.ndarray:
    """An image file, gzip'ed or not, as uint8 (height, width, 3) RGB."""
    with Image.open(io.BytesIO(content(path))) as image:
        return np.array(image.convert("RGB"))


def read_label(path: Path) -> np.ndarray:
    """A label file whose values are the class ids, as uint8 (height, width)."""
    with Image.open(io.BytesIO(content(path))) as image:
        return np.array(image)


def read_foreground(path: Path) -> np.ndarray:
    """A label file of 0 and 255, gzip'ed or not, as class ids 0 and 1, uint8 (height, width)."""
    values = read_label(path)
    foreground = values == 255
    if not (foreground | (values == 0)).all():
        raise DatasetError(f"{path} must hold 0 and 255 only, got {min(set(values.ravel().tolist()) - {0, 255})}")
    return foreground.astype(np.uint8)


def content(path: Path) -> bytes:
    """A file's bytes, unpacked if it is gzip'ed: packing again may give others."""
    with gzip.open(path) if Path(path).suffix == ".gz" else open(path, "rb") as file:
        return file.read()


@dataclass(frozen=True)
class Dataset:
    """A data set of the benchmark; one constant per file of this room.

    ``prepare`` takes the data root and makes or fetches ``<data root>/<name>``; the others take that folder. Its label
    files must be read by ``read_label``: some hold other values than class ids.

    Attributes:
        name: Its name in grid files, and of its folder below the data root.
        classes: Class names; the position is the class id.
        palette: RGB colour of each class.
        void: The label value that marks pixels without a class, or None.
        raters: Length of the rater stack, 0 without raters.
        generated: Whether ``prepare`` makes it, without any download.
        splits: Names of its lists.
        folder: Name of its folder below the data root, where that is not its own name.
        prepare: Make or fetch it below the data root and return its folder; a repeated call does nothing.
        verify: Raise DatasetError with one sentence if the folder is not this data set, whole.
        how_to_get: One sentence for who does not have it.
        read_list: (folder, split) -> entries: image, label, raters, relative to the folder.
        read_image: Path -> uint8 (height, width, 3) RGB.
        read_label: Path of a label or rater map -> uint8 (height, width) class ids or ``void``.
        read_truth: (folder, image as in the list) -> float32 (classes, height, width), the known probability of each
            class; None where only the raters tell.
        redistributable: Whether its terms allow its images to be shown in a published page.
    """

    name: str
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    void: int | None
    raters: int
    generated: bool
    prepare: Callable[[Path], Path]
    verify: Callable[[Path], None]
    how_to_get: str
    splits: tuple[str, ...] = ("train", "val", "test")
    folder: str | None = None
    read_list: Callable[[Path, str], list[Entry]] = read_list
    read_image: Callable[[Path], np.ndarray] = read_image
    read_label: Callable[[Path], np.ndarray] = read_label
    read_truth: Callable[[Path, str], np.ndarray] | None = None
    redistributable: bool = False

    def fingerprint(self, folder: Path, lists: Mapping[str, list[Entry]] | None = None) -> str:
        """sha256 (hex) over lists, by default its own, and the content of every label and rater file they name."""
        if lists is None:
            lists = {split: self.read_list(folder, split) for split in self.splits}
        digest = hashlib.sha256()
        for split, entries in lists.items():
            digest.update(f"[{split}]\n".encode())
            for entry in entries:
                digest.update(" ".join(word or "-" for word in entry).encode() + b"\n")
                for relative in entry[1:]:
                    if relative is not None:
                        digest.update(hashlib.sha256(content(folder / relative)).digest())
        return digest.hexdigest()

    def class_counts(self, folder: Path, entries: list[Entry]) -> list[int]:
        """Pixels of each class over the labels of a list; on the way every label value is checked.

        Raises:
            DatasetError: A label holds a value that is neither a class nor void.
        """
        counts = np.zeros(256, np.int64)
        for entry in entries:
            found = np.bincount(self.read_label(folder / entry[1]).ravel(), minlength=256)
            strange = [value for value in np.flatnonzero(found) if value >= len(self.classes) and value != self.void]
            if strange:
                raise DatasetError(
                    f"{folder / entry[1]} must hold classes 0..{len(self.classes) - 1} and void {self.void}, "
                    f"got {strange[0]}"
                )
            counts += found
        return counts[: len(self.classes)].tolist()


def put_there_by_hand(name: str, verify: Callable[[Path], None], how_to_get: str) -> Callable[[Path], Path]:
    """A ``prepare`` for data that cannot be fetched: verifies what is there, or says how to get it."""

    def prepare(data_root: Path) -> Path:
        folder = Path(data_root) / name
        if not folder.is_dir():
            raise DatasetError(f"data set {name} is not at {folder}; {how_to_get}")
        verify(folder)
        return folder

    return prepare


@contextmanager
def appearing_at_once(folder: Path) -> Iterator[Path]:
    """An empty folder to fill, renamed to ``folder`` when the block ends and removed if it fails.

    Nobody ever sees ``folder`` half made. If another process was faster, its folder stays.

    Raises:
        DatasetError: Nothing can be written there.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise DatasetError(f"cannot make {folder} ({error}); choose a data root that can be written to") from error
    try:
        temporary.chmod(0o755)  # mkdtemp makes private folders, a data set is shared
        yield temporary
        try:
            os.rename(temporary, folder)
        except OSError:
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
