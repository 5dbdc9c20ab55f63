"""Evaluation against values computed here: the temperature, the model's mode, which prediction maps are kept."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmseg.models import SegDataPreProcessor
from mmseg.registry import DATASETS as MMSEG_DATASETS
from torch import nn
from torch.utils.data import DataLoader

from segloss.engine.config import evaluation_settings
from segloss.engine.evaluation import CALIBRATED_METRICS, CALIBRATORS, Evaluation, evaluate, validate, validation_miou
from segloss.engine.record import thinned
from segloss.grid import ConfigError, Configs
from segloss.grid.protocol import Protocol
from segloss.metrics import Boundaries, Counts, TemperatureScaling, summarize
from tests.engine.conftest import config_of

CELL = "phantom/unet-tiny/tiny/hard/ce/seed0"
IMAGES = 8


class Overconfident(nn.Module):
    """A segmentor whose logits favour the label at three of four pixels, and far too strongly."""

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
    metrics, calibrated = evaluate(model, loader, protocol, {"scaled": TemperatureScaling(temperature)}, tmp_path)
    scaled = calibrated["scaled"]
    plain, divided = expected_metrics(model, labels, 1.0), expected_metrics(model, labels, temperature)
    assert calibrated.keys() == {"scaled"}
    assert scaled.keys() == set(CALIBRATED_METRICS["scaled"])
    for name in scaled:
        assert scaled[name] == pytest.approx(divided[name], rel=1e-4, abs=1e-4), name
    for name in ("mIoU", "ECE", "NLL"):
        assert metrics[name] == pytest.approx(plain[name], rel=1e-4, abs=1e-4), name
    assert summarize(Counts.load(tmp_path / "counts.npz")) == metrics


def test_the_fitted_calibrators_of_an_overconfident_model_improve_it(case: tuple, tmp_path: Path) -> None:
    model, loader, protocol, labels = case
    metrics, fitted = validate(model, loader, protocol)
    temperature = fitted["scaled"].temperature
    assert temperature > 1.5
    _, calibrated = evaluate(model, loader, protocol, fitted, tmp_path)
    assert calibrated.keys() == CALIBRATORS.keys()
    for name, values in calibrated.items():
        assert values.keys() == set(CALIBRATED_METRICS[name])
        assert values["NLL"] < 0.8 * metrics["NLL"]
        assert values["ECE"] < 0.8 * metrics["ECE"]
    # Fitted and measured on the same pixels, the more flexible calibrators are at least as good.
    assert calibrated["vector"]["NLL"] < calibrated["scaled"]["NLL"] + 1e-4
    assert calibrated["isotonic"]["ECE"] < calibrated["scaled"]["ECE"]
    # A temperature nearby, to either side, is worse.
    for other in (temperature / 1.3, temperature * 1.3):
        assert calibrated["scaled"]["NLL"] < expected_metrics(model, labels, other)["NLL"]


def test_a_temperature_is_fitted_alike_beside_other_calibrators_or_alone(case: tuple) -> None:
    model, loader, protocol, _ = case
    alone = dataclasses.replace(protocol, calibrators=("scaled",))
    assert validate(model, loader, alone)[1] == {"scaled": validate(model, loader, protocol)[1]["scaled"]}
    assert alone.skipped() == dict.fromkeys(
        ("vector", "isotonic"), "not among the calibrators of the data set's test_cfg"
    )
    many = dataclasses.replace(protocol, num_classes=150)
    assert many.skipped() == {"isotonic": "150 classes, more than 50: it would take too long"}


def test_declared_boundaries_are_counted_and_change_no_other_metric(case: tuple, tmp_path: Path) -> None:
    model, loader, protocol, _ = case
    plain, _ = evaluate(model, loader, protocol, {}, tmp_path)
    width = dataclasses.replace(protocol, boundaries=Boundaries(iou_width=0.02, surface_tolerance=1.0))
    metrics, _ = evaluate(model, loader, width, {}, tmp_path)
    assert metrics.keys() - plain.keys() == {"mBoundaryIoU", "mNSD", "mNSD_I"}
    assert {name: metrics[name] for name in plain} == plain
    assert Counts.load(tmp_path / "counts.npz").boundaries == width.boundaries


@pytest.mark.parametrize(
    ("declared", "sentence"),
    [
        (dict(width=0.02), "test_cfg: boundaries: unknown key 'width'"),
        (dict(iou_width=2), "Expected iou_width to be None or a number of at least 0 and below 1, got 2"),
        (dict(iou_width="wide"), "somewhere: test_cfg: boundaries: "),
        (dict(edge_tolerance=0.0075), "edge_tolerance is defined for two classes"),
    ],
)
def test_impossible_boundaries_end_in_a_sentence(declared: dict, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        evaluation_settings(Config(dict(test_cfg=dict(boundaries=declared))), "somewhere", 5)


def test_the_data_sets_with_boundaries_and_the_choice_of_calibrators(in_workplace: Path) -> None:
    def load(name: str) -> Config:
        return Config.fromfile(Configs().mmengine_file("datasets", name).path)

    nothing = dict.fromkeys(("iou_width", "surface_tolerance", "edge_tolerance"))
    for name, classes, counted in (
        ("bsds500-cpu", 2, {"edge_tolerance": 0.0075}),
        ("stare", 2, {"surface_tolerance": 2.0}),
        ("phantom", 5, {}),
    ):
        settings = evaluation_settings(load(name), name, classes)
        assert settings["boundaries"] == nothing | counted
        assert settings["calibrators"] == ("scaled", "vector", "isotonic")
    chosen = Config(dict(test_cfg=dict(calibrators=["scaled"])))
    assert evaluation_settings(chosen, "somewhere", 5)["calibrators"] == ("scaled",)
    with pytest.raises(ConfigError, match=r"Expected calibrators to be .* one of scaled, vector, isotonic, got"):
        evaluation_settings(Config(dict(test_cfg=dict(calibrators=["scale"]))), "somewhere", 5)


@pytest.mark.parametrize("number", [0, 1, 999, 1000, 1001, 3200])
def test_a_record_keeps_a_thousand_rows_evenly_spaced(number: int) -> None:
    rows = [{"iteration": 50 * (place + 1)} for place in range(number)]
    kept = [row["iteration"] for row in thinned(rows)]
    assert len(kept) == min(number, 1000)
    assert kept == sorted(set(kept))
    if number > 1000:
        assert (kept[0], kept[-1]) == (50, 50 * number)
        steps = np.diff(kept) / 50
        assert steps.max() - steps.min() <= 1
    else:
        assert thinned(rows) == rows


def test_validation_leaves_the_model_in_its_mode_and_agrees_with_all_metrics(case: tuple) -> None:
    model, loader, protocol, _ = case
    for training in (True, False):
        model.train(training)
        assert validation_miou(model, loader, protocol) == validate(model, loader, protocol)[0]["mIoU"]
        assert model.training is training


def test_without_calibrators_nothing_is_calibrated_and_four_maps_are_kept_evenly_spaced(
    case: tuple, tmp_path: Path
) -> None:
    model, loader, protocol, _ = case
    _, calibrated = evaluate(model, loader, protocol, {}, tmp_path)
    assert calibrated == {}
    names = [loader.dataset[number]["data_samples"].name for number in (0, 2, 4, 6)]
    with np.load(tmp_path / "predictions.npz") as kept:
        assert [key for key in kept if not key.startswith(("label/", "confidence/"))] == names
        expected = [model.all_logits[number].argmax(0).numpy() for number in (0, 2, 4, 6)]
        for name, prediction in zip(names, expected, strict=True):
            assert np.array_equal(kept[name], prediction)
