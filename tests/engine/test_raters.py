"""Several raters' maps from their files to the target of a training step, against slow references."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS as MMSEG_DATASETS
from mmseg.registry import MODELS

from segloss.engine import data
from segloss.engine.data import ListDataset, SampleSequence, complete, missing_raters
from segloss.grid import Configs
from segloss.labels import CATALOGUE
from tests.conftest import DATA
from tests.engine.conftest import config_of

VOID = 255
CLASSES = 5
SCENARIOS = {
    "raters": "rater_mean",
    "dice-raters": "dice_weighted_raters",
    "majority": "majority",
    "random-rater": "random_rater",
    "staple": "staple",
}
STEPS = [dict(type="LoadImage"), dict(type="LoadLabel"), dict(type="PackSegInputs")]


@pytest.fixture
def gaps(phantom: Path, tmp_path: Path) -> Path:
    """Phantom with missing raters: the second of every second image, the first and third of every third."""
    folder = tmp_path / "gaps"
    folder.mkdir()
    for entry in (phantom / "phantom").iterdir():
        (folder / entry.name).symlink_to(entry)
    (folder / "train.txt").unlink()
    lines = []
    for number, line in enumerate((phantom / "phantom/train.txt").read_text().splitlines()):
        words = line.split()
        left_out = ({1} if number % 2 else set()) | ({0, 2} if number % 3 == 1 else set())
        lines.append(" ".join("-" if place - 2 in left_out else word for place, word in enumerate(words)))
    (folder / "train.txt").write_text("\n".join(lines) + "\n")
    return folder


def pipeline(*augmentation: dict) -> list[dict]:
    raters = [dict(type="LoadRaters"), dict(type="LoadRaterWeights", num_classes=CLASSES)]
    return complete([*STEPS[:2], *augmentation, STEPS[2]], raters)


def dataset(folder: Path, steps: list[dict], source: str = "phantom", split: str = "train") -> ListDataset:
    init_default_scope("mmseg")
    return MMSEG_DATASETS.build(
        dict(type="ListDataset", source=source, folder=str(folder), split=split, pipeline=steps)
    )


def target_of(labels: str, folder: Path, batch: dict) -> tuple[torch.Tensor, torch.Tensor, list]:
    """Target and valid pixels that a cell with these labels trains on, and the batch's preprocessed samples."""
    init_default_scope("mmseg")
    segmentor = MODELS.build(config_of(f"phantom/unet-tiny/tiny/{labels}/ce/seed0", folder).model)
    seen = segmentor.data_preprocessor(batch, training=True)
    ((term,),) = segmentor.targets(seen["inputs"], seen["data_samples"])
    return term.target, term.valid, seen["data_samples"]


def votes_slowly(raters: np.ndarray, weights: np.ndarray) -> np.ndarray:
    votes = np.zeros((CLASSES, *raters.shape[1:]))
    for rater, weight in zip(raters, weights, strict=True):
        for row, column in np.argwhere(rater != VOID):
            votes[rater[row, column], row, column] += weight
    return votes


def mean_slowly(raters: np.ndarray, draw: float) -> np.ndarray:
    votes = votes_slowly(raters, np.ones(len(raters)))
    return votes / votes.sum(0)


def majority_slowly(raters: np.ndarray, draw: float) -> np.ndarray:
    votes = votes_slowly(raters, np.ones(len(raters)))
    return np.eye(CLASSES)[votes.argmax(0)].transpose(2, 0, 1)


def weights_slowly(raters: np.ndarray) -> list[float]:
    """The Dice of each rater's map with the majority, 1 without any overlap."""
    most = majority_slowly(raters, 0.0).argmax(0)
    weights = []
    for rater in raters:
        seen, scores = rater != VOID, []
        for number in range(1, CLASSES):
            mask, other = (rater == number) & seen, (most == number) & seen
            if mask.any() or other.any():
                scores.append(2 * (mask & other).sum() / (mask.sum() + other.sum()))
        weights.append(np.mean(scores) if any(scores) else 1.0)
    return weights


