"""The total of the JDT papers' code against a computation by hand in float64, with the gradient of every logit.

.25 [.5 CE(main) + .5 CE(auxiliary)] + .75 JML(main); .25 CE + .75 JML without an auxiliary head. With a teacher every
term is half against the labels and half against the teacher, and the auxiliary head learns from the teacher's.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from segloss.engine.distillation import Teacher, head_logits
from tests.engine.conftest import config_of

CLASSES, SIZE, VOID = 5, (16, 16), 255
SMALL_UNET = """
_base_ = ["mmseg::_base_/models/fcn_unet_s5-d16.py"]
model = dict(
    backbone=dict(base_channels=4),
    decode_head=dict(in_channels=4, channels=4, dropout_ratio=0.0),
    auxiliary_head=dict(in_channels=8, channels=4, dropout_ratio=0.0),
)
"""
KD = "\nkd: {title: KD, target: teacher, teacher: {labels: hard, loss: ce, seeds: 1}}\n"


@pytest.fixture
def place(in_workplace: Path) -> Path:
    """A workplace with a small U-Net that has an auxiliary head, and one without."""
    init_default_scope("mmseg")
    models = in_workplace / "configs/mmseg/models"
    (models / "both.py").write_text(SMALL_UNET)
    (models / "main.py").write_text('_base_ = ["./both.py"]\nmodel = dict(auxiliary_head=None)\n')
    with open(in_workplace / "configs/labels.yaml", "a") as file:
        file.write(KD)
    return in_workplace


def softmax(logits: np.ndarray) -> np.ndarray:
    """Over the classes of (N, C) logits."""
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def rows(maps: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """The valid pixels (N, C) of maps (B, C, H, W)."""
    return np.moveaxis(maps, 1, -1)[valid]


def cross_entropy(logits: np.ndarray, target: np.ndarray) -> tuple[float, np.ndarray]:
    """Value and gradient with respect to the logits, of pixels (N, C)."""
    p = softmax(logits)
    return -(target * np.log(p)).sum(1).mean(), (p * target.sum(1, keepdims=True) - target) / len(p)


def jaccard_metric(
    logits: np.ndarray, target: np.ndarray, classes: np.ndarray, smooth: float = 1.0
) -> tuple[float, np.ndarray]:
    """Mean over classes of 1 - (S - D + 2s) / (S + D + 2s), with S = sum(p + y) and D = sum|p - y| over the batch."""
    p = softmax(logits)
    total, difference = (p + target).sum(0), np.abs(p - target).sum(0)
    above, below = total - difference + 2 * smooth, total + difference + 2 * smooth
    value = (1 - above / below)[classes].mean()
    sign = np.sign(p - target)
    by_p = -((1 - sign) * below - above * (1 + sign)) / below**2 * classes / classes.sum()
    return value, p * (by_p - (by_p * p).sum(1, keepdims=True))


def expected(
    heads: list[np.ndarray], targets: list[list[tuple[float, np.ndarray, bool]]], valid: np.ndarray
) -> tuple[float, list[np.ndarray]]:
    """Total and gradients.

    Args:
        heads: The logits (B, C, H, W) of the decode head and of the auxiliary head, if there is one.
        targets: For each head weight, probabilities (B, C, H, W), and whether they are class maps.
        valid: (B, H, W).
    """
    total, gradients = 0.0, []
    share = 0.25 / len(heads)
    for number, (logits, terms) in enumerate(zip(heads, targets, strict=True)):
        z, gradient = rows(logits, valid), 0.0
        for weight, target, hard in terms:
            y = rows(target, valid).astype(np.float32).astype(float)  # label scenarios give float32
            value, by_logits = cross_entropy(z, y)
            total, gradient = total + weight * share * value, gradient + weight * share * by_logits
            if number == 0:
                classes = y.max(0) > 0 if hard else np.ones(CLASSES, bool)
                value, by_logits = jaccard_metric(z, y, classes)
                total, gradient = total + weight * 0.75 * value, gradient + weight * 0.75 * by_logits
        whole = np.zeros(np.moveaxis(logits, 1, -1).shape)
        whole[valid] = gradient
        gradients.append(np.moveaxis(whole, -1, 1))
    return total, gradients


def batch(raters: int = 4) -> list[SegDataSample]:
    """Two images' labels with void pixels and without class 4, and their raters."""
    random = np.random.default_rng(0)
    samples = []
    for _ in range(2):
        stack = random.integers(4, size=(raters, *SIZE))
        stack[:, random.random(SIZE) < 0.1] = VOID
        stack = torch.from_numpy(stack)
        samples.append(SegDataSample(gt_sem_seg=PixelData(data=stack[:1]), gt_raters=PixelData(data=stack)))
    return samples


