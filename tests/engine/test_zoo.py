"""The model zoo: what is known of a config before any job against the models that MMSegmentation builds from it."""

import copy
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

from segloss.engine.model_config import model_config, set_losses, without_pretrained
from segloss.grid import Cell, ConfigError, Configs, resolve
from segloss.grid.mmengine_values import config_values
from segloss.grid.weights import declared_weights
from segloss.grid.zoo import cannot_build, cannot_train
from segloss.grid.zoo_summary import zoo_models, zoo_summary
from segloss.losses import set_switches
from tests.conftest import ROOT, experiment_of, grid_of
from tests.engine.conftest import config_of

STDC = "stdc1_in1k-pre_4xb12-80k_cityscapes-512x1024"
DDRNET = "ddrnet_23-slim_in1k-pre_2xb6-120k_cityscapes-1024x1024"
POINTREND = "pointrend_r50_4xb2-80k_cityscapes-512x1024"
SIZE = (512, 512)
PARTS = 6  # of the walk: neighbours by name are often the same model
LARGE_CROPS = f"""
_base_ = ["./phantom.py"]
crop_size = {SIZE}
test_cfg = dict(mode="slide", crop_size=crop_size)
"""


@pytest.fixture
def large_crops(in_workplace: Path) -> Configs:
    """Configs with the data set ``large``: phantom with crops that every model of one size takes."""
    (in_workplace / "configs/mmseg/datasets/large.py").write_text(LARGE_CROPS)
    return Configs()


