"""LiTS and KiTS19 in their owners' layouts, as volumes of a few voxels written here."""

import gzip
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from test_qubiq import nifti

from segloss.datasets import DATASETS, DatasetError, find
from segloss.datasets.lits_kits import Volumes, volumes_dataset

LITS = Volumes("lits", "volume-*.nii", "segmentation-*.nii", axis=2, window=(-60, 140), cases=6, slices=9)
KITS = Volumes("kits19", "case_*/imaging.nii", "case_*/segmentation.nii", 0, (-200, 300), cases=6, slices=9)
TUMOURS = {0: (1,), 1: (0, 2), 2: (3,), 3: (), 10: (0, 1, 2), 11: (1, 3)}  # slices of each case


def volumes(layout: Volumes, root) -> dict[int, np.ndarray]:
    """Six cases of four slices of 5 x 7 pixels; returns the labels of each (slices, rows, columns)."""
    random = np.random.default_rng(0)
    labels = {}
    for number, slices in TUMOURS.items():
        image = random.integers(-1000, 1000, size=(4, 5, 7)).astype("i2")
        image[:, 0, :4] = (layout.window[0], layout.window[1], -2000, 2000)
        label = np.zeros((4, 5, 7), "u1")
        label[:, 2:4, 1:3] = 1
        label[list(slices), 3, 2:6] = 2
        labels[number] = label
        name = str(number) if layout.name == "lits" else f"{number:05d}"
        for pattern, values in ((layout.image, image), (layout.label, label)):
            path = root / layout.name / (pattern.replace("*", name) + (".gz" if layout.name == "kits19" else ""))
            path.parent.mkdir(parents=True, exist_ok=True)
            content = nifti(values.transpose(2, 1, 0) if layout.axis == 2 else values)
            path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return labels


def small(layout: Volumes):
    return volumes_dataset(layout, "put them there", "", 1)


@pytest.mark.parametrize("layout", [LITS, KITS], ids=["lits", "kits19"])
def test_layout(layout, tmp_path):
    labels = volumes(layout, tmp_path)
    dataset = small(layout)
    folder = dataset.prepare(tmp_path)
    assert folder == tmp_path / f"{layout.name}-slices"
    name = (lambda number: str(number)) if layout.name == "lits" else (lambda number: f"{number:05d}")
    expected = {
        split: [f"images/{name(n)}/{k:04d}.png" for n in numbers for k in TUMOURS[n]]
        for split, numbers in (("test", [0]), ("train", [1, 2, 3, 10, 11]))
    }
    for split in dataset.splits:
        entries = dataset.read_list(folder, split)
        assert [image for image, _ in entries] == expected[split]
        for image_path, label_path in entries:
            case, index = image_path.removesuffix(".png").split("/")[1:]
            image = dataset.load_image(folder / image_path)
            assert image.shape == (5, 7, 3)
            assert image[0, :4, 0].tolist() == [0, 255, 0, 255]
            assert (image[..., 0] == image[..., 2]).all()
            label = dataset.load_label(folder / label_path, image.shape[:2])
            assert np.array_equal(label, labels[int(case)][int(index)] == 2)
    assert dataset.class_counts(folder, dataset.read_list(folder, "train")) == [8 * 35 - 8 * 4, 8 * 4]
    assert dataset.prepare(tmp_path) == folder


def test_folds_hold_out_every_case_once(tmp_path):
    volumes(LITS, tmp_path)
    dataset = small(replace(LITS, cases=6))
    folder = dataset.prepare(tmp_path)
    assert dataset.folds == 5
    held = [{e[0].split("/")[1] for e in dataset.with_fold(k).read_list(folder, "test")} for k in range(5)]
    assert held == [{"0"}, {"1"}, {"2"}, set(), {"10"}]  # case 3 shows no tumour; 11 is left over by the division
    for fold in range(5):
        fold_k = dataset.with_fold(fold)
        train, test = ({e[0] for e in fold_k.read_list(folder, split)} for split in dataset.splits)
        assert not train & test
        assert len(train | test) == 9
    assert find("lits-fold3").name == "lits-fold3"
    with pytest.raises(DatasetError, match="lits has 5 folds, got fold 5"):
        find("lits-fold5")
    with pytest.raises(DatasetError, match="camvid has no folds, got fold 0"):
        find("camvid-fold0")


def test_wrong_volumes_are_sentences(tmp_path):
    dataset, path = small(LITS), tmp_path / "lits" / "segmentation-2.nii"
    with pytest.raises(DatasetError, match=r"lits: .*lits must hold 6 cases, got 0; put them there"):
        dataset.prepare(tmp_path)
    volumes(LITS, tmp_path)
    good = path.read_bytes()
    for content, sentence in (
        (
            nifti(np.zeros((7, 5, 3), "u1")),
            r"segmentation-2.nii must be a volume of the size of .*7 x 5 x 4, got 7 x 5 x 3",
        ),
        (nifti(np.full((7, 5, 4), 3, "u1")), r"segmentation-2.nii must hold 0, 1 and 2 only, got 3"),
        (good[:400], r"segmentation-2.nii cannot be read"),
    ):
        path.write_bytes(content)
        with pytest.raises(DatasetError, match=sentence):
            dataset.prepare(tmp_path)
        assert not (tmp_path / "lits-slices").exists()
    path.unlink()
    with pytest.raises(DatasetError, match=r"volume-2.nii has no labels: there is no .*segmentation-2.nii"):
        dataset.prepare(tmp_path)
    path.write_bytes(good)
    with pytest.raises(DatasetError, match=r"must hold 10 slices, got 9"):
        small(replace(LITS, slices=10)).prepare(tmp_path)
    folder = dataset.prepare(tmp_path)
    Image.fromarray(np.full((5, 7), 4, np.uint8)).save(folder / "labels" / "1" / "0000.png")
    with pytest.raises(DatasetError, match=r"labels/1/0000.png must hold the values 0..2, got 4"):
        dataset.verify(folder)
    with pytest.raises(
        DatasetError, match=r"slices.json must have the window \(0, 1\); remove .* segloss prepare lits"
    ):
        small(replace(LITS, window=(0, 1))).verify(folder)
    (folder / "slices.json").unlink()
    with pytest.raises(DatasetError, match=r"slices.json cannot be read .* remove .* segloss prepare lits"):
        dataset.verify(folder)


def test_published_numbers():
    assert DATASETS["lits"].folder == "lits-slices"
    assert "volume-<n>.nii" in DATASETS["lits"].instructions
    assert "case_<n>/imaging.nii.gz" in DATASETS["kits19"].instructions
