"""QUBIQ's layout on files written here, byte by byte from the format's description."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from segloss.datasets import DATASETS, DatasetError, qubiq
from segloss.datasets._nifti import read_nifti

CODES = {"u1": 2, "i2": 4, "i4": 8, "f4": 16, "f8": 64, "i1": 256, "u2": 512, "u4": 768, "i8": 1024, "u8": 1280}


def nifti(values: np.ndarray, order: str = "<", scl_slope: float = 0.0, scl_inter: float = 0.0, pad: int = 4) -> bytes:
    """A single-file NIfTI-1 of an array in (x, y, ...) order."""
    header = bytearray(348)
    struct.pack_into(f"{order}i", header, 0, 348)
    sizes = [values.ndim, *values.shape, *[1] * (7 - values.ndim)]
    struct.pack_into(f"{order}8h", header, 40, *sizes)
    struct.pack_into(f"{order}2h", header, 70, CODES[values.dtype.str[1:]], 8 * values.dtype.itemsize)
    struct.pack_into(f"{order}3f", header, 108, 348 + pad, scl_slope, scl_inter)
    struct.pack_into(f"{order}7f", header, 80, *[1.0] * 7)
    header[344:348] = b"n+1\0"
    return bytes(header) + bytes(pad) + values.astype(values.dtype.newbyteorder(order)).tobytes(order="F")


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", sorted(CODES))
def test_nifti_types_and_byte_orders(tmp_path, kind, order):
    values = (np.arange(35).reshape(5, 7) * 3).astype(kind)
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(nifti(values, order)))
    (tmp_path / "a.nii").write_bytes(nifti(values[..., None, None], order, scl_slope=0.5, scl_inter=-2, pad=36))
    np.testing.assert_array_equal(read_nifti(tmp_path / "a.nii.gz"), values.astype(float))
    np.testing.assert_array_equal(read_nifti(tmp_path / "a.nii"), values.astype(float) * 0.5 - 2)


def test_nifti_keeps_real_axes(tmp_path):
    (tmp_path / "a.nii").write_bytes(nifti(np.arange(24, dtype="f4").reshape(1, 4, 1, 6)))
    assert read_nifti(tmp_path / "a.nii").shape == (1, 4, 6)


def test_broken_nifti_is_a_sentence(tmp_path):
    path, good = tmp_path / "a.nii", nifti(np.ones((5, 7), "f4"))
    for wrong, sentence in (
        (good[:-1], "cannot be read"),
        (good[:300], "is not a readable NIfTI file"),
        (b"", "is not a readable NIfTI file"),
        (good[:70] + struct.pack("<h", 5000) + good[72:], "is not a readable NIfTI file"),
    ):
        path.write_bytes(wrong)
        with pytest.raises(DatasetError, match=sentence):
            read_nifti(path)
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(good)[:-20])
    with pytest.raises(DatasetError, match=r"a\.nii\.gz .*readable NIfTI file"):
        read_nifti(tmp_path / "a.nii.gz")


@pytest.fixture
def root(tmp_path) -> Path:
    """Twelve prostate cases, ten of them for training; one rater of case 3's second task is missing."""
    random = np.random.default_rng(0)
    for part, numbers in (("Training", range(1, 11)), ("Validation", range(11, 13))):
        for number in numbers:
            case = tmp_path / "qubiq" / "prostate" / part / f"case{number}"
            case.mkdir(parents=True)
            (case / "image.nii.gz").write_bytes(gzip.compress(nifti(random.normal(100, 20, (8, 6, 1)).astype("f4"))))
            for task in (1, 2):
                for rater in range(1, 7):
                    mask = np.zeros((8, 6, 1), "u1")
                    mask[rater:, :3] = task == 1 or rater > 2
                    if (number, task, rater) != (3, 2, 1):
                        (case / f"task{task:02d}_seg{rater:02d}.nii.gz").write_bytes(gzip.compress(nifti(mask)))
    return tmp_path


def test_layout(root):
    dataset = DATASETS["qubiq-prostate-2"]
    folder = dataset.prepare(root)
    assert folder == root / "qubiq"
    lists = {split: dataset.read_list(folder, split) for split in dataset.splits}
    cases = {split: [Path(image).parent.name for image, *_ in entries] for split, entries in lists.items()}
    assert cases["val"] == ["case5", "case10"]
    assert cases["test"] == ["case11", "case12"]
    assert cases["train"] == ["case1", "case2", "case3", "case4", "case6", "case7", "case8", "case9"]
    image, label, *raters = lists["train"][0]
    assert image == "prostate/Training/case1/image.nii.gz"
    assert raters == [f"prostate/Training/case1/task02_seg{rater:02d}.nii.gz" for rater in range(1, 7)]
    assert label == raters[0]
    image, label, *raters = lists["train"][2]
    assert raters[0] is None
    assert label == raters[1] == "prostate/Training/case3/task02_seg02.nii.gz"
    assert len(raters) == 6


