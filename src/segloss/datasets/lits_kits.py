"""LiTS and KiTS19: liver and kidney tumours in CT volumes, as the slices that show a tumour.

Bilic et al., The Liver Tumor Segmentation Benchmark (LiTS), 2023, https://doi.org/10.1016/j.media.2022.102680;
Heller et al., The KiTS19 Challenge Data, 2019, https://arxiv.org/abs/1904.00445. As in the articles on the JDT losses,
only slices with a tumour are used, intensities are clipped to a window of Hounsfield units, the two classes are tumour
and the rest, and the cases are divided into five folds; the data set itself is fold 0. ``prepare`` writes the slices to
``<name>-slices`` next to the volumes: 8-bit PNG files, labels as published (0 background, 1 organ, 2 tumour).
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from segloss.datasets._checks import check_files_of_lists, check_sizes
from segloss.datasets._dataset import Dataset, Entry
from segloss.datasets._folders import atomic_folder
from segloss.datasets._folds import FOLDS, fold_of
from segloss.datasets._lookup import ids_of_values, value_table
from segloss.datasets._nifti import read_nifti
from segloss.datasets._read import DatasetError, read_label, scaled
from segloss.files import write_json

TUMOUR = 2  # in the owners' labels, where 1 is the organ
TABLE = value_table({0: 0, 1: 0, TUMOUR: 1})
SPLITS = ("train", "test")
RECORD = "slices.json"  # written last


@dataclass(frozen=True)
class Volumes:
    """The layout of a set of volumes.

    Attributes:
        name: Name of the data set and of the volumes' folder.
        image: Pattern of the CT volumes; the text that ``*`` stands for is the name of the case.
        label: The labels of a case, with ``*`` for its name.
        axis: The axis of the slices. Of the other two, columns come first if it is 2, rows if it is 0.
        window: Hounsfield units that become 0 and 255.
        cases: Number of published cases.
        slices: Number of their slices with a tumour.
    """

    name: str
    image: str
    label: str
    axis: int
    window: tuple[int, int]
    cases: int
    slices: int


def cases_of(volumes: Volumes, folder: Path) -> list[tuple[str, Path, Path]]:
    """Name, CT and labels of each case, by number.

    Raises:
        DatasetError: A case has no labels.
    """
    before, after = volumes.image.split("*")
    cases = []
    for path in Path(folder).glob(volumes.image + "*"):  # with .gz or without
        relative = path.relative_to(folder).as_posix().removesuffix(".gz")
        name = relative.removeprefix(before).removesuffix(after)
        labels = [folder / (volumes.label.replace("*", name) + end) for end in ("", ".gz")]
        present = next((label for label in labels if label.is_file()), None)
        if present is None:
            raise DatasetError(f"{path} has no labels: there is no {labels[0]}")
        cases.append((name, path, present))
    return sorted(cases, key=lambda case: (len(case[0]), case[0]))


def tumour_slices(volumes: Volumes, image: Path, label: Path) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Index, pixels and labels, uint8 (height, width), of each slice of a case that shows a tumour.

    Raises:
        DatasetError: A volume cannot be read, sizes differ, or there are labels other than 0, 1 and 2.
    """
    values, labels = read_nifti(image), read_nifti(label)
    if values.shape != labels.shape or values.ndim != 3:
        sizes = [" x ".join(str(size) for size in array.shape) for array in (labels, values)]
        raise DatasetError(f"{label} must be a volume of the size of {image}, {sizes[1]}, got {sizes[0]}")
    if not np.isin(labels, (0, 1, TUMOUR)).all():
        raise DatasetError(f"{label} must hold 0, 1 and 2 only, got {labels[~np.isin(labels, (0, 1, TUMOUR))][0]:g}")
    others = tuple(axis for axis in range(3) if axis != volumes.axis)
    for index in np.flatnonzero((labels == TUMOUR).any(others)).tolist():
        pixels, classes = (array.take(index, volumes.axis) for array in (values, labels))
        if volumes.axis == 2:
            pixels, classes = pixels.T, classes.T
        yield index, scaled(pixels, volumes.window, image), classes.astype(np.uint8)


