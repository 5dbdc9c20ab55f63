"""The networks of the articles on the JDT losses: they build, take a step, and have their backbones' parameters."""

from pathlib import Path

import pytest
import torch
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS

from segloss.engine.mmcv_stub import import_timm
from segloss.engine.pretrained import comparable, prepare_timm
from segloss.grid import Configs
from tests.conftest import ROOT, experiment_of, run
from tests.engine.conftest import config_of
from tests.engine.test_zoo import samples

NETWORKS = [
    *(f"deeplabv3-{name}" for name in ("r18d", "r50d", "r101d", "mobilenetv2", "xception65")),
    *(f"deeplabv3plus-{name}" for name in ("r18d", "r34d", "r50d", "r101d", "mobilenetv2")),
    *("deeplabv3plus-efficientnet-b0", "deeplabv3plus-mobilevitv2", "pspnet-r18d", "pspnet-r101d"),
    *(f"unet-{name}" for name in ("r18d", "r50d", "r101d", "mobilenetv2")),
    *("upernet-r101d", "upernet-convnext-b", "upernet-mit-b4", *(f"segformer-mit-b{size}" for size in range(6))),
]
# Arguments of timm and of MiT that make a backbone smaller and keep the number and the strides of its features.
RESNET = {"layers": (1, 1, 1, 1)}
SMALLER = {
    **dict.fromkeys(("resnet18d", "resnet34d", "resnet50d", "resnet101d"), RESNET),
    "convnext_base": {"depths": (1, 1, 1, 1)},
    "MixVisionTransformer": {"num_layers": [1, 1, 1, 1]},
}
# Millions of parameters of MiT-B0 to B5: Xie et al., SegFormer, 2021, table 1, https://arxiv.org/abs/2105.15203.
MIT = (3.4, 13.1, 24.2, 44.0, 60.8, 81.4)
# The parts of timm's full models after the last feature.
CLASSIFIERS = ("fc.", "classifier.", "head.", "conv_head.", "bn2.", "norm.")


def test_these_are_all_of_the_repository() -> None:
    """27 networks, as many as the articles' code has, each with ImageNet weights."""
    configs = Configs(ROOT)
    assert len(set(NETWORKS)) == 27
    for name in NETWORKS:
        entry = configs.mmengine_file("models", name).literals["imagenet"]
        assert entry["url"].startswith("https://")


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_each_takes_a_step_with_cross_entropy_and_with_the_recipe(in_workplace: Path, name: str) -> None:
    init_default_scope("mmseg")
    for loss in ("paper-ce", "paper-ce-jml-ic"):
        config = config_of(f"phantom/{name}/tiny/hard/{loss}/seed0").model
        prepare_timm(config)
        backbone = config.backbone
        config.backbone = backbone | SMALLER.get(backbone.get("model_name", backbone.type), {})
        for head in [config.decode_head, *([config.auxiliary_head] if config.get("auxiliary_head") else [])]:
            head.channels = min(head.channels, 16)
        torch.manual_seed(0)
        model = revert_sync_batchnorm(MODELS.build(config)).train()
        optimiser = torch.optim.SGD(model.parameters(), lr=1e-3)
        before = {key: value.detach().clone() for key, value in model.named_parameters()}
        losses = model.loss(torch.rand(2, 3, 64, 64), samples(2, (64, 64)))
        assert {"decode"} <= {key.split(".")[0] for key in losses}
        total = sum(value for key, value in losses.items() if "loss" in key)
        total.backward()
        optimiser.step()
        assert torch.isfinite(total)
        assert all(torch.isfinite(value).all() for value in model.parameters())
        assert [key for key, value in model.named_parameters() if value.grad is None] == []
        for part in ("backbone", "decode_head.conv_seg", *(["auxiliary_head"] if config.get("auxiliary_head") else [])):
            key, value = next(iter(model.get_submodule(part).named_parameters()))
            assert not torch.equal(value, before[f"{part}.{key}"]), key


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_the_backbone_has_the_parameters_of_the_original(
    in_workplace: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of timm's full model but for the classifier, tensor by tensor; of MiT as many as the article lists."""
    init_default_scope("mmseg")
    linspace = torch.linspace
    monkeypatch.setattr(torch, "linspace", lambda *values, **options: linspace(*values, **{**options, "device": "cpu"}))
    config = config_of(f"phantom/{name}/tiny/hard/ce/seed0").model
    prepare_timm(config)
    with torch.device("meta"):
        backbone = MODELS.build(config.backbone)
    if config.backbone.type == "MixVisionTransformer":
        millions = sum(value.numel() for value in backbone.parameters()) / 1e6
        assert millions == pytest.approx(MIT[int(name[-1])], abs=0.15)
        return
    import_timm()
    import timm

    with torch.device("meta"):
        whole = timm.create_model(config.backbone.model_name)
    original = {
        comparable(key): value.numel() for key, value in whole.named_parameters() if not key.startswith(CLASSIFIERS)
    }
    assert {
        comparable(key.removeprefix("timm_model.")): value.numel() for key, value in backbone.named_parameters()
    } == original


@pytest.mark.slow
def test_without_its_weights_one_sentence_before_any_job(in_workplace: Path) -> None:
    (in_workplace / "configs/grids/own.yaml").write_text(
        "{title: T, datasets: [phantom], models: [unet-r18d, 'mmseg::fcn_r50-d8_4xb2-40k_cityscapes-512x1024'],"
        " pretrained: imagenet, schedule: tiny, labels: [hard], losses: [ce], seeds: 1}"
    )
    offline = dict(TORCH_HOME=str(in_workplace), SEGLOSS_WEIGHTS="weights")
    cell = "phantom/unet-r18d@imagenet/tiny/hard/ce/seed0"
    planned = run("snakemake", "-n", "--cores", "1", "--config", "grid=own", cwd=in_workplace, check=False, **offline)
    trained = run("segloss", "train", cell, cwd=in_workplace, check=False, **offline)
    sentence = (
        "unet-r18d@imagenet needs the pretrained weights resnet18d_ra2-48a79e06.pth (46.9 MB, Apache-2.0; https://"
    )
    for done in (planned, trained):
        assert done.returncode != 0
        text = " ".join((done.stdout + done.stderr).split())
        assert text.count(sentence) == 1, text
        assert "Traceback" not in text
    assert experiment_of(cell).pretrained.files == ("resnet18d_ra2-48a79e06.pth",)