def one_hot(labels: np.ndarray) -> np.ndarray:
    """(B, C, H, W) of class indices (B, H, W); zeros where void."""
    return np.moveaxis(labels[..., None] == np.arange(CLASSES), -1, 1).astype(float)


class Given(nn.Module):
    """Replaces the forward pass of a head: the logits are parameters, so that they have gradients."""

    def __init__(self, logits: np.ndarray) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.from_numpy(logits))

    def forward(self, _: Any) -> Tensor:
        return self.logits


def segmentor_of(name: str, labels: str, logits: list[np.ndarray]) -> tuple[nn.Module, list[nn.Parameter]]:
    """The cell's segmentor in float64 whose heads give these logits."""
    config = config_of(f"phantom/{name}/tiny/{labels}/paper-ce-jml-d/seed0").model
    model = revert_sync_batchnorm(MODELS.build(config)).double()
    heads = [model.decode_head, *([model.auxiliary_head] if name == "both" else [])]
    given = [Given(values) for values in logits[: len(heads)]]
    for head, values in zip(heads, given, strict=True):
        head.forward = values.forward
    return model, [values.logits for values in given]


@pytest.mark.parametrize("name", ["both", "main"])
@pytest.mark.parametrize("labels", ["hard", "ls", "raters", "kd"])
def test_total_and_gradient(place: Path, name: str, labels: str) -> None:
    logits = list(np.random.default_rng(1).normal(size=(2, 2, CLASSES, *SIZE)) * 2)
    model, parameters = segmentor_of(name, labels, logits)
    heads = len(parameters)
    samples = batch()
    stack = np.stack([sample.gt_raters.data.numpy() for sample in samples])
    hard, valid = one_hot(stack[:, 0]), stack[:, 0] != VOID
    targets = [[(1.0, hard, True)]] * heads
    if labels == "ls":
        targets = [[(1.0, 0.9 * hard + 0.1 / CLASSES, False)]] * heads
    if labels == "raters":
        targets = [[(1.0, one_hot(stack.reshape(-1, *SIZE)).reshape(2, 4, CLASSES, *SIZE).mean(1), False)]] * heads
    if labels == "kd":
        teacher_logits = np.random.default_rng(2).normal(size=(2, 2, CLASSES, *SIZE)) * 2
        probabilities = [
            np.moveaxis(softmax(np.moveaxis(z, 1, -1).reshape(-1, CLASSES)).reshape(2, *SIZE, CLASSES), -1, 1)
            for z in teacher_logits
        ]
        model.teacher = Teacher(nn.Identity())
        model.teacher.logits = lambda _: [torch.from_numpy(z) for z in teacher_logits[:heads]]
        targets = [[(0.5, hard, True), (0.5, soft, False)] for soft in probabilities[:heads]]
    total, gradients = expected(logits[:heads], targets, valid)
    losses = model.loss(torch.zeros(2, 3, *SIZE, dtype=torch.float64), samples)
    value = sum(value for key, value in losses.items() if "loss" in key)
    value.backward()
    tolerance = 1e-10 if labels in ("hard", "raters") else 1e-7  # probabilities are computed in float32
    assert value.item() == pytest.approx(total, rel=tolerance)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        np.testing.assert_allclose(parameter.grad.numpy(), gradient, rtol=100 * tolerance, atol=tolerance / 100)
    assert len(losses) == 2 * heads  # a loss and an accuracy of each head


def test_the_reference_has_the_gradient_of_its_value() -> None:
    """Central differences of the computation by hand."""
    random = np.random.default_rng(3)
    z, y = random.normal(size=(7, CLASSES)), random.dirichlet(np.ones(CLASSES), size=7)
    everything = np.ones(CLASSES, bool)
    for function in (cross_entropy, lambda logits, target: jaccard_metric(logits, target, everything)):
        _, gradient = function(z, y)
        for place in [(0, 0), (3, 2), (6, 4)]:
            step = np.zeros_like(z)
            step[place] = 1e-6
            difference = (function(z + step, y)[0] - function(z - step, y)[0]) / 2e-6
            assert difference == pytest.approx(gradient[place], abs=1e-8)


def test_a_teachers_auxiliary_head_gives_its_own_logits(place: Path) -> None:
    """A real teacher's logits: those of its decode head and of its auxiliary head at the size of the image."""
    config = config_of("phantom/both/tiny/hard/ce/seed0").model
    teacher = revert_sync_batchnorm(MODELS.build(config)).eval()
    inputs = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        main, auxiliary = head_logits(teacher, inputs)
        features = teacher.backbone(inputs)
        small = teacher.auxiliary_head(features)
    assert main.shape == auxiliary.shape == (2, CLASSES, 32, 32)
    assert small.shape[2:] == (16, 16)
    resized = nn.functional.interpolate(small, (32, 32), mode="bilinear", align_corners=False)
    torch.testing.assert_close(auxiliary, resized)
    assert not torch.allclose(main, auxiliary)
