"""Particulars of bubil, stare, cwfid and others, checked on the data themselves where these are available."""

import gzip
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from real_data import at_hand

from segloss.datasets import DATASETS, DatasetError, _read, bubil, ccp, cwfid


def all_entries(name: str, folder: Path) -> list:
    return [entry for split in DATASETS[name].splits for entry in DATASETS[name].read_list(folder, split)]


def test_bubil_counts_every_drawing_once():
    """Every drawing that is left out has a reason in the pixels, and no drawing that is kept is a copy."""
    folder = at_hand("bubil")
    entries = all_entries("bubil", folder)
    assert len(entries) == 116
    left_out = {"duplicate": 0, "excluded": 0}
    for image, label, *raters in entries:
        name = Path(image).stem
        gold = bubil.BUBIL.read_label(folder / label)
        drawings = {rater: bubil.BUBIL.read_label(folder / f"masks/{rater}/{name}.png") for rater in bubil.RATERS}
        assert np.array_equal(gold, drawings["Person2_ImageJ"])
        assert "GoldStandard" not in bubil.RATERS
        for rater, path in zip(bubil.RATERS, raters, strict=True):
            if path is None and name.startswith("D1_"):
                assert np.array_equal(drawings[rater], drawings["Person2_ImageJ"])
                left_out["duplicate"] += 1
            elif path is None:
                assert not (drawings[rater] & drawings["Person2_ImageJ"]).any()
                left_out["excluded"] += 1
        kept = [drawings[rater] for rater, path in zip(bubil.RATERS, raters, strict=True) if path is not None]
        assert len({drawing.tobytes() for drawing in kept}) == len(kept)
    assert left_out == {"duplicate": 35, "excluded": 2}


def test_bubil_without_its_table(tmp_path):
    (tmp_path / "train.txt").write_text("D1_B01\n")
    with pytest.raises(DatasetError, match=r"bubil: .*meta.csv is missing; cut the frames"):
        DATASETS["bubil"].read_list(tmp_path, "train")
    (tmp_path / "meta.csv").write_text("id,exclude\nD1_B02,\n")
    with pytest.raises(DatasetError, match=r"bubil: D1_B01 of .*train.txt is not in .*meta.csv"):
        DATASETS["bubil"].read_list(tmp_path, "train")


def test_stare_observers():
    """Shares of vessel pixels as known, first observer 7.60 %, second 10.89 %; the first is the label."""
    folder = at_hand("stare")
    shares = np.zeros(2)
    for _, label, *raters in all_entries("stare", folder):
        assert label == raters[0]
        shares += [DATASETS["stare"].read_label(folder / rater).mean() / 20 for rater in raters]
    np.testing.assert_allclose(100 * shares, [7.60, 10.89], atol=0.01)


@pytest.mark.slow
def test_cwfid_split_and_classes():
    """Image 28 is in train alone; pixels are 92.63 % soil, 1.61 % crop, 5.76 % weed."""
    folder = at_hand("cwfid")
    train, test = (DATASETS["cwfid"].read_list(folder, split) for split in ("train", "test"))
    assert (len(train), len(test)) == (40, 20)
    assert "images/028_image.jpg" in {image for image, _ in train}
    pixels = sum(np.bincount(cwfid.read_label(folder / label).ravel(), minlength=3) for _, label in train + test)
    np.testing.assert_allclose(100 * pixels / pixels.sum(), [92.63, 1.61, 5.76], atol=0.01)


def test_cwfid_split_file(tmp_path):
    with pytest.raises(DatasetError, match=r"train_test_split.yaml is missing; unpack a release"):
        DATASETS["cwfid"].read_list(tmp_path, "train")
    (tmp_path / "train_test_split.yaml").write_text("train: [2, 3]\ntset: [1]\n")
    with pytest.raises(DatasetError, match=r"must hold the lists train and test, got train, tset"):
        DATASETS["cwfid"].read_list(tmp_path, "train")
    (tmp_path / "train_test_split.yaml").write_text("# split\ntrain: [2,\n  3]\ntest: [1, 3]\n")
    assert DATASETS["cwfid"].read_list(tmp_path, "train")[1][0] == "images/003_image.jpg"
    assert DATASETS["cwfid"].read_list(tmp_path, "test") == [("images/001_image.jpg", "annotations/001_annotation.png")]
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "001_image.png").touch()
    assert DATASETS["cwfid"].read_list(tmp_path, "test")[0][0] == "images/001_image.png"


def test_colours_become_classes(tmp_path):
    picture = np.zeros((2, 3, 3), np.uint8)
    picture[0, 1], picture[1, 2] = (0, 255, 0), (255, 0, 0)
    Image.fromarray(picture).save(tmp_path / "a.png")
    assert cwfid.read_label(tmp_path / "a.png").tolist() == [[0, 1, 0], [0, 0, 2]]
    for wrong in ((255, 255, 0), (1, 0, 0), (0, 0, 255), (0, 254, 0)):
        picture[1, 0] = wrong
        Image.fromarray(picture).save(tmp_path / "a.png")
        with pytest.raises(DatasetError, match=rf"colours must be one of .*, got {re.escape(str(wrong))}"):
            cwfid.read_label(tmp_path / "a.png")


