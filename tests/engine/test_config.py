"""From a cell to its MMEngine config: heads, auxiliary heads, class statistics, and models whose loss is fixed."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import config as mmengine_config
from mmengine.config import utils
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from PIL import Image

from segloss.datasets import DATASETS, DatasetError, fingerprints
from segloss.engine.class_counts import training_class_counts
from segloss.engine.config_files import read_config
from segloss.grid import ConfigError, Configs
from segloss.grid.configs import loss_terms
from segloss.losses import CATALOGUE
from tests.conftest import ROOT, experiment_of, grid_of
from tests.engine.conftest import config_of


def config(name: str):
    return config_of(f"phantom/{name}/seed0")


def test_files_of_base_are_found_without_the_metafiles_and_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    path, external_path = ROOT / "configs/mmseg/models/unet-tiny.py", mmengine_config._get_external_cfg_path
    monkeypatch.setattr(mmengine_config, "_get_external_cfg_path", external_path.__defaults__[0])
    expected = read_config(path).to_dict()
    monkeypatch.setattr(mmengine_config, "_get_external_cfg_path", external_path)
    assert external_path("package", "unet/listed.py", lambda *names: names) == ("package", "unet/listed.py")
    monkeypatch.setattr(utils, "load", None)
    assert read_config(path).to_dict() == expected
    assert expected["model"]["backbone"]["type"] == "UNet"


def test_the_decode_head_takes_the_loss_and_the_auxiliary_head_cross_entropy(in_workplace: Path) -> None:
    model = config("deeplabv3plus-r18/tiny/hard/ce-jml").model
    assert model.type == "EncoderDecoder"
    assert model.decode_head.loss_decode.type == "CompoundLoss"
    assert [term["loss"] for term in model.decode_head.loss_decode.terms] == ["cross_entropy", "jaccard_metric"]
    assert model.auxiliary_head.loss_decode.type == "SoftmaxCrossEntropyLoss"
    assert model.auxiliary_head.loss_decode.loss_weight == 0.4
    assert (model.decode_head.num_classes, model.auxiliary_head.num_classes) == (5, 5)


def test_every_line_of_losses_yaml_becomes_a_module(in_workplace: Path) -> None:
    init_default_scope("mmseg")
    used = set()
    for name, line in Configs().losses.items():
        loss = config(f"unet-tiny/tiny/hard/{name}").model.decode_head.loss_decode
        assert MODELS.build(loss).loss_weight == 1.0
        used |= {term["loss"] for term in loss_terms(line)}
    assert used == set(CATALOGUE) - {"compound"}
    assert list(dict.fromkeys(cell.loss for cell in grid_of("losses").cells)) == list(Configs().losses)


@pytest.mark.parametrize("labels", ["bls", "raters"])
@pytest.mark.parametrize("model", ["deeplabv3plus-r18", "unet-s5", "ocrnet_hr18_4xb2-40k_cityscapes-512x1024"])
def test_every_head_trains_on_the_scenarios_target(in_workplace: Path, model: str, labels: str) -> None:
    init_default_scope("mmseg")
    model_config = config(f"{model}/tiny/{labels}/jml").model
    model_config.pretrained = None
    if isinstance(model_config.decode_head, list):
        assert model_config.type == "ScenarioCascadeEncoderDecoder"
    seen = []

    class Spy(MODELS.get("SoftmaxCrossEntropyLoss")):
        def forward(self, logits, labels, weight=None, ignore_index=255):
            from segloss.engine.losses import _TARGET

            seen.append(_TARGET.get()[0].target.shape)
            return super().forward(logits, labels, weight, ignore_index)

    segmentor = MODELS.build(model_config)
    losses = [module for module in segmentor.modules() if hasattr(module, "loss_name")]
    for module in losses:
        module.__class__ = type("Spied", (Spy, type(module)), {"function": type(module).function})
    samples = []
    for seed in range(2):
        from mmengine.structures import PixelData
        from mmseg.structures import SegDataSample

        maps = torch.randint(0, 5, (4, 64, 64), generator=torch.Generator().manual_seed(seed))
        samples.append(SegDataSample(gt_sem_seg=PixelData(data=maps[:1]), gt_raters=PixelData(data=maps)))
    values = segmentor.loss(torch.rand(2, 3, 64, 64), samples)
    assert all(torch.isfinite(value).all() for value in values.values())
    assert seen == [(2, 5, 64, 64)] * len(losses)
    assert len(losses) >= 2


def test_a_model_without_a_loss_to_choose_is_refused(in_workplace: Path) -> None:
    with pytest.raises(ConfigError, match=r"is not applicable: its Mask2FormerHead predicts masks of queries"):
        config("mask2former_r50_8xb2-90k_cityscapes-512x1024/tiny/hard/jml")


def test_class_counts_are_measured_once_and_check_the_labels(in_workplace: Path, tmp_path: Path) -> None:
    folder, phantom = Path("data/phantom"), DATASETS["phantom"]
    experiment = experiment_of("phantom/unet-tiny/tiny/hard/ldam/seed0")
    fingerprint = fingerprints(phantom, folder, None)["training"]
    counts = training_class_counts(experiment, folder, fingerprint)
    labels = [np.asarray(Image.open(folder / entry[1])) for entry in phantom.read_list(folder, "train")]
    assert counts == [sum(int((label == number).sum()) for label in labels) for number in range(5)]
    (cache,) = Path("data/.class_counts").iterdir()
    cache.write_text("[1, 2, 3, 4, 5]")
    assert training_class_counts(experiment, folder, fingerprint) == [1, 2, 3, 4, 5]
    loss = config("unet-tiny/tiny/hard/ldam").model.decode_head.loss_decode
    assert loss.class_counts == json.loads(cache.read_text())

    wrong = tmp_path / "wrong"
    wrong.mkdir()
    Image.fromarray(np.full((4, 4), 7, np.uint8)).save(wrong / "a.png")
    (wrong / "train.txt").write_text("a.png a.png\n")
    with pytest.raises(DatasetError, match=r"a.png must hold classes 0..4 and void 255, got 7"):
        phantom.class_counts(wrong, phantom.read_list(wrong, "train"))