def weighted_slowly(raters: np.ndarray, draw: float, weights: list[float]) -> np.ndarray:
    votes = votes_slowly(raters, np.array(weights))
    return votes / votes.sum(0)


def random_slowly(raters: np.ndarray, draw: float) -> np.ndarray:
    present = [rater for rater in raters if (rater != VOID).any()]
    chosen = present[int(draw * len(present))]
    return np.eye(CLASSES + 1)[np.where(chosen == VOID, CLASSES, chosen)].transpose(2, 0, 1)[:CLASSES]


def staple_slowly(raters: np.ndarray, draw: float) -> np.ndarray:
    """Expectation maximisation over every single pixel, with probabilities instead of logarithms."""
    votes = votes_slowly(raters, np.ones(len(raters)))
    prior = np.maximum(votes.sum((1, 2)) / votes.sum(), 1e-12)
    theta = np.full((len(raters), CLASSES, CLASSES), 0.01 / (CLASSES - 1))  # rater, true class, chosen class
    theta[:, range(CLASSES), range(CLASSES)] = 0.99
    for step in range(50):
        truth = np.repeat(prior[:, None, None], raters.shape[1], 1).repeat(raters.shape[2], 2)
        for rater, confusion in zip(raters, theta, strict=True):
            seen = rater != VOID
            truth[:, seen] *= np.maximum(confusion, 1e-12)[:, rater[seen]]
        truth /= truth.sum(0)
        if step < 49:
            for number, rater in enumerate(raters):
                for chosen in range(CLASSES):
                    theta[number, :, chosen] = truth[:, rater == chosen].sum(1)
                theta[number] /= np.maximum(theta[number].sum(1, keepdims=True), 1e-12)
    return truth


SLOWLY: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "raters": mean_slowly,
    "dice-raters": weighted_slowly,
    "majority": majority_slowly,
    "random-rater": random_slowly,
    "staple": staple_slowly,
}


def test_every_scenario_with_raters_stands_in_labels_yaml(in_workplace: Path) -> None:
    lines = Configs().labels
    assert {lines[name]["target"] for name in SCENARIOS} == set(SCENARIOS.values())
    assert set(SCENARIOS.values()) == {name for name, function in CATALOGUE.items() if function.source == "raters"}


def test_raters_are_weighted_on_the_whole_image(in_workplace: Path, gaps: Path) -> None:
    whole, crops = (dataset(gaps, pipeline(*steps)) for steps in ((), (dict(type="RandomCrop", crop_size=(8, 8)),)))
    for number in range(12):
        sample, crop = whole[number]["data_samples"], crops[number]["data_samples"]
        expected = weights_slowly(sample.gt_raters.data.numpy().astype(int))
        np.testing.assert_allclose(sample.metainfo["rater_weights"], expected, rtol=1e-6)
        assert crop.metainfo["rater_weights"] == sample.metainfo["rater_weights"]


