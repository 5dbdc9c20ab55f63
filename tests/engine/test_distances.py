"""Signed distance maps against values by hand, all pairs of pixels, and the losses' own; in samples and trainings."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.hooks import Hook
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.models import SegDataPreProcessor
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

import segloss.losses._boundary
from segloss import losses
from segloss.engine.cell import build_runner
from segloss.engine.data import SampleSequence, complete
from segloss.engine.distances import distance_transforms, signed_distance_maps, stacked_distance_maps
from segloss.engine.distillation import Teacher
from segloss.engine.machine import Machine
from segloss.grid import Configs
from segloss.losses._distance import signed_distances
from tests.conftest import experiment_of
from tests.engine.conftest import config_of
from tests.engine.test_data import PIPELINE, dataset

VOID = 255


def labels_with_void(shape: tuple[int, ...] = (9, 13), classes: int = 4) -> np.ndarray:
    random = np.random.default_rng(0)
    labels = random.integers(0, classes, size=shape, dtype=np.uint8)
    labels[random.random(shape) < 0.2] = VOID
    return labels


def test_distances_by_hand() -> None:
    labels = np.array([[0, 1, 1, 1, 1, 2, 0]])
    background, bar, dot = signed_distance_maps(labels, 3)
    np.testing.assert_array_equal(bar, [[1, 0, -1, -1, 0, 1, 2]])
    np.testing.assert_array_equal(dot, [[5, 4, 3, 2, 1, 0, 1]])
    np.testing.assert_array_equal(background, [[0, 1, 2, 3, 2, 1, 0]])


def test_distances_are_those_of_all_pairs_of_pixels() -> None:
    labels = labels_with_void()
    at = np.stack(np.indices(labels.shape), -1).reshape(-1, 2)
    pairs = np.sqrt(((at[:, None] - at[None]) ** 2).sum(-1))
    for index, signed in enumerate(signed_distance_maps(labels, 4)):
        inside = (labels == index).ravel()
        nearest = np.where(inside[:, None] != inside[None], pairs, np.inf).min(1)
        expected = np.where(inside, 1 - nearest, nearest).reshape(labels.shape)
        np.testing.assert_allclose(signed, expected, rtol=1e-6)


def test_distances_are_the_same_to_the_bit_wherever_the_label_lies_in_memory() -> None:
    labels = np.random.default_rng(0).integers(0, 4, (4, 4), np.uint8).repeat(8, 0).repeat(8, 1)
    memory = np.empty(labels.size + 64, np.uint8)
    maps = set()
    for start in range(64):
        moved = memory[start : start + labels.size].reshape(labels.shape)
        moved[:] = labels
        maps.add(signed_distance_maps(moved, 4).tobytes())
    assert len(maps) == 1


@pytest.mark.parametrize("labels", [np.zeros((4, 5), np.uint8), np.full((4, 5), VOID, np.uint8)])
def test_a_class_without_boundary_has_no_distances(labels: np.ndarray) -> None:
    assert not signed_distance_maps(labels, 3).any()


@pytest.mark.parametrize("objects", ["of a pixel", "far apart"])
def test_losses_compute_the_same_distances(objects: str) -> None:
    labels = labels_with_void((31, 45))
    if objects == "far apart":  # more pixels than are computed together; in most rows no class but 0
        labels = np.zeros((500, 600), np.uint8)
        labels[10:90, 20:60], labels[488, 599] = 1, 2
    masks = torch.from_numpy(np.stack([labels == index for index in range(4)]))
    torch.testing.assert_close(signed_distances(masks), torch.from_numpy(signed_distance_maps(labels, 4)))


@pytest.mark.parametrize("name", ["boundary", "hausdorff"])
def test_a_loss_gives_the_same_with_maps_as_without(name: str) -> None:
    torch.manual_seed(0)
    labels = np.stack([labels_with_void(), np.where(labels_with_void() == 2, VOID, 1).astype(np.uint8)])
    maps = torch.from_numpy(np.stack([signed_distance_maps(image, 4) for image in labels])).double()
    target = torch.from_numpy(labels).long()
    logits = torch.randn(2, 4, 9, 13, dtype=torch.float64, requires_grad=True)
    results = []
    for given in (None, maps):
        terms = [{"loss": "dice"}, {"loss": name, "weight": 0.3}]
        value = losses.compound(logits, target, valid=target != VOID, terms=terms, distance_maps=given)
        results.append((value.detach(), *torch.autograd.grad(value, logits)))
    torch.testing.assert_close(*results)
    single = losses.get(name)(logits, target, valid=target != VOID, distance_maps=maps)
    torch.testing.assert_close(single, losses.get(name)(logits, target, valid=target != VOID))
    assert losses.get(name)(logits, target, valid=target != VOID, distance_maps=2 * maps) != single
    with pytest.raises(
        ValueError, match=r"Expected float distance_maps of shape \(2, 4, 9, 13\), got torch.float64 of"
    ):
        losses.get(name)(logits, target, valid=target != VOID, distance_maps=maps[:, 1:])


def expected_maps(label: torch.Tensor) -> torch.Tensor:
    """The maps of a label (H, W) of phantom without its background, as the losses compute them."""
    maps = signed_distances(torch.stack([label == index for index in range(5)]))
    maps[0] = 0
    return maps


def test_the_maps_are_those_of_the_label_as_trained_on(phantom: Path) -> None:
    """After crop and flip, padded as the batch is; the image and its label are those without maps."""
    make = dict(type="MakeDistanceMaps", num_classes=5, size=(36, 32))
    plain, images = dataset(phantom, complete(PIPELINE)), dataset(phantom, complete(PIPELINE, before_packing=[make]))
    preprocessor = SegDataPreProcessor(size=(36, 32), seg_pad_val=VOID)
    flipped = set()
    for n in range(8):
        sample, other = SampleSequence(images, 5, 8)[n], SampleSequence(plain, 5, 8)[n]
        assert torch.equal(sample["inputs"], other["inputs"])
        assert torch.equal(sample["data_samples"].gt_sem_seg.data, other["data_samples"].gt_sem_seg.data)
        assert "gt_distances" not in other["data_samples"]
        flipped.add(sample["data_samples"].flip)
        batch = preprocessor(pseudo_collate([sample]), training=True)["data_samples"]
        label = batch[0].gt_sem_seg.data[0]
        assert label.shape == (36, 40)  # four rows of padding
        torch.testing.assert_close(stacked_distance_maps(batch), expected_maps(label)[None])
    assert flipped == {True, False}


def made(cell: str) -> list[dict]:
    """The transforms of a cell's training that make distance maps."""
    return [step for step in config_of(cell).train_dataset.pipeline if step["type"] == "MakeDistanceMaps"]


