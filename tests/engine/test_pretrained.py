"""Pretrained weights: damaged files, files of another model, changed files, and whether ImageNet weights are real."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from torch import nn

from segloss import records
from segloss.engine.mmcv_stub import import_timm
from segloss.engine.pretrained import load_backbone, prepare_timm, read_weights, rename_by_order
from segloss.grid import ConfigError, Configs
from segloss.grid.weights import declared_weights, find_weights, weights_sha256
from tests.conftest import ROOT, experiment_of, run
from tests.engine.conftest import config_of

TINY_TIMM = """
_base_ = ["./unet-r18d.py"]
model = dict(
    backbone=dict(layers=(1, 1, 1, 1)),
    decode_head=dict(channels=4),
    auxiliary_head=None,
)
imagenet = {"file": "tiny.pth", "megabytes": 20, "licence": "none"}
"""
CELL = "phantom/tiny-timm@imagenet/tiny/hard/ce/seed0"


@pytest.fixture
def weights(in_workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a small timm model that a model of the workplace starts from."""
    init_default_scope("mmseg")
    (in_workplace / "configs/mmseg/models/tiny-timm.py").write_text(TINY_TIMM)
    monkeypatch.setenv("SEGLOSS_WEIGHTS", str(in_workplace / "weights"))
    file = in_workplace / "weights" / "tiny.pth"
    file.parent.mkdir()
    save(file, seed=0)
    return file


def save(file: Path, seed: int, name: str = "resnet18d") -> None:
    """Random weights of a timm model, its classifier included."""
    import_timm()
    import timm

    torch.manual_seed(seed)
    torch.save(timm.create_model(name, layers=(1, 1, 1, 1)).state_dict(), file)


def built() -> nn.Module:
    """The workplace's segmentor."""
    config = config_of(CELL).model
    prepare_timm(config)
    return MODELS.build(config)


def test_every_tensor_of_the_backbone_comes_from_the_file(weights: Path) -> None:
    model = built()
    load_backbone(model, weights)
    saved = torch.load(weights, weights_only=True)
    for name, value in model.backbone.timm_model.state_dict().items():
        assert torch.equal(value, saved[name]), name


def test_a_damaged_file_is_refused_in_one_sentence(weights: Path) -> None:
    whole = weights.read_bytes()
    model = built()
    for content, sentence in [
        (whole[: len(whole) // 2], r"tiny\.pth is damaged or contains no weights: "),
        (b"", r"tiny\.pth is damaged or contains no weights: "),
        (b"<html>404</html>", r"tiny\.pth is damaged or contains no weights: "),
    ]:
        weights.write_bytes(content)
        with pytest.raises(ConfigError, match=sentence) as caught:
            load_backbone(model, weights)
        assert "\n" not in str(caught.value)
    torch.save({"epoch": 3}, weights)
    with pytest.raises(ConfigError, match=r"contains no weights: expected a dictionary of tensors"):
        read_weights(weights)


def test_the_weights_of_another_model_are_refused_in_one_sentence(weights: Path) -> None:
    model = built()
    save(weights, 0, "resnet50d")
    with pytest.raises(
        ConfigError, match=r"holds the weights of another model: layer1\.0\.conv1\.weight has the shape"
    ):
        load_backbone(model, weights)
    torch.save({"conv": torch.zeros(3)}, weights)
    with pytest.raises(ConfigError, match=r"holds the weights of another model: .* is missing and \d+ more"):
        load_backbone(model, weights)


@pytest.mark.slow
def test_a_cell_is_stale_when_its_weights_change(weights: Path, in_workplace: Path) -> None:
    experiment, results = experiment_of(CELL), in_workplace / "results"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:1000])
    failed = run("segloss", "train", CELL, cwd=in_workplace, check=False)
    assert failed.returncode != 0
    assert failed.stderr.count("is damaged or contains no weights") == 1
    assert "Traceback" not in failed.stderr

    weights.write_bytes(whole)
    run("segloss", "train", CELL, cwd=in_workplace)
    record = records.read(results / CELL / "record.json")
    assert record["pretrained"] == {"name": "imagenet", "file": "tiny.pth", "sha256": weights_sha256(weights)}
    assert records.cell_status(experiment, results).state == "done"
    save(weights, seed=1)
    status = records.cell_status(experiment, results)
    assert status.state == "stale"
    assert "its pretrained weights have changed since it was trained" in str(status)
    run("segloss", "train", CELL, cwd=in_workplace)
    again = records.read(results / CELL / "record.json")
    assert again["pretrained"]["sha256"] == weights_sha256(weights) != record["pretrained"]["sha256"]
    assert again["training"]["started_at_iteration"] == 0
    assert records.cell_status(experiment, results).state == "done"


