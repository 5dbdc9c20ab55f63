"""The generated data set: its geometry, its posterior against simulated drawings, and its bytes."""

import itertools
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from segloss.datasets import DATASETS, DatasetError, phantom, read_list

PHANTOM = DATASETS["phantom"]
NUM_RATERS = len(phantom.RATER_MEANS)
# Tables made elsewhere are comparable as long as this holds. A change here needs a new phantom.VERSION.
FINGERPRINT = "f959b9ff0836a0bd71fbb597e67c7079476f14c2e7151a80b8c79132de0e204c"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return PHANTOM.prepare(tmp_path_factory.mktemp("data"))


@pytest.mark.parametrize(
    ("field", "inside"),
    [
        (phantom.disc(30.3, 25.1, 9.7), lambda r, c: np.hypot(r - 30.3, c - 25.1) < 9.7),
        (phantom.box(30, 31, 8, 13, 0.0), lambda r, c: (abs(r - 30) < 8) & (abs(c - 31) < 13)),
        (phantom.box(30, 31, 13, 8, math.pi / 2), lambda r, c: (abs(r - 30) < 8) & (abs(c - 31) < 13)),
        (
            phantom.box(32, 32, 9, 9, math.pi / 4),
            lambda r, c: abs(r - 32) + abs(c - 32) < 9 * math.sqrt(2),
        ),
        (
            phantom.bar(28, 32, 12, 5, 0.0),
            lambda r, c: np.hypot(r - 28, c - np.clip(c, 20, 44)) < 5,
        ),
    ],
)
def test_distance_is_exact(field, inside):
    """Against the distances to the nearest point on the other side, on a grid eight times as fine."""
    fine = 8
    rows, columns = np.mgrid[0 : 64 * fine, 0 : 64 * fine] / fine
    mask = inside(rows, columns)
    expected = (distance_transform_edt(mask) - distance_transform_edt(~mask))[::fine, ::fine] / fine
    assert mask.any()
    np.testing.assert_allclose(field, expected, atol=1.5 / fine)


def test_turned_shapes_keep_their_distances():
    """A turn about the centre by the angle between two pixels carries the field from one to the other."""
    for shape in (phantom.box, phantom.bar):
        level, turned = shape(32, 32, 6, 3, 0.0), shape(32, 32, 6, 3, math.atan2(3, 4))
        # Off the centre, (row 0, column 5) is carried to (3, 4), and (10, 0) to (8, -6).
        assert turned[32 + 3, 32 + 4] == pytest.approx(level[32, 32 + 5])
        assert turned[32 + 8, 32 - 6] == pytest.approx(level[32 + 10, 32])


def crowded_scene() -> list[phantom.Shape]:
    """Four shapes over one another, two of one class, so that every term of the posterior counts."""
    return [
        phantom.Shape(1, phantom.disc(30, 30, 14)),
        phantom.Shape(2, phantom.box(34, 36, 9, 11, 0.4)),
        phantom.Shape(1, phantom.bar(31, 33, 15, 3, 2.0)),
        phantom.Shape(4, phantom.disc(28, 40, 3)),
    ]


def test_posterior_against_drawing():
    """Four thousand runs of the experiment as described, with Python's own random generator."""
    import random

    runs, shapes = 4000, crowded_scene()
    generator = random.Random(5)
    counts = np.zeros((5, 64, 64))
    for _ in range(runs):
        mean = generator.choice(phantom.RATER_MEANS)
        drawing = np.zeros((64, 64), int)
        for class_id, distance in shapes:
            offset = generator.gauss(mean, phantom.RATER_SPREAD)
            drawing = np.where(distance > -offset, class_id, drawing)
        counts[drawing, np.arange(64)[:, None], np.arange(64)] += 1
    expected = phantom.posterior(shapes)
    np.testing.assert_allclose(expected.sum(0), 1, rtol=0, atol=1e-12)
    error = np.abs(counts / runs - expected)
    # Five standard deviations, and half a run where the posterior is next to 0 or 1.
    assert (error <= 5 * np.sqrt(expected * (1 - expected) / runs) + 1.5 / runs).all()
    assert ((expected > 0.2) & (expected < 0.8)).any(axis=(1, 2)).sum() == 4


def test_posterior_by_enumeration():
    """All ways in which the shapes of a pixel can cover it, summed over the raters."""
    shapes, row, column = crowded_scene(), 29, 40
    expected = np.zeros(5)
    for mean in phantom.RATER_MEANS:
        chances = [
            0.5 * math.erfc(-(s.distance[row, column] + mean) / (phantom.RATER_SPREAD * math.sqrt(2))) for s in shapes
        ]
        for covers in itertools.product([False, True], repeat=len(shapes)):
            weight = math.prod(q if covered else 1 - q for q, covered in zip(chances, covers, strict=True))
            on_top = [s.class_id for s, covered in zip(shapes, covers, strict=True) if covered]
            expected[on_top[-1] if on_top else 0] += weight / NUM_RATERS
    np.testing.assert_allclose(phantom.posterior(shapes)[:, row, column], expected, rtol=1e-12, atol=1e-15)


