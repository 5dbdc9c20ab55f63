"""QUBIQ 2021: medical slices whose structures several experts delineated, one binary task per data set.

Menze et al., Quantification of Uncertainties in Biomedical Image Quantification 2021,
https://qubiq21.grand-challenge.org/ (registration). All tasks are read from one folder ``qubiq`` below the data root,
in the layout of the challenge's archive: ``<organ>/{Training,Validation}/caseNN/image.nii.gz`` and
``taskTT_segRR.nii.gz`` for task TT and rater RR. Brain tumours are left out: their four channels do not fit RGB.

The challenge has no single reference: as label stands the first rater whose drawing is there. The challenge's
validation cases are ``test``, its hidden test cases are not published; every fifth training case is ``val``.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from segloss.datasets._checks import check_sizes
from segloss.datasets._dataset import Dataset, DatasetError, Entry, put_there_by_hand
from segloss.datasets._nifti import read_nifti

HOW_TO_GET = (
    "register at https://qubiq21.grand-challenge.org/, download training and validation data and unpack them to "
    "qubiq/<organ>/{Training,Validation}/caseNN/"
)


def read_list(organ: str, task: int, raters: int, folder: Path, split: str) -> list[Entry]:
    """Image, first rater as label, and all raters of each case of a split, None where a rater's file is not there.

    Raises:
        DatasetError: There is no such split, no such folder, or a case without any rater.
    """
    if split not in ("train", "val", "test"):
        raise DatasetError(f"qubiq has no list {split!r}; known: train, val, test")
    source = Path(folder) / organ / ("Validation" if split == "test" else "Training")
    if not source.is_dir():
        raise DatasetError(f"{source} is missing; {HOW_TO_GET}")
    # Cases are numbered, not always with leading zeros.
    cases = sorted((path.parent for path in source.glob("case*/image.nii.gz")), key=lambda path: (len(path.name), path))
    if split != "test":
        cases = [case for place, case in enumerate(cases) if (place % 5 == 4) == (split == "val")]
    entries = []
    for case in cases:
        files = [case / f"task{task:02d}_seg{rater:02d}.nii.gz" for rater in range(1, raters + 1)]
        names = [file.relative_to(folder).as_posix() if file.is_file() else None for file in files]
        if not any(names):
            raise DatasetError(f"{case} has no task{task:02d}_segRR.nii.gz of any rater")
        entries.append(((case / "image.nii.gz").relative_to(folder).as_posix(), next(filter(None, names)), *names))
    return entries


def read_image(path: Path) -> np.ndarray:
    """A slice as grey RGB, uint8 (height, width, 3): its 0.5th to 99.5th percentile mapped linearly to 0..255.

    Raises:
        DatasetError: It is not one two-dimensional slice.
    """
    values = _slice(path)
    low, high = np.percentile(values, (0.5, 99.5))
    grey = np.clip((values - low) / max(high - low, np.finfo(float).tiny), 0, 1)
    return np.rint(255 * grey).astype(np.uint8)[..., None].repeat(3, -1)


def read_label(path: Path) -> np.ndarray:
    """A rater's drawing, uint8 (height, width), 1 inside.

    Raises:
        DatasetError: It is not one two-dimensional slice, or holds anything but 0 and 1.
    """
    values = _slice(path)
    if not np.isin(values, (0, 1)).all():
        raise DatasetError(f"{path} must hold 0 and 1 only, got {values[~np.isin(values, (0, 1))][0]:g}")
    return values.astype(np.uint8)


def _slice(path: Path) -> np.ndarray:
    values = read_nifti(path)
    if values.ndim != 2:
        raise DatasetError(f"{path} must be one slice, got {' x '.join(str(size) for size in values.shape)} values")
    return values.T  # x, y as stored; an image is rows, columns


def _task(name: str, organ: str, task: int, raters: int) -> Dataset:
    """The description of one task."""
    entries: Callable[[Path, str], list[Entry]] = partial(read_list, organ, task, raters)

    def verify(folder: Path) -> None:
        """Raise DatasetError, in one sentence, unless all files of the task can be read and fit together."""
        for split in ("train", "val", "test"):
            if not entries(folder, split):
                raise DatasetError(f"{name}: {folder / organ} has no cases for {split}; {HOW_TO_GET}")
        check_sizes(dataset, folder)

    dataset = Dataset(
        name=name,
        classes=("background", "structure"),
        palette=((0, 0, 0), (86, 180, 233)),
        void=None,
        raters=raters,
        generated=False,
        prepare=put_there_by_hand("qubiq", verify, HOW_TO_GET),
        verify=verify,
        how_to_get=HOW_TO_GET,
        folder="qubiq",
        read_list=entries,
        read_image=read_image,
        read_label=read_label,
    )
    return dataset


QUBIQ = (
    _task("qubiq-brain-growth", "brain-growth", task=1, raters=7),
    _task("qubiq-kidney", "kidney", task=1, raters=3),
    _task("qubiq-prostate-1", "prostate", task=1, raters=6),
    _task("qubiq-prostate-2", "prostate", task=2, raters=6),
)
