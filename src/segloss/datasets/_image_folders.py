"""Data sets that are folders of image and label files: lists from patterns, and the counts of the articles.

The large data sets are put in place by hand: their owners require registration, or they are too big to be downloaded
unasked. ``verify`` compares the number of images of each split with the articles' counts, so an incomplete data set is
reported; ``read_list`` does not, so an incomplete data set can still be trained on.
"""

import glob
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from segloss.datasets._checks import check_files_of_lists, check_sizes
from segloss.datasets._dataset import Dataset, Entry
from segloss.datasets._folders import manual_download
from segloss.datasets._folds import FOLDS
from segloss.datasets._lookup import Colour
from segloss.datasets._read import DatasetError, read_image

Entries = Callable[[Path, str], list[Entry]]


def pairs(folder: Path, pattern: str, label_of: Callable[[str], str]) -> list[Entry]:
    """Image and label of every file that matches a pattern, sorted by path.

    Args:
        folder: The data set's folder.
        pattern: Glob pattern of the images, relative to the folder.
        label_of: Maps an image's path to its label's, both relative to the folder.
    """
    return [(image, label_of(image)) for image in sorted(glob.glob(pattern, root_dir=folder))]


def folder_dataset(
    *,
    name: str,
    classes: Sequence[str],
    palette: Sequence[Colour],
    void: int | None,
    counts: Mapping[str, int] | Callable[[Path], Mapping[str, int]],
    instructions: str,
    terms: str,
    entries: Entries,
    read_label: Callable[[Path], np.ndarray],
    read_image: Callable[[Path], np.ndarray] = read_image,
    folder: str | None = None,
    splits: Sequence[str] = ("train", "val"),
    why_no_other: str = "",
    entries_of: Callable[[Path, list[str]], list[Entry]] | None = None,
    with_fold: Callable[[int], Dataset] | None = None,
) -> Dataset:
    """The description of a data set put in place by hand.

    Args:
        name: As in ``Dataset``, like classes, palette, void, instructions, terms, read_label, read_image, folder,
            splits and with_fold (of five folds).
        counts: Number of images of each split in the articles; or a function of the folder, if there are several
            layouts.
        entries: (folder, split) -> entries, for the splits of ``splits`` only.
        why_no_other: Added to the error for another split.
        entries_of: (folder, images as in a list) -> entries, for data sets with published lists of labelled images:
            ``<list>/labeled.txt``, an image and a label per line; ``<list>/unlabeled.txt`` may be missing, and then
            stands for the rest of ``train``. Default: None: there are no such lists.
    """

    def read_list(folder: Path, split: str) -> list[Entry]:
        """Image and label of each image of a split, or of a list ``<list>/labeled`` or ``<list>/unlabeled``.

        Raises:
            DatasetError: There is no such split, or no image in it.
        """
        folder = Path(folder)
        if entries_of is not None and "/" in split:
            return _published_list(folder, split)
        if split not in splits:
            raise DatasetError(f"{name} has no list {split!r}{why_no_other}; known: {', '.join(splits)}")
        listed = entries(folder, split)
        if not listed:
            raise DatasetError(f"{name}: {folder} has no images for {split}; {instructions}")
        return listed

    def _published_list(folder: Path, split: str) -> list[Entry]:
        path = folder / f"{split}.txt"
        if path.is_file():
            lines = path.read_text(encoding="utf-8").splitlines()
            return entries_of(folder, [line.split()[0] for line in lines if line.strip()])
        if path.name != "unlabeled.txt" or not path.with_name("labeled.txt").is_file():
            raise DatasetError(f"{name}: the list {path} is missing; {instructions}")
        labelled = {image for image, _ in _published_list(folder, split.replace("unlabeled", "labeled"))}
        return [entry for entry in read_list(folder, "train") if entry[0] not in labelled]

    def verify(folder: Path) -> None:
        """Raise DatasetError, in one sentence, unless all files exist, can be read and fit together."""
        check_files_of_lists(dataset, folder, dict(counts(folder) if callable(counts) else counts))
        check_sizes(dataset, folder)

    dataset = Dataset(
        name=name,
        classes=tuple(classes),
        palette=tuple(palette),
        void=void,
        raters=0,
        generated=False,
        prepare=manual_download(folder or name, verify, instructions),
        verify=verify,
        instructions=instructions,
        terms=terms,
        splits=tuple(splits),
        folder=folder,
        read_list=read_list,
        read_image=read_image,
        read_label=read_label,
        folds=FOLDS if with_fold else 0,
        with_fold=with_fold,
    )
    return dataset