def test_labels_are_calibrated_to_the_posterior(folder):
    """Over all images, labels are as frequent as the posterior predicts, in every bin of probability.

    The pixels of an image share their rater, so the standard error comes from the differences between images.
    """
    bins, excess, pixels = 10, [], []
    for split in PHANTOM.splits:
        for image, label, *_ in read_list(folder, split):
            posterior = phantom.read_posterior(folder, image)
            labels = PHANTOM.read_label(folder / label)
            valid = labels != phantom.VOID
            probability = posterior[:, valid]
            hit = np.arange(5)[:, None] == labels[valid]
            bin_of = np.minimum((probability * bins).astype(int), bins - 1)
            excess.append(np.bincount(bin_of.ravel(), (hit - probability).ravel(), minlength=bins))
            pixels.append(np.bincount(bin_of.ravel(), minlength=bins))
    excess, pixels = np.array(excess), np.array(pixels)
    standard_error = np.sqrt((excess**2).sum(0))
    assert (np.abs(excess.sum(0)) < 3.5 * standard_error).all()
    # The test would detect a shift of 0.05 in every bin: it is many standard errors.
    assert (0.05 * pixels.sum(0) > 3.5 * standard_error).all()


def test_raters_differ_as_they_should(folder):
    """Foreground grows from rater to rater; the hard label is no rater's map."""
    shares, same_as_label = np.zeros(NUM_RATERS), 0
    entries = read_list(folder, "train")
    for _, label, *raters in entries:
        maps = [PHANTOM.read_label(folder / rater) for rater in raters]
        hard = PHANTOM.read_label(folder / label)
        shares += [((m != 0) & (m != phantom.VOID)).mean() for m in maps]
        same_as_label += any(np.array_equal(m, hard) for m in maps)
        assert all(np.array_equal(m == phantom.VOID, hard == phantom.VOID) for m in maps)
    assert (np.diff(shares / len(entries)) > 0.01).all()
    assert same_as_label < len(entries) / 10


def test_contents(folder):
    PHANTOM.verify(folder)
    pixels = np.zeros(256, int)
    for split, count in phantom.COUNTS.items():
        entries = read_list(folder, split)
        assert len(entries) == count
        for image, label, *raters in entries:
            assert PHANTOM.read_image(folder / image).shape == (64, 64, 3)
            assert len(raters) == NUM_RATERS
            labels = PHANTOM.read_label(folder / label)
            assert labels.dtype == np.uint8
            pixels += np.bincount(labels.ravel(), minlength=256)
    assert set(np.flatnonzero(pixels)) == {0, 1, 2, 3, 4, phantom.VOID}
    assert pixels[4] * 5 < min(pixels[1:4])  # the rare class is far rarer than the rest
    assert 0.002 < pixels[phantom.VOID] / pixels.sum() < 0.02


def test_posterior_is_given_for_every_image(folder):
    for image, *_ in read_list(folder, "test"):
        posterior = phantom.read_posterior(folder, image)
        assert posterior.dtype == np.float32
        assert posterior.shape == (5, 64, 64)
        np.testing.assert_allclose(posterior.sum(0), 1, rtol=0, atol=1e-6)


def test_bytes_are_the_same_in_another_process(folder, tmp_path):
    code = "import sys; from segloss.datasets import DATASETS; DATASETS['phantom'].prepare(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    assert files == sorted(
        path.relative_to(tmp_path / "phantom") for path in (tmp_path / "phantom").rglob("*") if path.is_file()
    )
    assert all((folder / file).read_bytes() == (tmp_path / "phantom" / file).read_bytes() for file in files)
    assert PHANTOM.fingerprint(folder) == FINGERPRINT


def test_second_call_does_nothing(folder):
    before = {path: path.stat().st_mtime_ns for path in [folder, *folder.rglob("*")]}
    assert PHANTOM.prepare(folder.parent) == folder
    assert before == {path: path.stat().st_mtime_ns for path in [folder, *folder.rglob("*")]}


def test_interrupted_generation_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(phantom, "render", interrupted)
    with pytest.raises(KeyboardInterrupt):
        PHANTOM.prepare(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def few(monkeypatch):
    """Two images instead of hundreds, for tests that change files."""
    monkeypatch.setattr(phantom, "COUNTS", {"train": 1, "val": 1, "test": 0})
    monkeypatch.setitem(phantom.PARAMETERS, "counts", phantom.COUNTS)


@pytest.mark.usefixtures("few")
def test_other_version_is_made_again_and_other_folders_are_left_alone(tmp_path):
    folder = PHANTOM.prepare(tmp_path)
    record = json.loads((folder / "phantom.json").read_text())
    (folder / "phantom.json").write_text(json.dumps(record | {"version": 0}))
    with pytest.raises(DatasetError, match=r"is not version 1; remove .* and run: segloss prepare phantom"):
        PHANTOM.verify(folder)
    PHANTOM.prepare(tmp_path)
    PHANTOM.verify(folder)
    (folder / "phantom.json").unlink()
    with pytest.raises(DatasetError, match=r"exists and is not a generated data set \(no phantom.json in it\)"):
        PHANTOM.prepare(tmp_path)
    assert (folder / "train.txt").is_file()


@pytest.mark.usefixtures("few")
def test_damage_is_found(tmp_path):
    folder = PHANTOM.prepare(tmp_path)
    label = folder / read_list(folder, "train")[0][1]
    content = label.read_bytes()
    label.write_bytes((folder / read_list(folder, "val")[0][1]).read_bytes())
    with pytest.raises(DatasetError, match="labels were changed"):
        PHANTOM.verify(folder)
    label.unlink()
    with pytest.raises(DatasetError, match=r"labels/train_0000.png is missing, though train lists it"):
        PHANTOM.verify(folder)
    label.write_bytes(content)
    PHANTOM.verify(folder)
