"""Evaluation against values worked out in place: the temperature, the weights' mode, what is kept of the images."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmseg.models import SegDataPreProcessor
from mmseg.registry import DATASETS as MMSEG_DATASETS
from torch import nn
from torch.utils.data import DataLoader

from segloss.engine.evaluation import SCALED_METRICS, Evaluation, evaluate, validate, validation_miou
from segloss.engine.inference import Protocol
from segloss.metrics import Counts, summarize
from tests.engine.conftest import config_of

CELL = "phantom/unet-tiny/tiny/hard/ce/seed0"
IMAGES = 8


class Overconfident(nn.Module):
    """A segmentor whose logits favour the label at three of four pixels, and far too much."""

    def __init__(self, labels: list[torch.Tensor]) -> None:
        super().__init__()
        self.data_preprocessor = SegDataPreProcessor()
        self.all_logits = []
        for number, label in enumerate(labels):
            random = torch.Generator().manual_seed(number)
            wrong = torch.rand(label.shape, generator=random) < 0.25
            predicted = torch.where(wrong, torch.randint(5, label.shape, generator=random), label.clamp_max(4))
            sharp = 8 * nn.functional.one_hot(predicted, 5).movedim(-1, 0).float()
            self.all_logits.append(sharp + torch.randn(sharp.shape, generator=random))
        self.position = 0

    def encode_decode(self, inputs: torch.Tensor, metas: list) -> torch.Tensor:
        logits = self.all_logits[self.position % len(self.all_logits)]
        self.position += 1
        return logits.unsqueeze(0)


@pytest.fixture
def case(in_workplace: Path) -> tuple[Overconfident, DataLoader, Evaluation, list[torch.Tensor]]:
    """A segmentor, a loader of test images, the protocol, and the images' labels."""
    init_default_scope("mmseg")
    config = config_of(CELL)
    images = torch.utils.data.Subset(MMSEG_DATASETS.build(config.test_dataset), range(IMAGES))
    labels = [sample["data_samples"].gt_sem_seg.data[0].long() for sample in images]
    protocol = Evaluation(5, config.reference, Protocol(**config.protocol))
    return Overconfident(labels), DataLoader(images, collate_fn=pseudo_collate), protocol, labels


def expected_metrics(model: Overconfident, labels: list[torch.Tensor], temperature: float) -> dict[str, float]:
    """The metrics of softmax(z / T)."""
    counts = Counts(5)
    for number, (logits, label) in enumerate(zip(model.all_logits, labels, strict=True)):
        probabilities = torch.softmax(logits / temperature, 0).unsqueeze(0)
        counts.update(probabilities, label.unsqueeze(0), label.unsqueeze(0) != 255, [str(number)])
    return summarize(counts)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_scaled_metrics_are_those_of_the_logits_divided_by_the_temperature(
    case: tuple, tmp_path: Path, temperature: float
) -> None:
    model, loader, protocol, labels = case
    metrics, scaled = evaluate(model, loader, protocol, temperature, tmp_path)
    plain, divided = expected_metrics(model, labels, 1.0), expected_metrics(model, labels, temperature)
    assert scaled.keys() == set(SCALED_METRICS)
    for name in SCALED_METRICS:
        assert scaled[name] == pytest.approx(divided[name], rel=1e-4, abs=1e-4), name
    for name in ("mIoU", "ECE", "NLL"):
        assert metrics[name] == pytest.approx(plain[name], rel=1e-4, abs=1e-4), name
    assert summarize(Counts.load(tmp_path / "counts.npz")) == metrics


def test_the_fitted_temperature_of_an_overconfident_model_is_large_and_improves_it(case: tuple, tmp_path: Path) -> None:
    model, loader, protocol, labels = case
    metrics, temperature = validate(model, loader, protocol)
    assert temperature > 1.5
    _, scaled = evaluate(model, loader, protocol, temperature, tmp_path)
    assert scaled["NLL"] < 0.8 * metrics["NLL"]
    assert scaled["ECE"] < 0.8 * metrics["ECE"]
    # A temperature nearby, to either side, is worse.
    for other in (temperature / 1.3, temperature * 1.3):
        assert scaled["NLL"] < expected_metrics(model, labels, other)["NLL"]


def test_validation_leaves_the_model_in_its_mode_and_agrees_with_all_metrics(case: tuple) -> None:
    model, loader, protocol, _ = case
    for training in (True, False):
        model.train(training)
        assert validation_miou(model, loader, protocol) == validate(model, loader, protocol)[0]["mIoU"]
        assert model.training is training


def test_without_a_temperature_nothing_is_scaled_and_four_maps_are_kept_evenly_spaced(
    case: tuple, tmp_path: Path
) -> None:
    model, loader, protocol, _ = case
    _, scaled = evaluate(model, loader, protocol, None, tmp_path)
    assert scaled is None
    names = [loader.dataset[number]["data_samples"].name for number in (0, 2, 4, 6)]
    with np.load(tmp_path / "predictions.npz") as kept:
        assert [key for key in kept if "/" not in key] == names
        expected = [model.all_logits[number].argmax(0).numpy() for number in (0, 2, 4, 6)]
        for name, prediction in zip(names, expected, strict=True):
            assert np.array_equal(kept[name], prediction)
