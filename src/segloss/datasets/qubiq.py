"""QUBIQ 2021: medical slices whose structures several experts delineated, one binary task per data set.

Menze et al., Quantification of Uncertainties in Biomedical Image Quantification 2021,
https://qubiq21.grand-challenge.org/ (registration). All tasks are read from one folder ``qubiq`` below the data root,
in the layout of the challenge's archive: ``<organ>/{Training,Validation}/caseNN/image.nii.gz`` and
``taskTT_segRR.nii.gz`` for task TT and rater RR. Images of brain tumours have four channels, the MR sequences.

The challenge has no single reference: the label is the map of the first rater who drew one. The challenge's validation
cases are ``test``, its hidden test cases are not published; every fifth training case is ``val``. Fold k of five
instead pools training and validation cases, as in the articles on the JDT losses, and has no ``val``.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from segloss.datasets._checks import check_sizes
from segloss.datasets._dataset import Dataset, Entry
from segloss.datasets._folders import manual_download
from segloss.datasets._folds import FOLDS, fold_of
from segloss.datasets._nifti import read_nifti
from segloss.datasets._read import DatasetError

SPLITS = ("train", "val", "test")
FOLD_SPLITS = ("train", "test")
CHANNELS = {"brain-tumor": 4}  # all other organs: 3 identical channels
INSTRUCTIONS = (
    "register at https://qubiq21.grand-challenge.org/, download training and validation data and unpack them to "
    "qubiq/<organ>/{Training,Validation}/caseNN/"
)


def cases_of(folder: Path, organ: str, part: str) -> list[Path]:
    """The folders of the cases of an organ, in Training or Validation, by number: not all have leading zeros.

    Raises:
        DatasetError: There is no such folder.
    """
    source = Path(folder) / organ / part
    if not source.is_dir():
        raise DatasetError(f"{source} is missing; {INSTRUCTIONS}")
    return sorted((path.parent for path in source.glob("case*/image.nii.gz")), key=lambda path: (len(path.name), path))


def entry_of(folder: Path, case: Path, task: int, raters: int) -> Entry:
    """Image, first rater as label, and all raters of a case, None where a rater's file does not exist.

    Raises:
        DatasetError: No rater's file exists.
    """
    files = [case / f"task{task:02d}_seg{rater:02d}.nii.gz" for rater in range(1, raters + 1)]
    names = [file.relative_to(folder).as_posix() if file.is_file() else None for file in files]
    if not any(names):
        raise DatasetError(f"{case} has no task{task:02d}_segRR.nii.gz of any rater")
    return ((case / "image.nii.gz").relative_to(folder).as_posix(), next(filter(None, names)), *names)


def read_list(organ: str, task: int, raters: int, folder: Path, split: str, fold: int | None = None) -> list[Entry]:
    """Image, first rater as label, and all raters of each case of the owners' split, or of one fold.

    Raises:
        DatasetError: There is no such split, no such folder, or a case without any rater.
    """
    splits = SPLITS if fold is None else FOLD_SPLITS
    if split not in splits:
        raise DatasetError(f"qubiq has no list {split!r}; known: {', '.join(splits)}")
    if fold is not None:
        pooled = [case for part in ("Training", "Validation") for case in cases_of(folder, organ, part)]
        cases = fold_of(pooled, fold)[split == "test"]
    elif split == "test":
        cases = cases_of(folder, organ, "Validation")
    else:
        cases = cases_of(folder, organ, "Training")
        cases = [case for place, case in enumerate(cases) if (place % 5 == 4) == (split == "val")]
    return [entry_of(Path(folder), case, task, raters) for case in cases]


def read_image(path: Path, channels: int = 3) -> np.ndarray:
    """A slice, uint8 (height, width, channels): in each channel the 0.5th to 99.5th percentile become 0 to 255.

    One stored channel is repeated three times, as grey RGB.

    Raises:
        DatasetError: It is not a single slice with one channel or with the requested number.
    """
    values = read_nifti(path)
    if channels == 3:
        return _grey(_slice(values, path))[..., None].repeat(3, -1)
    axes = [axis for axis, size in enumerate(values.shape) if size == channels]
    if values.ndim != 3 or not axes:
        sizes = " x ".join(str(size) for size in values.shape)
        raise DatasetError(f"{path} must be one slice of {channels} channels, got {sizes} values")
    stack = np.moveaxis(values, axes[-1], 0)
    return np.stack([_grey(_slice(channel, path)) for channel in stack], -1)


def _grey(values: np.ndarray) -> np.ndarray:
    low, high = np.percentile(values, (0.5, 99.5))
    grey = np.clip((values - low) / max(high - low, np.finfo(float).tiny), 0, 1)
    return np.rint(255 * grey).astype(np.uint8)


def read_label(path: Path) -> np.ndarray:
    """A rater's drawing, uint8 (height, width), 1 inside.

    Raises:
        DatasetError: It is not one two-dimensional slice, or holds anything but 0 and 1.
    """
    values = _slice(read_nifti(path), path)
    if not np.isin(values, (0, 1)).all():
        raise DatasetError(f"{path} must hold 0 and 1 only, got {values[~np.isin(values, (0, 1))][0]:g}")
    return values.astype(np.uint8)


def _slice(values: np.ndarray, path: Path) -> np.ndarray:
    if values.ndim != 2:
        raise DatasetError(f"{path} must be one slice, got {' x '.join(str(size) for size in values.shape)} values")
    return values.T  # x, y as stored; an image is rows, columns


def _task(name: str, organ: str, task: int, raters: int) -> Dataset:
    """The description of one task."""

    def verify(folder: Path) -> None:
        """Raise DatasetError, in one sentence, unless all files of the task can be read and fit together."""
        for split in SPLITS:
            if not dataset.read_list(folder, split):
                raise DatasetError(f"{name}: {folder / organ} has no cases for {split}; {INSTRUCTIONS}")
        check_sizes(dataset, folder)

    def with_fold(fold: int) -> Dataset:
        return replace(
            dataset,
            name=f"{name}-fold{fold}",
            splits=FOLD_SPLITS,
            read_list=partial(read_list, organ, task, raters, fold=fold),
        )

    channels = CHANNELS.get(organ, 3)
    dataset = Dataset(
        name=name,
        classes=("background", "structure"),
        palette=((0, 0, 0), (86, 180, 233)),
        void=None,
        raters=raters,
        generated=False,
        prepare=manual_download("qubiq", verify, INSTRUCTIONS),
        verify=verify,
        instructions=INSTRUCTIONS,
        folder="qubiq",
        read_list=partial(read_list, organ, task, raters),
        read_image=partial(read_image, channels=channels),
        read_label=read_label,
        channels=channels,
        folds=FOLDS,
        with_fold=with_fold,
        terms="registration; challenge terms",
    )
    return dataset


QUBIQ = (
    _task("qubiq-brain-growth", "brain-growth", task=1, raters=7),
    *(_task(f"qubiq-brain-tumour-{task}", "brain-tumor", task, raters=3) for task in (1, 2, 3)),
    _task("qubiq-kidney", "kidney", task=1, raters=3),
    _task("qubiq-prostate-1", "prostate", task=1, raters=6),
    _task("qubiq-prostate-2", "prostate", task=2, raters=6),
)