def test_only_losses_on_distances_to_the_labels_boundaries_get_maps(in_workplace: Path) -> None:
    cell = "phantom/unet-tiny/tiny/{}/{}/seed0"
    lines = Configs().losses
    carrying = {name for name in lines if distance_transforms(experiment_of(cell.format("hard", name)), (32, 32))}
    assert carrying == {"boundary", "hausdorff"}
    assert made(cell.format("hard", "ce-jml")) == []
    assert config_of(cell.format("hard", "ce-jml")).model.type == "EncoderDecoder"
    for labels, number in {"mt-8th": 1, "kd-unet-small": 1, "bls": 0, "raters": 0, "majority": 0}.items():
        experiment = experiment_of(cell.format(labels, "hausdorff"))
        assert len(distance_transforms(experiment, (32, 32))) == number, labels
    # A head that samples points of the label cannot use maps of the whole label.
    point_head = "pointrend_r50_4xb2-80k_cityscapes-512x1024"
    assert made(f"phantom/{point_head}/tiny/hard/boundary/seed0") == []
    (step,) = made(cell.format("hard", "boundary"))
    assert step == dict(type="MakeDistanceMaps", num_classes=5, size=(32, 32), include_background=False)


class LossesHook(Hook):
    """Keeps the losses of all iterations."""

    def __init__(self) -> None:
        self.losses = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.losses.append(outputs["loss"].detach())


def trained(config: Config, cell: str, folder: Path) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The losses and the weights of a real training."""
    init_default_scope("mmseg")
    # AdamW would turn a rounding error of a gradient near 0 into a step of the learning rate's size.
    config.optim_wrapper.optimizer = dict(type="SGD", lr=0.01)
    hook = LossesHook()
    machine = Machine(device="cpu", threads=1, workers=0, checkpoint_seconds=60)
    runner = build_runner(config, folder, machine, 0, [hook], experiment_of(cell))
    runner.train()
    return torch.stack(hook.losses), runner.model.state_dict()


@pytest.mark.parametrize("loss", ["boundary", "hausdorff"])
def test_a_training_with_maps_of_the_loader_is_that_with_distances_computed_on_the_device(
    in_workplace: Path, monkeypatch: pytest.MonkeyPatch, loss: str
) -> None:
    cell = f"phantom/unet-tiny/tiny@6/hard/{loss}/seed0"
    with_maps, without = config_of(cell), config_of(cell)
    without.model.type = "EncoderDecoder"
    del without.model["scenario"]
    without.train_dataset.pipeline = [
        step for step in without.train_dataset.pipeline if step["type"] != "MakeDistanceMaps"
    ]
    expected = trained(without, cell, in_workplace / "without")
    calls = []
    function = {"boundary": "signed_distances", "hausdorff": "_squares"}[loss]
    original = getattr(segloss.losses._boundary, function)
    monkeypatch.setattr(
        f"segloss.losses._boundary.{function}", lambda *arguments: calls.append(function) or original(*arguments)
    )
    losses, weights = trained(with_maps, cell, in_workplace / "with")
    assert bool(calls) == (loss == "hausdorff")  # boundary computes no distances, hausdorff those of its prediction
    torch.testing.assert_close(losses, expected[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(weights, expected[1], rtol=1e-4, atol=1e-4)
    assert len(losses.unique()) == 6


@pytest.mark.parametrize("labels", ["hard", "teacher"])
def test_auxiliary_heads_and_students_take_the_maps_too(in_workplace: Path, labels: str) -> None:
    config = config_of("phantom/deeplabv3plus-r18/tiny/hard/hausdorff/seed0").model
    config.auxiliary_head.loss_decode = dict(type="HausdorffDistanceLoss")
    config.scenario = dict(target=labels)
    torch.manual_seed(0)
    segmentor = MODELS.build(config).eval()
    if labels == "teacher":
        segmentor.teacher = Teacher(copy.deepcopy(segmentor))
    label = torch.randint(0, 5, (2, 1, 4, 4)).repeat_interleave(16, -1).repeat_interleave(16, -2)
    inputs, values = torch.rand(2, 3, 64, 64), {}
    for factor in (None, 1, 2):
        samples = [SegDataSample(gt_sem_seg=PixelData(data=image)) for image in label]
        for sample in samples if factor else ():
            sample.gt_distances = PixelData(data=factor * expected_maps(sample.gt_sem_seg.data[0]))
        values[factor] = segmentor.loss(inputs, samples)
    torch.testing.assert_close(values[1], values[None])
    for name in ("decode.loss_compound", "aux.loss_hausdorff"):
        assert values[2][name] > values[1][name] + 1e-3