def test_foreground_is_no_void(tmp_path):
    """255 means the foreground here; as a class id it would be taken for void."""
    Image.fromarray(np.array([[0, 255]], np.uint8)).save(tmp_path / "a.png")
    assert _read.read_foreground(tmp_path / "a.png").tolist() == [[0, 1]]
    Image.fromarray(np.array([[0, 255, 7]], np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(DatasetError, match="must hold 0 and 255 only, got 7"):
        _read.read_foreground(tmp_path / "a.png")


@pytest.mark.parametrize("name", ["bubil", "stare", "ccp59"])
def test_one_changed_pixel_is_found(name, tmp_path):
    """In a copy of the folder, in a rater's map that is no label."""
    folder = tmp_path / (DATASETS[name].folder or name)
    shutil.copytree(at_hand(name), folder)
    path = folder / DATASETS[name].read_list(folder, "test")[-1][-1]
    pixels = np.array(_read.read_label(path))
    pixels[0, 0] ^= 1 if name == "ccp59" else 255
    path.unlink()  # the copy may be read-only
    if path.suffix == ".gz":
        header = f"P5\n{pixels.shape[1]} {pixels.shape[0]}\n255\n".encode()
        path.write_bytes(gzip.compress(header + pixels.tobytes()))
    else:
        Image.fromarray(pixels).save(path)
    with pytest.raises(DatasetError, match=f"{name}: the label files in .* differ from the published ones"):
        DATASETS[name].verify(folder)


def test_bsds500_drawings_are_lines_of_three_pixels(tmp_path):
    pixels = np.zeros((5, 6), np.uint8)
    pixels[0, 0] = pixels[3, 3] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    expected = np.zeros((5, 6), int)
    expected[:2, :2] = expected[2:5, 2:5] = 1
    assert DATASETS["bsds500"].read_label(tmp_path / "a.png").tolist() == expected.tolist()


def test_bsds500_drawings_of_an_image():
    """Four to nine of them, 2 696 in all, the first as label; two of one image agree as dilated 3 x 3 lines do."""
    folder = at_hand("bsds500")
    entries = all_entries("bsds500", folder)
    counts = [sum(rater is not None for rater in raters) for _, _, *raters in entries]
    assert (len(entries), min(counts), max(counts), sum(counts)) == (500, 4, 9, 2696)
    assert all(label == raters[0] and len(raters) == 9 for _, label, *raters in entries)
    dice = []
    for _, first, _, second, *_ in entries[:40]:
        drawn, other = (DATASETS["bsds500"].read_label(folder / path) for path in (first, second))
        dice.append(2 * (drawn & other).sum() / (drawn.sum() + other.sum()))
    assert 0.4 < np.mean(dice) < 0.6


def test_bsds500_without_its_files(tmp_path):
    with pytest.raises(DatasetError, match=r"bsds500: .*train.txt is missing; from BSR_bsds500.tgz"):
        DATASETS["bsds500"].read_list(tmp_path, "train")
    (tmp_path / "train.txt").write_text("2092\n")
    with pytest.raises(DatasetError, match=r"boundaries/train/2092_0.png is missing, though train lists 2092"):
        DATASETS["bsds500"].read_list(tmp_path, "train")


def test_ccp_groups_are_a_partition_of_the_classes():
    members = [name for names in ccp.GROUPS.values() for name in names.split()]
    assert sorted(members) == sorted(ccp.CLASSES)
    assert ccp.CLASSES[ccp.GROUP_OF_CLASS.tolist().index(5)] == "dress"


def test_ccp_groups_are_those_of_its_folder():
    """Derived from the owners' 59 classes, they equal the labels stored beside them, pixel by pixel."""
    folder = at_hand("ccp12")
    entries = all_entries("ccp12", folder)
    assert entries == all_entries("ccp59", folder)
    shares = np.zeros(12)
    for _, label in entries[::20]:
        groups = DATASETS["ccp12"].read_label(folder / label)
        with Image.open(folder / label.replace("labels59", "labels12")) as image:
            assert np.array_equal(groups, np.array(image))
        shares += np.bincount(groups.ravel(), minlength=12) / groups.size
    assert 74 < 100 * shares[0] / len(entries[::20]) < 80


def test_camvid_trains_on_all_that_is_not_tested_on():
    folder = at_hand("camvid")
    train, test = (DATASETS["camvid-trainval"].read_list(folder, split) for split in ("train", "test"))
    assert (len(train), len(test)) == (468, 233)
    assert train[:367] == DATASETS["camvid"].read_list(folder, "train")
    assert not {image for image, _ in train} & {image for image, _ in test}