@pytest.fixture
def meta(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tensors without values: no check, no accuracy and no drop rate that would read them."""
    init_default_scope("mmseg")
    set_switches(checks=False)
    linspace = torch.linspace
    monkeypatch.setattr(torch, "linspace", lambda *values, **options: linspace(*values, **{**options, "device": "cpu"}))
    for name, module in list(sys.modules.items()):
        if name.startswith("mmseg.models.decode_heads") and hasattr(module, "accuracy"):
            monkeypatch.setattr(module, "accuracy", lambda logits, *_, **__: logits.new_zeros(1))
    yield
    set_switches(checks=True)


def samples(number: int, size: tuple[int, int], classes: int = 5, seed: int = 0) -> list[SegDataSample]:
    """Label maps."""
    generator = None if torch.empty(0).is_meta else torch.Generator().manual_seed(seed)
    maps = [torch.randint(classes, (1, *size), generator=generator) for _ in range(number)]
    return [SegDataSample(gt_sem_seg=PixelData(data=label), metainfo={"draw": 0.5}) for label in maps]


def takes_a_step(model: Any, size: tuple[int, int] = SIZE) -> None:
    """Build a model on the meta device and compute its loss; on the CPU where a target is chosen by its values."""
    with torch.device("cpu" if "STDCHead" in signature(model) else "meta"):
        segmentor = revert_sync_batchnorm(MODELS.build(model)).train()
        losses = segmentor.loss(torch.empty(2, 3, *size), samples(2, size))
    assert any("loss" in name for name in losses)
    assert all(value.numel() for value in losses.values())


def signature(model: Any) -> tuple[str, ...]:
    """The types of its segmentor and its heads."""
    return model["type"], *(head["type"] for head in listed(model))


def listed(model: Any) -> list[Any]:
    """The heads of a model."""
    entries = [model["decode_head"], model.get("auxiliary_head") or []]
    return [head for entry in entries for head in (entry if isinstance(entry, list) else [entry])]


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.filterwarnings("ignore:torch.meshgrid:UserWarning")  # of a backbone of MMSegmentation
def test_every_config_of_the_wheel_is_what_is_known_of_it(large_crops: Configs, meta: None, part: int) -> None:
    """Applicable configs build and compute their loss; those known to be impossible fail when they are built."""
    built: set[str] = set()
    soft: set[tuple[str, ...]] = set()
    refused = 0
    dataset = Config.fromfile("configs/mmseg/datasets/large.py")
    names = sorted(large_crops.zoo)
    for name in names[part * len(names) // PARTS : (part + 1) * len(names) // PARTS]:
        file = large_crops.zoo[name]
        experiment = resolve(Cell("large", name, "tiny", "hard", "ce-jml", 0), large_crops)
        static = config_values(file)["model"]
        if cannot_build(static):
            with pytest.raises(Exception):  # noqa: B017, PT011
                takes_a_step(unchecked(file, experiment))
            refused += 1
            continue
        resolved = Config.fromfile(file).model.to_dict()
        assert json.dumps(resolved, sort_keys=True, default=list) == json.dumps(static, sort_keys=True, default=list)
        if experiment.not_applicable:
            continue
        model = model_config(experiment, copy.deepcopy(dataset), [1] * 5)
        key = json.dumps(model, sort_keys=True, default=str)
        if key not in built:
            takes_a_step(model)
            built.add(key)
        soft_experiment = resolve(Cell("large", name, "tiny", "ls", "ce-jml", 0), large_crops)
        if signature(model) not in soft and not soft_experiment.not_applicable:
            takes_a_step(model_config(soft_experiment, copy.deepcopy(dataset), [1] * 5))
            soft.add(signature(model))
    print(f"{len(built)} different models computed their loss, {len(soft)} a soft one, {refused} failed as known")
    assert len(built) > 20
    assert soft


def unchecked(file: Path, experiment: Any) -> Any:
    """The model of a config with the cell's loss, without a check of what is known of it."""
    model = Config.fromfile(file).model
    without_pretrained(model)
    set_losses(model, experiment, [1] * 5)
    return model


def test_the_summary_in_the_docs_is_that_of_the_installed_zoo() -> None:
    summary = zoo_summary()
    assert (ROOT / "docs/zoo.md").read_text() == summary
    configs, takes_all = (
        re.search(pattern, summary)[1] for pattern in (r"(\d+) configs", r"(\d+) \| takes every loss")
    )
    assert f"{takes_all} of the {configs} configs in MMSegmentation's zoo" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize(
    ("model", "labels", "loss", "sentence"),
    [
        (POINTREND, "ls", "ce", r"its PointHead samples points of a label map: it takes hard labels only"),
        ("pidnet-s_2xb6-120k_1024x1024-cityscapes", "hard", "ce", r"its PIDHead needs an edge map"),
        ("mask2former_r50_8xb2-90k_cityscapes-512x1024", "hard", "jml", r"its Mask2FormerHead predicts masks of que"),
        (
            "convnext-tiny_upernet_8xb2-amp-160k_ade20k-512x512",
            "hard",
            "ce",
            r"needs mmpretrain, which is not installe",
        ),
        ("knet-s3_r50-d8_fcn_8xb2-adamw-80k_ade20k-512x512", "hard", "ce", r"contains heads with their own losses"),
        ("psanet_r50-d8_4xb2-40k_cityscapes-512x1024", "hard", "ce", r"operator psamask of the full mmcv"),
        ("beit-base_upernet_8xb2-160k_ade20k-640x640", "hard", "ce", r"its BEiT takes crops of 640x640 only"),
        ("mobilenet-v3-d8_lraspp_4xb4-320k_cityscapes-512x1024", "hard", "ce", r"takes crops of at least 392 pixels"),
        ("fcn_hr18_4xb2-40k_cityscapes-512x1024", "hard", "ce", None),
    ],
)
def test_what_cannot_work_is_a_skipped_cell(
    in_workplace: Path, model: str, labels: str, loss: str, sentence: str | None
) -> None:
    experiment = experiment_of(f"phantom/{model}/tiny/{labels}/{loss}/seed0")
    assert (experiment.not_applicable is None) == (sentence is None)
    if sentence:
        assert re.search(sentence, experiment.not_applicable)
        (in_workplace / "configs/grids/own.yaml").write_text(
            f"{{title: T, datasets: [phantom], models: ['mmseg::{model}', unet-tiny], schedule: tiny,"
            f" labels: [{labels}], losses: [{loss}], seeds: 1}}"
        )
        grid = grid_of("own")
        assert list(grid.skipped.values()) == [experiment.not_applicable]
        assert [experiment.cell.model for experiment in grid.experiments] == ["unet-tiny"]


def test_a_misspelt_config_suggests_the_nearest(in_workplace: Path) -> None:
    with pytest.raises(ConfigError, match=r"nearest in MMSegmentation's zoo: mmseg::fcn_hr18_4xb2-40k_cityscapes"):
        experiment_of("phantom/fcn_hr18_4xb2-40k_cityscapes-512x102/tiny/hard/ce/seed0")


def test_a_boundary_head_keeps_its_loss_and_its_target(in_workplace: Path) -> None:
    """STDC's boundary head computes the same loss under every scenario; the semantic heads do not."""
    init_default_scope("mmseg")
    values = {}
    for scenario in ("hard", "ls"):
        model = config_of(f"phantom/{STDC}/tiny/{scenario}/ce-jml/seed0").model
        boundary = model.auxiliary_head[2]
        assert [loss.type for loss in boundary.loss_decode] == ["CrossEntropyLoss", "DiceLoss"]
        assert boundary.num_classes == 2
        torch.manual_seed(0)
        segmentor = revert_sync_batchnorm(MODELS.build(model)).eval()
        for head in segmentor.modules():
            if hasattr(head, "sampler"):
                head.sampler = None
        values[scenario] = segmentor.loss(
            torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)), samples(2, (64, 64))
        )
    hard, soft = values["hard"], values["ls"]
    for name in ("aux_2.loss_ce", "aux_2.loss_dice"):
        assert torch.equal(hard[name], soft[name])
    semantic = [name for name in hard if "loss" in name and not name.startswith("aux_2")]
    assert len(semantic) == 3
    assert all(not torch.equal(hard[name], soft[name]) for name in semantic)