def prepare(volumes: Volumes, dataset: Dataset, data_root: Path) -> Path:
    """Write the slices of all volumes below ``data_root``, or verify existing ones.

    Raises:
        DatasetError: Some or all volumes are missing, or a volume is invalid.
    """
    folder, source = Path(data_root) / dataset.folder, Path(data_root) / volumes.name
    if folder.is_dir():
        dataset.verify(folder)
        return folder
    cases = cases_of(volumes, source)
    if len(cases) != volumes.cases:
        raise DatasetError(
            f"{volumes.name}: {source} must hold {volumes.cases} cases, got {len(cases)}; {dataset.instructions}"
        )
    with atomic_folder(folder) as temporary:
        for name, image, label in cases:
            for kind in ("images", "labels"):
                (temporary / kind / name).mkdir(parents=True)
            for index, *pictures in tumour_slices(volumes, image, label):
                for kind, picture in zip(("images", "labels"), pictures, strict=True):
                    Image.fromarray(picture).save(temporary / kind / name / f"{index:04d}.png")
        write_json(temporary / RECORD, {"window": volumes.window, "cases": [name for name, *_ in cases]})
        dataset.verify(temporary)
    return folder


def read_list(volumes: Volumes, folder: Path, split: str, fold: int = 0) -> list[Entry]:
    """Image and label of each slice of the cases of a split.

    Raises:
        DatasetError: There is no such split, or the slices were not written by ``prepare``.
    """
    if split not in SPLITS:
        raise DatasetError(f"{volumes.name} has no list {split!r}; known: {', '.join(SPLITS)}")
    cases = fold_of(record(volumes, folder)["cases"], fold)[split == "test"]
    names = [
        path.relative_to(Path(folder) / "images").as_posix()
        for case in cases
        for path in sorted((Path(folder) / "images" / case).glob("*.png"))
    ]
    return [(f"images/{name}", f"labels/{name}") for name in names]


def record(volumes: Volumes, folder: Path) -> dict:
    """The window and the cases that slices were written with."""
    path = Path(folder) / RECORD
    again = f"remove {folder} and run: segloss prepare {volumes.name}"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["window"] == list(volumes.window) and isinstance(content["cases"], list):
            return content
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{volumes.name}: {path} cannot be read ({error}); {again}") from error
    raise DatasetError(f"{volumes.name}: {path} must have the window {volumes.window}; {again}")


def read_tumour(path: Path) -> np.ndarray:
    """The class ids of a slice: 1 on tumours, 0 elsewhere, including the rest of the organ."""
    return ids_of_values(read_label(path), TABLE, path)


def volumes_dataset(volumes: Volumes, instructions: str, terms: str, megabytes: int) -> Dataset:
    """The description of the slices of a set of volumes."""

    def verify(folder: Path) -> None:
        """Raise DatasetError, in one sentence, unless the folder holds all slices with a tumour."""
        entries = [entry for split in SPLITS for entry in dataset.read_list(folder, split)]
        if len(entries) != volumes.slices:
            raise DatasetError(f"{volumes.name}: {folder} must hold {volumes.slices} slices, got {len(entries)}")
        check_files_of_lists(dataset, folder, {split: len(dataset.read_list(folder, split)) for split in SPLITS})
        check_sizes(dataset, folder)

    dataset = Dataset(
        name=volumes.name,
        classes=("background", "tumour"),
        palette=((0, 0, 0), (213, 94, 0)),
        void=None,
        raters=0,
        generated=False,
        instructions=instructions,
        verify=verify,
        splits=SPLITS,
        folder=f"{volumes.name}-slices",
        read_list=partial(read_list, volumes),
        read_label=read_tumour,
        folds=FOLDS,
        with_fold=lambda fold: replace(
            dataset, name=f"{volumes.name}-fold{fold}", read_list=partial(read_list, volumes, fold=fold)
        ),
        terms=terms,
        megabytes=megabytes,
    )
    return replace(dataset, prepare=partial(prepare, volumes, dataset))


LITS = volumes_dataset(
    Volumes("lits", "volume-*.nii", "segmentation-*.nii", axis=2, window=(-60, 140), cases=131, slices=7190),
    "get the training volumes at https://competitions.codalab.org/competitions/17094, put volume-<n>.nii and "
    "segmentation-<n>.nii (or .nii.gz) into lits/ and run: segloss prepare lits",
    "registration; non-commercial (check the owners' terms)",
    60_000,
)
KITS19 = volumes_dataset(
    Volumes(
        "kits19",
        "case_*/imaging.nii",
        "case_*/segmentation.nii",
        axis=0,
        window=(-200, 300),
        cases=210,
        slices=5712,
    ),
    "get case_00000 to case_00209 as https://github.com/neheller/kits19 describes, put case_<n>/imaging.nii.gz and "
    "case_<n>/segmentation.nii.gz into kits19/ and run: segloss prepare kits19",
    "CC BY-NC-SA 4.0 (check the owners' terms)",
    30_000,
)