@pytest.mark.slow
def test_vision_transformers_adapt_their_positions(in_workplace: Path) -> None:
    """Positions of another resolution are resized; a file without the model's matrices is refused."""
    init_default_scope("mmseg")
    options = dict(type="VisionTransformer", embed_dims=16, num_layers=2, num_heads=2, patch_size=8, out_indices=1)
    torch.manual_seed(0)
    small, large = (MODELS.build(options | dict(img_size=size)) for size in ((32, 32), (64, 64)))
    small.init_weights()
    file = in_workplace / "vit.pth"
    torch.save(small.state_dict(), file)
    model = nn.Module()
    model.backbone = large
    load_backbone(model, file, names="adapted")
    assert large.pos_embed.shape[1] == 65
    assert torch.equal(large.pos_embed[:, 0], small.pos_embed[:, 0])
    assert torch.equal(large.layers[1].ffn.layers[1].weight, small.layers[1].ffn.layers[1].weight)
    kept = {name: value for name, value in small.state_dict().items() if not name.startswith("layers.1")}
    torch.save(kept, file)
    with pytest.raises(ConfigError, match=r"weights of another model: layers\.1\..*weight is missing"):
        load_backbone(model, file, names="adapted")


CROSSWORD, HONEYCOMB, SHOJI = 918, 599, 789  # classes of ImageNet


def drawings(number: int, seed: int) -> tuple[torch.Tensor, np.ndarray]:
    """Pictures (3 N, 3, 224, 224) in [-1, 1] of things that ImageNet has a class for, and their classes.

    A crossword puzzle, a honeycomb and a shoji, a paper screen in a dark lattice. Sizes and places vary.
    """
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:224, :224]
    pictures = []
    classes = np.repeat([CROSSWORD, HONEYCOMB, SHOJI], number)
    for kind in classes:
        size, shift = random.uniform(18, 34), random.uniform(0, 40, size=2)
        row, column = (y + shift[0]) / size, (x + shift[1]) / size
        if kind == CROSSWORD:
            black = (random.random((30, 30)) < 0.25)[np.floor(row).astype(int), np.floor(column).astype(int)]
            dark, colours = black | (row % 1 < 0.08) | (column % 1 < 0.08), [(0.05,) * 3, (0.95,) * 3]
        elif kind == HONEYCOMB:
            angles = np.pi * np.arange(3) / 3
            waves = sum(np.cos(2 * np.pi * (column * np.cos(angle) + row * np.sin(angle)) / 1.2) for angle in angles)
            dark, colours = waves < -0.8, [(0.35, 0.2, 0.02), (0.9, 0.65, 0.15)]
        else:
            dark, colours = (row / 2 % 1 < 0.1) | (column / 1.5 % 1 < 0.12), [(0.3, 0.18, 0.08), (0.96, 0.94, 0.86)]
        picture = np.where(dark[..., None], *colours)
        pictures.append(np.clip(picture + random.normal(0, 0.03, picture.shape), 0, 1))
    return torch.tensor(np.stack(pictures)).permute(0, 3, 1, 2).float() * 2 - 1, classes


def test_the_imagenet_weights_of_lite0_recognise_what_they_see() -> None:
    """The right one of a thousand classes, for drawings that were no training data; random weights guess."""
    import_timm()
    import timm

    configs = Configs(ROOT)
    path = find_weights(declared_weights(configs.mmengine_file("models", "deeplabv3plus-lite0"), "imagenet", {}))
    name = "tf_efficientnet_lite0"
    torch.manual_seed(0)
    model = timm.create_model(name).eval()
    pictures, classes = drawings(4, seed=0)
    with torch.no_grad():
        guessed = model(pictures).argmax(1).numpy()
        model.load_state_dict(rename_by_order(read_weights(path), name, path))
        recognised = model(pictures).argmax(1).numpy()
    assert (recognised == classes).sum() >= 10, recognised
    assert (guessed == classes).sum() <= 2


def test_the_segmentors_backbone_computes_what_the_classifier_computes(in_workplace: Path) -> None:
    """The features of the last stage, with all weights loaded by ``load_backbone``."""
    import_timm()
    import timm

    init_default_scope("mmseg")
    cell = "phantom/deeplabv3plus-lite0@imagenet/tiny/hard/ce/seed0"
    pretrained, config = experiment_of(cell).pretrained, config_of(cell).model
    path = find_weights(pretrained)
    config.backbone["output_stride"] = 32
    prepare_timm(config)
    segmentor = MODELS.build(config).eval()
    name = config.backbone.model_name
    load_backbone(segmentor, path, pretrained.names, name)
    classifier = timm.create_model(name).eval()
    classifier.load_state_dict(rename_by_order(read_weights(path), name, path))
    pictures, _ = drawings(1, seed=1)
    with torch.no_grad():
        features = classifier.blocks(classifier.bn1(classifier.conv_stem(pictures)))
        torch.testing.assert_close(segmentor.backbone(pictures)[-1], features)