def test_the_second_output_of_ddrnet_takes_cross_entropy(in_workplace: Path) -> None:
    init_default_scope("mmseg")
    for loss, weights in [("ce-jml", (1.0, 0.4)), ("paper-ce-jml-d", (1.0, 0.125))]:
        model = config_of(f"phantom/{DDRNET}/tiny/hard/{loss}/seed0").model
        main, second = model.decode_head.loss_decode
        assert (main.type, second.type) == ("CompoundLoss", "SoftmaxCrossEntropyLoss")
        assert (main.loss_weight, second.loss_weight) == weights
    segmentor = revert_sync_batchnorm(MODELS.build(model)).train()
    losses = segmentor.loss(torch.rand(2, 3, 64, 64), samples(2, (64, 64)))
    assert {"decode.loss_context", "decode.loss_spatial"} <= losses.keys()
    sum(value for name, value in losses.items() if "loss" in name).backward()


def test_point_rend_keeps_the_settings_of_its_inference(in_workplace: Path) -> None:
    init_default_scope("mmseg")
    model = config_of(f"phantom/{POINTREND}/tiny/hard/ce/seed0").model
    assert model.test_cfg["subdivision_steps"] == 2
    model.test_cfg["subdivision_num_points"] = 16
    segmentor = MODELS.build(model).eval()
    with torch.no_grad():
        logits = segmentor.encode_decode(torch.rand(1, 3, 64, 64), [dict(img_shape=torch.Size((64, 64)))])
    assert logits.shape == (1, 5, 64, 64)


@pytest.mark.parametrize(
    ("model", "file", "module"),
    [
        ("fcn_r50-d8_4xb2-40k_cityscapes-512x1024", "resnet50_v1c-2cccc1ad.pth", "backbone"),
        ("bisenetv1_r18-d32-in1k-pre_4xb4-160k_cityscapes-1024x1024", None, "backbone.context_path.backbone"),
        (STDC, "stdc1_20220308-5368626c.pth", "backbone.backbone"),
        ("segmenter_vit-b_mask_8xb1-160k_ade20k-512x512", None, "backbone"),
        ("mobilenet-v2-d8_fcn_4xb2-80k_cityscapes-512x1024", None, "backbone"),
    ],
)
def test_the_weights_that_a_config_names_come_through_the_door(
    in_workplace: Path, model: str, file: str | None, module: str
) -> None:
    pretrained = experiment_of(f"phantom/{model}@imagenet/tiny/hard/ce/seed0").pretrained
    assert pretrained.module == module
    assert pretrained.files[0].endswith(".pth")
    assert file in (None, pretrained.files[0])
    assert "pretrained=None" in repr(experiment_of(f"phantom/{model}/tiny/hard/ce/seed0"))
    config = config_of(f"phantom/{model}/tiny/hard/ce/seed0").model
    assert "://" not in json.dumps(config, default=str)
    MODELS.build(config).get_submodule(module)


def test_a_config_without_weights_has_none_to_offer() -> None:
    configs = Configs(ROOT)
    scratch = "mobilenet-v3-d8-scratch_lraspp_4xb4-320k_cityscapes-512x1024"
    file = configs.mmengine_file("models", scratch)
    with pytest.raises(ConfigError, match=r"declares no imagenet weights"):
        declared_weights(file, "imagenet", configs.values(file)["model"])


def test_a_sampler_by_loss_takes_pixel_losses_only() -> None:
    chosen = [
        name
        for name, model in zoo_models().items()
        if cannot_train(model, soft=False, pixelwise=False) and not cannot_train(model, soft=False, pixelwise=True)
    ]
    assert len(chosen) == 4
    assert all("OHEMPixelSampler" in json.dumps(zoo_models()[name], default=str) for name in chosen)