@pytest.mark.parametrize("labels", SCENARIOS)
def test_the_target_of_a_batch_is_that_of_a_slow_reference(in_workplace: Path, gaps: Path, labels: str) -> None:
    """Missing raters, void, and crops larger than the image, which MMSegmentation pads to 32x32."""
    steps = pipeline(
        dict(type="RandomResize", scale=(30, 30), ratio_range=(0.8, 1.3), keep_ratio=True),
        dict(type="RandomCrop", crop_size=(32, 32)),
        dict(type="RandomFlip", prob=0.5),
    )
    sequence = SampleSequence(dataset(gaps, steps), seed=4, samples=16)
    batch = pseudo_collate([sequence[n] for n in range(16)])
    drawn = [sample.gt_raters.data.numpy().copy() for sample in batch["data_samples"]]
    draws = [sample.metainfo["draw"] for sample in batch["data_samples"]]
    assert {int((maps != VOID).any((1, 2)).sum()) for maps in drawn} == {1, 2, 3, 4}
    assert any(maps.shape != (4, 32, 32) for maps in drawn)
    target, valid, samples = target_of(labels, gaps, batch)
    if target.dtype == torch.int64:
        target = torch.nn.functional.one_hot(target, CLASSES).movedim(-1, 1).float()
    assert target.shape == (16, CLASSES, 32, 32)
    torch.testing.assert_close(target.sum(1)[valid], torch.ones(int(valid.sum())), rtol=0, atol=1e-6)
    for number, (raters, draw) in enumerate(zip(drawn, draws, strict=True)):
        height, width = raters.shape[1:]
        labelled = (raters != VOID).any(0)
        assert not valid[number, height:].any()
        assert not valid[number, :, width:].any()
        assert np.array_equal(valid[number, :height, :width], labelled)
        assert torch.equal(samples[number].gt_sem_seg.data[0] != VOID, valid[number])
        with np.errstate(invalid="ignore"):
            if labels == "dice-raters":  # weights of the whole image, which cannot be computed from the crop
                expected = weighted_slowly(raters.astype(int), draw, samples[number].metainfo["rater_weights"])
            else:
                expected = SLOWLY[labels](raters.astype(int), draw)
        actual = target[number, :, :height, :width].double().numpy()
        np.testing.assert_allclose(actual[:, labelled], expected[:, labelled], rtol=0, atol=2e-6)


@pytest.mark.parametrize("labels", SCENARIOS)
def test_the_target_turns_with_the_image(in_workplace: Path, phantom: Path, labels: str) -> None:
    def batch(probability: float) -> dict:
        steps = pipeline(dict(type="RandomCrop", crop_size=(32, 32)), dict(type="RandomFlip", prob=probability))
        sequence = SampleSequence(dataset(phantom / "phantom", steps), seed=3, samples=6)
        return pseudo_collate([sequence[n] for n in range(6)])

    plain, flipped = batch(0.0), batch(1.0)
    pairs = zip(plain["inputs"], flipped["inputs"], strict=True)
    assert all(torch.equal(image.flip(-1), mirrored) for image, mirrored in pairs)
    (target, valid, _), (other, other_valid, _) = (
        target_of(labels, phantom / "phantom", collated) for collated in (plain, flipped)
    )
    assert torch.equal(valid.flip(-1), other_valid)
    there = valid.unsqueeze(1).expand_as(target) if target.ndim == 4 else valid
    torch.testing.assert_close(target.flip(-1)[there.flip(-1)], other[there.flip(-1)], rtol=0, atol=1e-6)


@pytest.mark.parametrize("labels", ["raters", "majority", "random-rater"])
def test_the_target_of_a_crop_is_the_crop_of_the_target(in_workplace: Path, phantom: Path, labels: str) -> None:
    """Not so for Dice weights and STAPLE: they weight the raters by the labels in the crop, as documented there."""

    def sample(*augmentation: dict) -> dict:
        sequence = SampleSequence(dataset(phantom / "phantom", pipeline(*augmentation)), seed=3, samples=6)
        return pseudo_collate([sequence[n] for n in range(6)])

    cropped, whole = sample(dict(type="RandomCrop", crop_size=(32, 32))), sample()
    target, valid, _ = target_of(labels, phantom / "phantom", cropped)
    everything, everywhere, _ = target_of(labels, phantom / "phantom", whole)
    for number in range(6):
        image, crop = whole["inputs"][number], cropped["inputs"][number]
        places = [
            (top, left)
            for top in range(33)
            for left in range(33)
            if torch.equal(image[:, top : top + 32, left : left + 32], crop)
        ]
        ((top, left),) = places
        window = (..., slice(top, top + 32), slice(left, left + 32))
        assert torch.equal(everywhere[number][window], valid[number])
        kept = valid[number].expand_as(target[number])
        assert torch.equal(everything[number][window][kept], target[number][kept])