def test_pictures(root):
    """Stored x first; read as rows and columns."""
    dataset, case = DATASETS["qubiq-prostate-1"], root / "qubiq" / "prostate" / "Training" / "case1"
    image = dataset.read_image(case / "image.nii.gz")
    assert image.shape == (6, 8, 3)
    assert (image[..., 0] == image[..., 2]).all()
    assert (image.min(), image.max()) == (0, 255)
    stored = read_nifti(case / "image.nii.gz")
    assert np.argmax(image[..., 0]) == np.argmax(np.minimum(stored.T, np.percentile(stored, 99.5)))
    label = dataset.read_label(case / "task01_seg02.nii.gz")
    assert label.dtype == np.uint8
    expected = np.zeros((6, 8), int)
    expected[:3, 2:] = 1
    assert label.tolist() == expected.tolist()


def test_constant_image_is_black(root):
    path = root / "a.nii"
    path.write_bytes(nifti(np.full((4, 4), 7, "i2")))
    assert (qubiq.read_image(path) == 0).all()


def test_wrong_files_are_sentences(root):
    dataset = DATASETS["qubiq-prostate-1"]
    folder, case = root / "qubiq", root / "qubiq" / "prostate" / "Training" / "case2"
    path = case / "task01_seg03.nii.gz"
    good = path.read_bytes()
    for values, sentence in (
        (np.full((8, 6), 2, "u1"), "must hold 0 and 1 only, got 2"),
        (np.zeros((6, 8), "u1"), "must be 8 x 6 pixels as its image, got 6 x 8"),
        (np.zeros((8, 6, 3), "u1"), "must be one slice, got 8 x 6 x 3 values"),
    ):
        path.write_bytes(gzip.compress(nifti(values)))
        with pytest.raises(DatasetError, match=sentence):
            dataset.verify(folder)
    path.write_bytes(good)
    dataset.verify(folder)
    for file in case.glob("task01*"):
        file.unlink()
    with pytest.raises(DatasetError, match=r"case2 has no task01_segRR.nii.gz of any rater"):
        dataset.verify(folder)
    with pytest.raises(DatasetError, match=r"kidney.Training is missing; register at https"):
        DATASETS["qubiq-kidney"].verify(folder)
    with pytest.raises(DatasetError, match=r"qubiq has no list 'trian'; known: train, val, test"):
        dataset.read_list(folder, "trian")


def make_brain_tumours(root: Path, first: bool = True) -> np.ndarray:
    """Ten cases of four channels and three raters of task 2; the pixels (channels, x, y) of the last.

    Args:
        root: The data root.
        first: Store the channels as the first axis of a file, otherwise as the last.
    """
    random = np.random.default_rng(0)
    for part, numbers in (("Training", range(1, 9)), ("Validation", range(9, 11))):
        for number in numbers:
            case = root / "qubiq" / "brain-tumor" / part / f"case{number:02d}"
            case.mkdir(parents=True)
            image = random.normal(100, 20, (4, 8, 6)).astype("f4") * np.array([1, 2, 3, 4])[:, None, None]
            stored = image if first else np.moveaxis(image, 0, -1)
            (case / "image.nii.gz").write_bytes(gzip.compress(nifti(stored.astype("f4"))))
            for rater in range(1, 4):
                mask = np.zeros((8, 6), "u1")
                mask[rater:] = 1
                (case / f"task02_seg{rater:02d}.nii.gz").write_bytes(gzip.compress(nifti(mask)))
    return image


@pytest.mark.parametrize("first", [True, False])
def test_brain_tumours_have_four_channels(tmp_path, first):
    """Whether the channels come first or last in the file."""
    image = make_brain_tumours(tmp_path, first)
    dataset = DATASETS["qubiq-brain-tumour-2"]
    folder = dataset.prepare(tmp_path)
    assert dataset.channels == 4
    path = folder / "brain-tumor" / "Validation" / "case10" / "image.nii.gz"
    pixels = dataset.load_image(path)
    assert pixels.shape == (6, 8, 4)
    assert all((pixels[..., channel].min(), pixels[..., channel].max()) == (0, 255) for channel in range(4))
    expected = image[2].T  # of case 10, the last one
    assert np.argmax(pixels[..., 2]) == np.argmax(np.minimum(expected, np.percentile(expected, 99.5)))
    path.write_bytes(gzip.compress(nifti(image[:3])))
    with pytest.raises(DatasetError, match=r"image.nii.gz must be one slice of 4 channels, got 3 x 8 x 6 values"):
        dataset.load_image(path)


def test_folds_pool_the_cases(root):
    dataset = DATASETS["qubiq-prostate-1"]
    folder = root / "qubiq"
    held = [
        [Path(image).parent.name for image, *_ in dataset.with_fold(fold).read_list(folder, "test")]
        for fold in range(dataset.folds)
    ]
    assert held == [["case1", "case2"], ["case3", "case4"], ["case5", "case6"], ["case7", "case8"], ["case9", "case10"]]
    train = [Path(image).parent.name for image, *_ in dataset.with_fold(4).read_list(folder, "train")]
    assert train == [f"case{n}" for n in (1, 2, 3, 4, 5, 6, 7, 8, 11, 12)]
    with pytest.raises(DatasetError, match="qubiq has no list 'val'; known: train, test"):
        dataset.with_fold(0).read_list(folder, "val")
    with pytest.raises(DatasetError, match=r"the folds are 0..4, got 7"):
        dataset.with_fold(7).read_list(folder, "test")
