"""The model zoo: what is known of a config before any job against the models that MMSegmentation builds of it."""

import json
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

from segloss.engine.config import model_config, set_losses, without_pretrained
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
    previous = set_switches(checks=False)
    linspace = torch.linspace
    monkeypatch.setattr(torch, "linspace", lambda *values, **options: linspace(*values, **{**options, "device": "cpu"}))
    for name, module in list(sys.modules.items()):
        if name.startswith("mmseg.models.decode_heads") and hasattr(module, "accuracy"):
            monkeypatch.setattr(module, "accuracy", lambda logits, *_, **__: logits.new_zeros(1))
    yield
    set_switches(**(previous or {"checks": True}))


def samples(number: int, size: tuple[int, int], classes: int = 5, seed: int = 0) -> list[SegDataSample]:
    """Label maps."""
    generator = None if torch.empty(0).is_meta else torch.Generator().manual_seed(seed)
    maps = [torch.randint(classes, (1, *size), generator=generator) for _ in range(number)]
    return [SegDataSample(gt_sem_seg=PixelData(data=label), metainfo={"draw": 0.5}) for label in maps]


def takes_a_step(model: Any, size: tuple[int, int] = SIZE) -> None:
    """Build a model on the meta device and compute its loss."""
    with torch.device("meta"):
        segmentor = revert_sync_batchnorm(MODELS.build(model)).train()
        losses = segmentor.loss(torch.empty(2, 3, *size), samples(2, size))
    assert any("loss" in name for name in losses)
    assert all(value.numel() for value in losses.values())


def signature(model: Any) -> str:
    """Heads, segmentor and backbone by their types."""
    found = json.dumps(model, default=str)
    return " ".join(sorted(set(found.split('"type": "'))))[:0] + repr(
        (model["type"], model["backbone"]["type"], [head["type"] for head in listed(model)])
    )


def listed(model: Any) -> list[Any]:
    """The heads of a model."""
    entries = [model["decode_head"], model.get("auxiliary_head") or []]
    return [head for entry in entries for head in (entry if isinstance(entry, list) else [entry])]


@pytest.mark.slow
def test_every_config_of_the_wheel_is_what_is_known_of_it(large_crops: Configs, meta: None) -> None:
    """Those that are applicable build and compute their loss; those that cannot be built fail when it is tried."""
    built: set[str] = set()
    soft: set[str] = set()
    refused = 0
    for name, file in sorted(large_crops.zoo.items()):
        experiment = resolve(Cell("large", name, "tiny", "hard", "ce-jml", 0), large_crops)
        static = config_values(file)["model"]
        if cannot_build(static):
            with pytest.raises(Exception):  # noqa: B017, PT011: each fails in its own way
                takes_a_step(unchecked(file, experiment))
            refused += 1
            continue
        resolved = Config.fromfile(file).model.to_dict()
        assert json.dumps(resolved, sort_keys=True, default=list) == json.dumps(static, sort_keys=True, default=list)
        if experiment.not_applicable:
            continue
        model = model_config(experiment, Config.fromfile(experiment.files["datasets"]), [1] * 5)
        key = json.dumps(model, sort_keys=True, default=str)
        if key not in built:
            takes_a_step(model)
            built.add(key)
        soft_one = resolve(Cell("large", name, "tiny", "ls", "ce-jml", 0), large_crops)
        if signature(model) not in soft and not soft_one.not_applicable:
            takes_a_step(model_config(soft_one, Config.fromfile(experiment.files["datasets"]), [1] * 5))
            soft.add(signature(model))
    print(zoo_summary())
    print(f"{len(built)} different models computed their loss, {len(soft)} a soft one, {refused} failed as known")
    assert len(built) > 250
    assert len(soft) > 40


def unchecked(file: Path, experiment: Any) -> Any:
    """The model of a config with the cell's loss, without a look at what is known of it."""
    model = Config.fromfile(file).model
    without_pretrained(model)
    set_losses(model, experiment, [1] * 5)
    return model


def test_the_summary_in_the_docs_is_that_of_the_installed_zoo() -> None:
    assert (ROOT / "docs/zoo.md").read_text() == zoo_summary()
