"""Training samples: a restartable sequence, rater stacks warped with their image, void mapped to 255."""

import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from mmcv.transforms import BaseTransform
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS as MMSEG_DATASETS
from mmseg.registry import TRANSFORMS
from mmseg.structures import SegDataSample
from PIL import Image

from segloss.datasets import DATASETS, DatasetError, add_described, training_config
from segloss.engine.cache import CachedPipeline, SharedCache, bytes_allowed
from segloss.engine.data import ListDataset, SampleSequence, complete

PIPELINE = [
    dict(type="LoadImage"),
    dict(type="LoadLabel"),
    dict(type="RandomCrop", crop_size=(32, 40)),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PhotoMetricDistortion"),
    dict(type="PackSegInputs"),
]


def dataset(folder: Path, pipeline: list[dict], split: str = "train"):
    init_default_scope("mmseg")
    return MMSEG_DATASETS.build(
        dict(type="ListDataset", source="phantom", folder=str(folder / "phantom"), split=split, pipeline=pipeline)
    )


def test_a_visit_is_the_same_whoever_draws_it_and_when(phantom: Path) -> None:
    images = dataset(phantom, PIPELINE)
    sequence = SampleSequence(images, seed=5, samples=400)
    drawn = [sequence[n] for n in (0, 1, 170, 399)]
    np.random.seed(0)
    again = [SampleSequence(images, seed=5, samples=400)[n] for n in (399, 170, 1, 0)][::-1]
    for sample, other in zip(drawn, again, strict=True):
        assert torch.equal(sample["inputs"], other["inputs"])
        assert torch.equal(sample["data_samples"].gt_sem_seg.data, other["data_samples"].gt_sem_seg.data)
    other_seed = SampleSequence(images, seed=6, samples=400)[0]
    assert not torch.equal(drawn[0]["inputs"], other_seed["inputs"])


def test_workers_change_nothing(phantom: Path) -> None:
    sequence = SampleSequence(dataset(phantom, PIPELINE), seed=5, samples=12)
    here = [sequence[n]["inputs"] for n in range(12)]
    loader = torch.utils.data.DataLoader(sequence, batch_size=None, num_workers=2, sampler=range(12))
    for inputs, other in zip(here, loader, strict=True):
        assert torch.equal(inputs, other["inputs"])