def test_a_rotation_leaves_void_where_there_is_no_image(phantom: Path) -> None:
    sequence = SampleSequence(
        dataset(phantom / "phantom", pipeline(dict(type="RandomRotate", prob=1.0, degree=45.0))), 0, 8
    )
    for n in range(8):
        sample = sequence[n]["data_samples"]
        label, raters = sample.gt_sem_seg.data[0], sample.gt_raters.data
        assert raters.shape == (4, 64, 64)
        assert (label[0, 0] == VOID) == (raters[:, 0, 0] == VOID).all()
        assert torch.equal((raters == VOID).all(0), label == VOID)
        assert (label == VOID).any()


def test_raters_are_read_once_for_all_visits(phantom: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads, read = [], data.read_classes
    monkeypatch.setattr(data, "read_classes", lambda path, *more: reads.append(path) or read(path, *more))
    images = dataset(phantom / "phantom", pipeline(dict(type="RandomCrop", crop_size=(32, 32))))
    sequence = SampleSequence(images, seed=0, samples=3 * len(images))
    sequence[0]
    assert len(reads) == len(set(reads)) == 1 + 4  # the label and four raters
    for n in range(1, 3 * len(images)):
        sequence[n]
    assert len(reads) == len(set(reads)) == 5 * len(images)
    images.cache = None
    reads.clear()
    for n in range(10):
        sequence[n]
    assert len(reads) == 10 * 5


def test_whose_map_is_drawn_is_uniform_and_the_same_for_any_worker(gaps: Path) -> None:
    sequence = SampleSequence(dataset(gaps, pipeline()), seed=9, samples=1600)
    loader = torch.utils.data.DataLoader(sequence, batch_size=None, num_workers=2, sampler=range(5, 25))
    there = [sample["data_samples"].metainfo["draw"] for sample in loader]
    assert there == [sequence[n]["data_samples"].metainfo["draw"] for n in range(5, 25)]
    draws = np.array([sequence[n]["data_samples"].metainfo["draw"] for n in range(0, 1600, 2)])
    assert len(set(draws)) == 800
    shares = np.bincount((4 * draws).astype(int), minlength=4) / 800
    assert np.abs(shares - 0.25).max() < 4 * np.sqrt(0.25 * 0.75 / 800)


def test_missing_raters_are_counted(gaps: Path) -> None:
    images = dataset(gaps, pipeline())
    assert missing_raters(images) == {"0": 54, "1": 53, "2": 26, "3": 27}
    for sample in (images[n]["data_samples"] for n in range(6)):
        lines = (gaps / "train.txt").read_text().splitlines()
        words = next(line for line in lines if line.split()[0] == f"images/{sample.name}.png").split()[2:]
        assert [(rater == VOID).all().item() for rater in sample.gt_raters.data] == [word == "-" for word in words]


@pytest.mark.slow
def test_duplicates_and_wrong_cells_of_bubil_are_void_for_training_and_evaluation() -> None:
    if not (DATA / "bubil").is_dir():
        pytest.skip(f"bubil is not below {DATA}; set SEGLOSS_DATA")
    steps = pipeline(dict(type="Resize", scale=(16, 16)))
    missing = {}
    for split, expected in (("train", {"0": 36, "1": 23}), ("val", {"0": 10, "1": 7}), ("test", {"0": 33, "1": 7})):
        images = dataset(DATA / "bubil", steps, "bubil", split)
        assert missing_raters(images) == expected
        for n in range(len(images)):
            sample = images[n]["data_samples"]
            missing[sample.name] = [r for r in range(10) if (sample.gt_raters.data[r] == VOID).all()]
    assert all(raters == [2] for name, raters in missing.items() if name.startswith("D1_"))
    others = {name: raters for name, raters in missing.items() if raters and not name.startswith("D1_")}
    assert others == {"D2_P10": [2], "D2_P20": [4]}
