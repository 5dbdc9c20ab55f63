"""The losses inside MMSegmentation: registered, usable by stock heads, right about void, soft targets and samplers."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.structures import PixelData
from mmengine.utils.dl_utils import mmcv_full_available
from mmseg.models import losses as mmseg_losses
from mmseg.models.decode_heads import FCNHead
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

from segloss.datasets import DATASETS
from segloss.engine.losses import SegmentationLoss, TargetTerm, training_target
from segloss.engine.training import ProgressHook
from segloss.losses import CATALOGUE

# Terms or class statistics that a loss requires.
REQUIRED = {
    "compound": dict(terms=[{"loss": "cross_entropy", "weight": 0.25}, {"loss": "jaccard_metric", "weight": 0.75}]),
    "ldam": dict(class_counts=[100, 50, 10]),
    "lmf": dict(class_counts=[100, 50, 10]),
}
NAMES = sorted(CATALOGUE)


def build(name: str, **options: object) -> SegmentationLoss:
    return MODELS.build(dict(type=CATALOGUE[name].module_name, **REQUIRED.get(name, {}), **options))


def batch(soft: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 8, 8, requires_grad=True)
    return logits, torch.randn(2, 3, 8, 8).softmax(1) if soft else torch.randint(0, 3, (2, 8, 8))


def test_the_standin_leaves_no_trace() -> None:
    assert not mmcv_full_available()
    from mmcv.ops import sigmoid_focal_loss

    sentence = "the compiled operator .* needs the full mmcv; the installed mmcv-lite has no compiled operators"
    with pytest.raises(RuntimeError, match=sentence):
        sigmoid_focal_loss(torch.zeros(2, 3), torch.zeros(2, dtype=torch.long), 2.0, 0.25, None, "none")


@pytest.mark.parametrize("name", NAMES)
def test_none_shadows_a_loss_of_mmsegmentation(name: str) -> None:
    assert MODELS.get(CATALOGUE[name].module_name).function is CATALOGUE[name]
    assert not hasattr(mmseg_losses, CATALOGUE[name].module_name)


@pytest.mark.parametrize("name", NAMES)
def test_the_module_is_the_function_without_void(name: str) -> None:
    logits, labels = batch()
    void = torch.rand(labels.shape) < 0.3
    module = build(name, loss_weight=0.5)
    expected = 0.5 * CATALOGUE[name](logits, labels, valid=~void, **REQUIRED.get(name, {}))
    torch.testing.assert_close(module(logits, labels.masked_fill(void, 255)), expected)
    torch.testing.assert_close(module(logits, labels.masked_fill(void, 7), ignore_index=7), expected)


@pytest.mark.parametrize("name", [name for name in NAMES if CATALOGUE[name].soft_targets])
def test_a_soft_target_replaces_the_index_map(name: str) -> None:
    logits, target = batch(soft=True)
    valid = torch.rand(2, 8, 8) > 0.3
    anything = torch.full((2, 8, 8), 255)
    with training_target(TargetTerm(target, valid)):
        inside = build(name)(logits, anything)
    torch.testing.assert_close(inside, CATALOGUE[name](logits, target, valid=valid, **REQUIRED.get(name, {})))
    assert build(name)(logits, anything) == 0


def test_pixels_a_sampler_leaves_out_do_not_count() -> None:
    logits, labels = batch()
    chosen = torch.rand(2, 1, 8, 8) > 0.5
    sampled = build("jaccard_metric")(logits, labels, weight=chosen.float())
    torch.testing.assert_close(sampled, CATALOGUE["jaccard_metric"](logits, labels, valid=chosen[:, 0]))


@pytest.mark.parametrize("name", ["cross_entropy", "focal", "compound"])
def test_a_map_of_weights_is_honoured_by_means_over_pixels(name: str) -> None:
    logits, labels = batch()
    labels[0, :2] = 255
    weights = torch.rand(2, 8, 8)
    options = dict(terms=[dict(loss="cross_entropy", weight=0.3), dict(loss="focal")]) if name == "compound" else {}
    module = MODELS.build(dict(type=CATALOGUE[name].module_name, **options))
    per_pixel = CATALOGUE[name](logits, labels, valid=labels != 255, reduction="none", **options)
    expected = (per_pixel * weights).sum() / weights[labels != 255].sum()
    torch.testing.assert_close(module(logits, labels, weight=weights), expected)
    torch.testing.assert_close(module(logits, labels, weight=weights[:, None]), expected)


@pytest.mark.parametrize("name", ["jaccard_metric", "lovasz_softmax", "compound"])
def test_a_map_of_weights_is_refused_elsewhere(name: str) -> None:
    logits, labels = batch()
    with pytest.raises(ValueError, match=r"a weight map of zeros and ones for .*Loss, which is not a mean over pixels"):
        build(name)(logits, labels, weight=torch.full((2, 8, 8), 0.5))


def head(**options: object) -> FCNHead:
    return FCNHead(in_channels=3, channels=4, num_classes=3, num_convs=1, concat_input=False, **options)


def samples(labels: torch.Tensor) -> list[SegDataSample]:
    return [SegDataSample(gt_sem_seg=PixelData(data=label[None])) for label in labels]


@pytest.mark.parametrize("thresh", [None, 0.7])
def test_hard_pixels_are_sampled(thresh: float | None) -> None:
    logits, labels = batch()
    labels[:, 0] = 255
    sampler = dict(type="OHEMPixelSampler", thresh=thresh, min_kept=10)
    value = head(loss_decode=dict(type="SoftmaxCrossEntropyLoss"), sampler=sampler).loss_by_feat(
        logits, samples(labels)
    )
    per_pixel = CATALOGUE["cross_entropy"](logits, labels, valid=labels != 255, reduction="none")
    if thresh is None:
        expected = per_pixel.flatten().topk(20).values.mean()  # 10 of each image
    else:
        likelihood = (-per_pixel[labels != 255]).exp()
        expected = per_pixel[labels != 255][likelihood < max(0.7, likelihood.sort().values[20])].mean()
    torch.testing.assert_close(value["loss_cross_entropy"], expected)


def test_hard_pixels_without_threshold_need_a_mean_over_pixels() -> None:
    logits, labels = batch()
    sampled = head(loss_decode=dict(type="JaccardMetricLoss"), sampler=dict(type="OHEMPixelSampler", min_kept=10))
    with pytest.raises(ValueError, match=r"means over pixels .* or without a reduction, got jaccard_metric; mark"):
        sampled.loss_by_feat(logits, samples(labels))


# The ways in which the configs of the zoo declare their losses.
ZOO = [
    ("fcn/fcn_r50-d8_4xb2-40k_cityscapes-512x1024.py", None),
    ("deeplabv3plus/deeplabv3plus_r50-d8_4xb2-40k_cityscapes-512x1024.py", None),
    ("segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512.py", None),
    ("unet/unet-s5-d16_fcn_4xb4-40k_stare-128x128.py", None),
    ("upernet/upernet_r50_4xb2-40k_cityscapes-512x1024.py", None),
    ("fastscnn/fast_scnn_8xb4-160k_cityscapes-512x1024.py", "Expected use_sigmoid=False or nothing .* _delete_=True"),
    (
        "cgnet/cgnet_fcn_4xb4-60k_cityscapes-680x680.py",
        "unknown option 'class_weight'; .* add _delete_=True",
    ),
]


@pytest.mark.parametrize(("base", "sentence"), ZOO, ids=[base.split("/")[0] for base, _ in ZOO])
def test_the_documented_example_works_on_real_configs(base: str, sentence: str | None, tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "library.md").read_text(encoding="utf-8")
    (example,) = (text for text in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "custom_imports" in text)
    (tmp_path / "config.py").write_text(f'_base_ = ["mmseg::{base}"]\n{example}')
    config = Config.fromfile(tmp_path / "config.py").model.decode_head
    if sentence is not None:
        with pytest.raises((TypeError, ValueError), match=sentence):
            MODELS.build(config)
        with_delete = example.replace('dict(type="JaccardMetricLoss")', 'dict(type="JaccardMetricLoss", _delete_=True)')
        (tmp_path / "config.py").write_text(f'_base_ = ["mmseg::{base}"]\n{with_delete}')
        config = Config.fromfile(tmp_path / "config.py").model.decode_head
    decode_head = MODELS.build(config)
    logits, labels = torch.randn(1, config.num_classes, 4, 4), torch.randint(config.num_classes, (1, 8, 8))
    losses = decode_head.loss_by_feat(logits, samples(labels))
    resized = torch.nn.functional.interpolate(logits, (8, 8), mode="bilinear", align_corners=decode_head.align_corners)
    torch.testing.assert_close(losses["loss_jaccard_metric"], CATALOGUE["jaccard_metric"](resized, labels))


def test_an_option_outside_its_range_is_refused_when_the_model_is_built() -> None:
    for options, sentence in (
        (dict(smooth=-1), "Expected smooth to be a number of at least 0, got -1."),
        (dict(loss_weight=float("nan")), "Expected loss_weight to be a number of at least 0, got nan."),
        (dict(exchange="no"), "Expected exchange to be true or false, got 'no'."),
    ):
        with pytest.raises(ValueError, match=sentence):
            build("jaccard_metric", **options)
    with pytest.raises(ValueError, match=r"Expected gamma to be a number of at least 0, got 'two'."):
        MODELS.build(dict(type="CompoundLoss", terms=[dict(loss="focal", gamma="two")]))


def test_an_unknown_option_is_refused_when_the_model_is_built() -> None:
    with pytest.raises(TypeError, match=r"JaccardMetricLoss got the unknown option 'clases'; known: .*classes"):
        build("jaccard_metric", clases="all")


def test_a_deferred_option_holds_from_its_fraction_of_the_training_on() -> None:
    logits, labels = batch()
    module = build("ldam", reweighting=0.99, defer=dict(reweighting=0.8))
    plain = CATALOGUE["ldam"](logits, labels, class_counts=[100, 50, 10])
    weighted = CATALOGUE["ldam"](logits, labels, class_counts=[100, 50, 10], reweighting=0.99)
    assert plain != weighted
    assert module(logits, labels) == weighted
    for progress, expected in ((0.0, plain), (0.79, plain), (0.8, weighted), (1.0, weighted)):
        module.progress = progress
        assert module(logits, labels) == expected
    runner = SimpleNamespace(model=torch.nn.ModuleList([module]), train_loop=SimpleNamespace(max_iters=10))
    hook = ProgressHook()
    hook.before_train(runner)
    hook.before_train_iter(runner, 7)
    assert module.progress == 0.7
    with pytest.raises(TypeError, match=r"LDAMLoss defers 'reweighting', which is not among its options"):
        build("ldam", defer=dict(reweighting=0.8))


def test_a_ramp_lets_an_option_or_a_terms_weight_grow() -> None:
    logits, labels = batch()
    alone = build("confidence_penalty", alpha=0.4, ramp=dict(alpha=(0.2, 0.6)))
    terms = [dict(loss="dice", weight=1.0), dict(loss="boundary", weight=2.0, ramp=dict(weight=(0.0, 0.5)))]
    together = MODELS.build(dict(type="CompoundLoss", terms=terms))
    dice, boundary = (CATALOGUE[name](logits, labels) for name in ("dice", "boundary"))
    for progress, alpha, weight in (
        (0.0, 0.0, 0.0),
        (0.25, 0.05, 1.0),
        (0.4, 0.2, 1.6),
        (0.6, 0.4, 2.0),
        (1.0, 0.4, 2.0),
    ):
        alone.progress = together.progress = progress
        expected = CATALOGUE["confidence_penalty"](logits, labels, alpha=alpha)
        torch.testing.assert_close(alone(logits, labels), expected)
        torch.testing.assert_close(together(logits, labels), dice + weight * boundary)
    assert terms[1] == dict(loss="boundary", weight=2.0, ramp=dict(weight=(0.0, 0.5)))
    with pytest.raises(TypeError, match=r"ConfidencePenaltyLoss ramps 'beta', which is not among its options"):
        build("confidence_penalty", ramp=dict(beta=(0.0, 1.0)))


def falls_on_phantom(loss: dict, phantom: Path) -> None:
    """Check that the loss falls when a stock decode head is trained on the pixels of a few images of phantom."""
    torch.manual_seed(0)
    head = FCNHead(in_channels=3, channels=8, num_classes=5, num_convs=1, concat_input=False, loss_decode=loss)
    source, folder = DATASETS["phantom"], phantom / "phantom"
    entries = source.read_list(folder, "train")[:4]
    images = torch.stack([torch.from_numpy(source.read_image(folder / entry[0])) for entry in entries])
    labels = [torch.from_numpy(source.read_label(folder / entry[1]))[None].long() for entry in entries]
    samples = [SegDataSample(gt_sem_seg=PixelData(data=label)) for label in labels]
    features = (images.movedim(-1, 1) - 128.0) / 64
    optimizer = torch.optim.AdamW(head.parameters(), lr=0.05)
    values = []
    for _ in range(20):
        losses = head.loss([features], samples, None)
        (name,) = set(losses) - {"acc_seg"}
        optimizer.zero_grad()
        losses[name].backward()
        optimizer.step()
        values.append(losses[name].item())
    assert min(values[-3:]) < 0.9 * values[0]


# The counts of phantom's training set, in thousands.
COUNTS = [530, 44, 41, 30, 5]


@pytest.mark.parametrize("name", [name for name in NAMES if name != "compound"])
def test_a_stock_decode_head_trains_on_phantom(name: str, phantom: Path) -> None:
    counts = dict(class_counts=COUNTS) if name in ("ldam", "lmf") else {}
    falls_on_phantom(dict(type=CATALOGUE[name].module_name, **counts), phantom)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "compound"])
def test_a_stock_decode_head_trains_with_it_as_a_term(name: str, phantom: Path) -> None:
    terms = [dict(loss="cross_entropy", weight=0.25), dict(loss=name, weight=0.75)]
    falls_on_phantom(dict(type="CompoundLoss", terms=terms, class_counts=COUNTS), phantom)