@pytest.mark.parametrize("limit", [0, 100_000, 2**28])
def test_images_decoded_once_give_the_samples_of_images_decoded_anew(phantom: Path, limit: int) -> None:
    pipeline = complete(PIPELINE, [dict(type="LoadRaters")])
    pipeline.insert(3, dict(type="Resize", scale=(48, 56)))
    cached, uncached = dataset(phantom, pipeline), dataset(phantom, pipeline)
    cached.cache, uncached.cache = CachedPipeline(cached.pipeline, len(cached), limit), None
    count = 3 * len(uncached)
    for n in range(count):
        sample, other = SampleSequence(cached, 5, count)[n], SampleSequence(uncached, 5, count)[n]
        assert torch.equal(sample["inputs"], other["inputs"])
        for field in ("gt_sem_seg", "gt_raters"):
            assert torch.equal(getattr(sample["data_samples"], field).data, getattr(other["data_samples"], field).data)
        assert sample["data_samples"].metainfo == other["data_samples"].metainfo
    assert len(cached.cache.decode) == 4
    assert cached.cache.kept.bytes <= limit
    size = (3 + 1 + 4) * 48 * 56  # image, label, four raters
    assert len(cached.cache.kept) == min(len(uncached), limit // (size + 2000))


def _put(cache: SharedCache, index: int) -> None:
    cache.put(index, np.full(1000, index, np.uint8))


def test_the_cache_is_shared_by_forked_workers_and_bounded() -> None:
    cache = SharedCache(8, 5_000)
    fork = multiprocessing.get_context("fork")
    workers = [fork.Process(target=_put, args=(cache, index)) for index in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 6
    kept = [index for index in range(8) if cache.get(index) is not None]
    assert len(kept) == len(cache) == 4
    assert cache.bytes <= 5_000
    for index in kept:
        assert (cache.get(index) == index).all()
        cache.get(index)[:] = 99  # a copy
        assert (cache.get(index) == index).all()


def test_the_cache_takes_no_more_than_a_quarter_of_the_available_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sysconf", {"SC_AVPHYS_PAGES": 1000, "SC_PAGE_SIZE": 4096}.get)
    assert bytes_allowed() == 1_024_000
    assert bytes_allowed(10) == 10


def test_a_transform_that_draws_is_not_remembered(phantom: Path) -> None:
    pipeline = [*PIPELINE[:2], dict(type="RandomResize", scale=(64, 64), ratio_range=(0.5, 2.0)), PIPELINE[-1]]
    images = dataset(phantom, pipeline)
    assert len(images.cache.decode) == 2
    sizes = {images[0]["inputs"].shape for _ in range(8)}
    assert len(sizes) > 1


def test_every_pass_shows_each_image_once_in_another_order(phantom: Path) -> None:
    count = 7
    images = [dict(number=number, data_samples=SegDataSample()) for number in range(count)]
    sequence = SampleSequence(images, seed=1, samples=3 * count)
    passes = [[sequence[n]["number"] for n in range(start, start + count)] for start in range(0, 3 * count, count)]
    assert all(sorted(numbers) == list(range(count)) for numbers in passes)
    assert passes[0] != passes[1]


def test_augmentation_differs_between_visits_of_one_image(phantom: Path) -> None:
    sequence = SampleSequence(dataset(phantom, PIPELINE), seed=5, samples=10**6)
    inputs = {}
    for n in range(400):
        sample = sequence[n]
        inputs.setdefault(sample["data_samples"].img_path, []).append(sample["inputs"])
    repeated = [several for several in inputs.values() if len(several) > 1]
    assert all(not torch.equal(several[0], several[1]) for several in repeated)


def test_raters_are_warped_together_with_their_image(phantom: Path) -> None:
    sequence = SampleSequence(dataset(phantom, complete(PIPELINE, [dict(type="LoadRaters")])), seed=5, samples=50)
    plain = SampleSequence(dataset(phantom, PIPELINE), seed=5, samples=50)
    agree = []
    for n in range(50):
        sample, without = sequence[n]["data_samples"], plain[n]
        # The pipeline of the other scenarios is unchanged: same image, same label.
        assert torch.equal(sequence[n]["inputs"], without["inputs"])
        assert torch.equal(sample.gt_sem_seg.data, without["data_samples"].gt_sem_seg.data)
        raters, label = sample.gt_raters.data, sample.gt_sem_seg.data
        assert raters.shape == (DATASETS["phantom"].raters, 32, 40)
        agree.append((raters == label).float().mean())
    assert torch.stack(agree).mean() > 0.9


@pytest.mark.parametrize("step", ["LoadAnnotations", "LoadImageFromFile"])
def test_a_step_that_reads_files_without_the_data_set_is_refused(phantom: Path, step: str) -> None:
    """Palette indices or other raw values would be trained on as if they were class ids."""
    pipeline = [dict(type=step) if place == 0 else transform for place, transform in enumerate(PIPELINE)]
    for build in (lambda: dataset(phantom, pipeline), lambda: complete(pipeline)):
        with pytest.raises(DatasetError, match=f"must read its files with LoadImage and LoadLabel.*got {step}"):
            build()


def test_classes_are_those_of_the_data_sets_own_reader(tmp_path: Path) -> None:
    """Annotations of CWFID are colours; as raw values green would be void and red no class at all."""
    folder = tmp_path / "cwfid"
    for name in ("images", "annotations"):
        (folder / name).mkdir(parents=True)
    (folder / "train_test_split.yaml").write_text("train: [1]\ntest: [2]\n")
    colours = np.array([[(0, 0, 0), (0, 255, 0), (255, 0, 0)]] * 2, np.uint8)
    Image.fromarray(colours).save(folder / "annotations/001_annotation.png")
    Image.fromarray(colours).save(folder / "images/001_image.png")
    init_default_scope("mmseg")
    data = ListDataset("cwfid", str(folder), "train", [PIPELINE[0], PIPELINE[1], PIPELINE[-1]])
    assert data[0]["data_samples"].gt_sem_seg.data[0].tolist() == [[0, 1, 2]] * 2
    Image.fromarray(colours[:, :2]).save(folder / "annotations/001_annotation.png")
    with pytest.raises(DatasetError, match=r"001_annotation.png must be 3 x 2 pixels as its image, got 2 x 2"):
        ListDataset("cwfid", str(folder), "train", [PIPELINE[0], PIPELINE[1], PIPELINE[-1]])[0]


@pytest.mark.parametrize("resize", ["", "resize: [32, 48]"])
def test_a_described_data_set_through_its_generic_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resize: str
) -> None:
    """Images of four channels with masks in colours, from the YAML file to samples for training and evaluation."""
    monkeypatch.setattr("segloss.datasets.DATASETS", dict(DATASETS))
    random = np.random.default_rng(0)
    for n in range(5):
        for name in ("i", "l"):
            (tmp_path / name).mkdir(exist_ok=True)
        Image.fromarray(random.integers(256, size=(40, 60, 4)).astype(np.uint8)).save(tmp_path / f"i/{n}.png")
        Image.fromarray(np.uint8([(0, 0, 0), (9, 9, 9)])[np.eye(40, 60, dtype=int)]).save(tmp_path / f"l/{n}.png")
    (tmp_path / "made.yaml").write_text(
        f"""
images: "i/*.png"
labels: "l/*.png"
classes: {{ground: [0, 0, 0], line: [9, 9, 9]}}
split: {{shares: {{train: 0.6, test: 0.4}}}}
channels: 4
crop_size: [32, 32]
{resize}
"""
    )
    add_described(tmp_path / "made.yaml")
    config = Config.fromstring(training_config(tmp_path / "made.yaml"), ".py")
    init_default_scope("mmseg")
    common = dict(source=config.source, folder=str(tmp_path))
    training = ListDataset(**common, split="train", pipeline=complete(config.train_pipeline))
    sample = SampleSequence(training, 0, 5)[0]
    assert sample["inputs"].shape == (4, 32, 32)
    assert set(sample["data_samples"].gt_sem_seg.data.unique().tolist()) <= {0, 1}
    tested = ListDataset(**common, split="test", pipeline=complete(config.test_pipeline), test_mode=True)[0]
    assert tested["inputs"].shape == ((4, 32, 48) if resize else (4, 40, 60))
    assert tested["data_samples"].gt_sem_seg.data.sum() == 40  # at its own size
    assert len(config.normalisation["mean"]) == 4


@TRANSFORMS.register_module(force=True)
class RowNumbers(BaseTransform):
    """A float32 map of the label's size; if ``warped``, it is transformed together with the label."""

    def __init__(self, warped: bool = False) -> None:
        self.warped = warped

    def transform(self, results: dict) -> dict:
        rows = np.arange(results["gt_seg_map"].shape[0], dtype=np.float32)[:, None]
        results["rows"] = rows.repeat(results["gt_seg_map"].shape[1], 1)
        results.setdefault("pixel_fields", []).append("rows")
        if self.warped:
            results["seg_fields"].append("rows")
        return results


def test_a_map_made_before_packing_stands_in_the_sample(phantom: Path) -> None:
    images = dataset(phantom, complete(PIPELINE, before_packing=[dict(type="RowNumbers")]))
    rows = SampleSequence(images, 5, 10)[3]["data_samples"].rows.data[0]
    assert torch.equal(rows, torch.arange(32.0)[:, None].expand(32, 40))


def test_a_map_made_beside_the_label_is_warped_with_it(phantom: Path) -> None:
    steps = complete(PIPELINE)
    steps.insert(2, dict(type="RowNumbers", warped=True))
    plain, images = dataset(phantom, complete(PIPELINE)), dataset(phantom, steps)
    first = set()
    for n in range(20):
        sample = SampleSequence(images, 5, 20)[n]
        assert torch.equal(sample["inputs"], SampleSequence(plain, 5, 20)[n]["inputs"])
        rows = sample["data_samples"].rows.data[0, :, 0]
        assert torch.equal(rows - rows[0], torch.arange(32.0))
        first.add(rows[0].item())
    assert len(first) > 5


def test_a_missing_rater_is_void(phantom: Path, tmp_path: Path) -> None:
    folder = tmp_path / "phantom"
    folder.mkdir()
    for entry in (phantom / "phantom").iterdir():
        (folder / entry.name).symlink_to(entry)
    (folder / "train.txt").unlink()
    first = (phantom / "phantom/train.txt").read_text().split("\n")[0].split()
    (folder / "train.txt").write_text(" ".join([*first[:3], "-", *first[4:]]) + "\n")
    raters = dataset(tmp_path, complete(PIPELINE, [dict(type="LoadRaters")]))[0]["data_samples"].gt_raters.data
    assert (raters[1] == 255).all()
    assert (raters[0] != 255).any()


def test_void_of_a_data_set_becomes_mmsegmentations(tmp_path: Path) -> None:
    folder = tmp_path / "camvid"
    folder.mkdir()
    Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(folder / "a.png")
    Image.fromarray(np.array([[0, 11, 10, 11, 3, 4]] * 4, np.uint8)).save(folder / "b.png")
    for split in DATASETS["camvid"].splits:
        (folder / f"{split}.txt").write_text("a.png b.png\n")
    init_default_scope("mmseg")
    pipeline = [PIPELINE[0], PIPELINE[1], PIPELINE[-1]]
    data = MMSEG_DATASETS.build(
        dict(type="ListDataset", source="camvid", folder=str(folder), split="train", pipeline=pipeline)
    )
    assert data[0]["data_samples"].gt_sem_seg.data[0, 0].tolist() == [0, 255, 10, 255, 3, 4]


@pytest.mark.parametrize("name", ["phantom", "camvid"])
def test_mmengine_gets_a_data_sets_classes(name: str) -> None:
    assert len(DATASETS[name].classes) == len(DATASETS[name].palette)
