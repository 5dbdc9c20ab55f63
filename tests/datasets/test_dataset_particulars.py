"""What is particular about bubil, stare and cwfid, checked on the data themselves where these are at hand."""

import gzip
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from real_data import at_hand

from segloss.datasets import DATASETS, DatasetError, _dataset, bubil, cwfid


def all_entries(name: str, folder: Path) -> list:
    return [entry for split in DATASETS[name].splits for entry in DATASETS[name].read_list(folder, split)]


def test_bubil_counts_every_drawing_once():
    """What is left out is left out for a reason seen in the pixels, and nothing left in is a copy."""
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
    assert _dataset.read_foreground(tmp_path / "a.png").tolist() == [[0, 1]]
    Image.fromarray(np.array([[0, 255, 7]], np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(DatasetError, match="must hold 0 and 255 only, got 7"):
        _dataset.read_foreground(tmp_path / "a.png")


@pytest.mark.parametrize("name", ["bubil", "stare"])
def test_one_changed_pixel_is_found(name, tmp_path):
    """In a copy of the folder, in a rater's map that is no label."""
    folder = tmp_path / name
    shutil.copytree(at_hand(name), folder)
    path = folder / DATASETS[name].read_list(folder, "test")[-1][-1]
    pixels = np.array(_dataset.read_label(path))
    pixels[0, 0] ^= 255
    path.unlink()  # the copy may be read-only
    if path.suffix == ".gz":
        header = f"P5\n{pixels.shape[1]} {pixels.shape[0]}\n255\n".encode()
        path.write_bytes(gzip.compress(header + pixels.tobytes()))
    else:
        Image.fromarray(pixels).save(path)
    with pytest.raises(DatasetError, match=f"{name}: the label files in .* are not those published"):
        DATASETS[name].verify(folder)
