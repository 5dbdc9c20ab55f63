"""Semi-supervised training: views, CutMix, the moving average, the losses, and which labels are never read."""

import json
import math
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.structures import PixelData
from mmseg.registry import MODELS, TRANSFORMS
from mmseg.structures import SegDataSample

from segloss.datasets import DATASETS, training_lists
from segloss.engine.semi_supervised import MeanTeacher, StrongView, cutmix, unlabelled_pipeline
from tests.conftest import run
from tests.engine.conftest import config_of
from tests.engine.test_cell import assert_same, counts

NAME = "phantom/unet-tiny/tiny/mt-8th/ce-jml/seed0"


def segmentor(**mean_teacher: object) -> torch.nn.Module:
    """A small segmentor with a mean teacher."""
    config = config_of(NAME).model
    config.mean_teacher = mean_teacher
    torch.manual_seed(0)
    return MODELS.build(config)


def samples(number: int, size: int = 32, box: tuple[int, ...] = (0, 0, 0, 0)) -> list[SegDataSample]:
    """Data samples of unlabelled images, valid everywhere but in the last row, which is padding."""
    shown = torch.zeros(1, size, size, dtype=torch.int64)
    shown[:, -1] = 255
    return [
        SegDataSample(gt_sem_seg=PixelData(data=shown.clone()), metainfo={"cutmix_box": box}) for _ in range(number)
    ]


def test_cutmix_by_hand() -> None:
    images = torch.arange(3).view(3, 1, 1, 1).expand(3, 2, 4, 5).clone()
    labels = images[:, 0]
    mixed, mixed_labels = cutmix((images, labels), [(0, 0, 0, 0), (1, 2, 3, 5), (0, 0, 4, 5)])
    expected = labels.clone()
    expected[1, 1:3, 2:5] = 0
    expected[2] = 1
    assert torch.equal(mixed_labels, expected)
    assert torch.equal(mixed, expected.unsqueeze(1).expand(3, 2, 4, 5))
    assert torch.equal(images[1], torch.ones(2, 4, 5, dtype=torch.int64))  # the inputs are unchanged


def test_boxes_are_inside_and_cover_their_share() -> None:
    np.random.seed(0)
    shares = []
    for _ in range(500):
        top, left, bottom, right = StrongView.box(48, 64)
        assert 0 <= top < bottom <= 48
        assert 0 <= left < right <= 64
        shares.append((bottom - top) * (right - left) / (48 * 64))
    assert min(shares) > 0.015
    assert 0.35 < max(shares) < 0.42
    view = StrongView(cutmix=0.25)
    image = np.full((48, 64, 3), 100, np.uint8)
    boxes = [view.transform({"img": image})["cutmix_box"] for _ in range(400)]
    assert 0.18 < np.mean([any(box) for box in boxes]) < 0.32


def test_the_weak_view_has_the_geometry_of_the_labelled_images_and_the_strong_one_too() -> None:
    """A strong view differs from the weak one in its colours only: the image's structure is at the same place."""
    pipeline = [
        dict(type="LoadImage"),
        dict(type="LoadLabel"),
        dict(type="RandomCrop", crop_size=(24, 24), cat_max_ratio=0.75),
        dict(type="RandomFlip", prob=0.5),
        dict(type="PhotoMetricDistortion"),
        dict(type="PackSegInputs"),
    ]
    steps = unlabelled_pipeline(pipeline, cutmix=0.5)
    assert [step["type"] for step in steps] == [
        "LoadImage",
        "WholeImageShown",
        "RandomCrop",
        "RandomFlip",
        "StrongView",
        "PackViews",
    ]
    rows, columns = np.mgrid[:48, :48]
    image = np.stack([(rows // 6 + columns // 9) % 2 * 200 + 20] * 3, -1).astype(np.uint8)
    correlations = []
    for seed in range(20):
        np.random.seed(seed)
        results = {"img": image, "seg_fields": [], "img_shape": image.shape[:2], "img_path": "", "ori_shape": (48, 48)}
        for step in steps[1:]:
            results = TRANSFORMS.build(step)(results)
        weak, strong = results["inputs"].float(), results["strong"].float()
        assert weak.shape == strong.shape == (3, 24, 24)
        assert results["data_samples"].gt_sem_seg.data.shape == (1, 24, 24)
        correlations.append(float(torch.corrcoef(torch.stack([weak.flatten(), strong.flatten()]))[0, 1]))
    assert min(correlations) > 0.5
    assert min(correlations) < 0.999


def test_the_average_follows_its_definition(in_workplace: Path) -> None:
    model = segmentor(momentum=0.7)
    teacher: MeanTeacher = model.mean_teacher
    averaged = dict([*teacher.average.named_parameters(), *teacher.average.named_buffers()])
    weights = {name: torch.zeros_like(value) for name, value in averaged.items()}
    for step in range(6):
        with torch.no_grad():
            for name, value in model.named_parameters():
                if not name.startswith("mean_teacher."):
                    value.add_(torch.randn_like(value))
            for buffer in model.backbone.buffers():
                buffer.add_(1)
        teacher.follow(model)
        alpha = min(1 - 1 / (step + 1), 0.7)
        student = dict([*model.named_parameters(), *model.named_buffers()])
        for name, value in weights.items():
            new = student[name].detach()
            weights[name] = alpha * value + (1 - alpha) * new if value.is_floating_point() else new.clone()
    assert any("running_mean" in name for name in averaged)
    for name, value in averaged.items():
        torch.testing.assert_close(value, weights[name])
        assert not value.requires_grad

    other = segmentor(momentum=0.7)
    other.load_state_dict(model.state_dict())
    assert other.mean_teacher.steps == 6
    assert torch.equal(next(other.mean_teacher.average.parameters()), next(teacher.average.parameters()))


@pytest.mark.parametrize("soft", [False, True])
def test_unlabelled_losses_against_a_slow_reference(in_workplace: Path, soft: bool) -> None:
    model = segmentor(threshold=0.3, soft=soft, weight=0.5)
    model.mean_teacher.follow(model)
    model.mean_teacher.progress = 0.5
    weak, strong = torch.randn(2, 2, 3, 32, 32)
    box = (3, 4, 20, 25)
    model.eval()
    losses = model.mean_teacher.losses(model, weak, strong, samples(2, box=box))

    with torch.no_grad():
        metas = [dict(img_shape=weak.shape[2:])] * 2
        teacher = torch.softmax(model.encode_decode(weak, metas), 1)
        mixed, mixed_teacher = strong.clone(), teacher.clone()
        valid = teacher.amax(1) >= 0.3
        valid[:, -1] = False
        mixed_valid = valid.clone()
        for image, other in ((0, 1), (1, 0)):
            place = (..., slice(3, 20), slice(4, 25))
            mixed[image][place], mixed_teacher[image][place] = strong[other][place], teacher[other][place]
            mixed_valid[image][place] = valid[other][place]
        log_p = torch.log_softmax(model.encode_decode(mixed, metas), 1).movedim(1, -1)[mixed_valid].double()
        target = mixed_teacher.movedim(1, -1)[mixed_valid].double()
        if not soft:
            target = torch.nn.functional.one_hot(target.argmax(1), target.shape[1]).double()
        p = log_p.exp()
        difference, total = (p - target).abs().sum(0), (p + target).sum(0)
        jml = 1 - ((total - difference) / 2 + 1e-3) / ((total + difference) / 2 + 1e-3)
        present = target.amax(0) > 0.01
        expected = 0.25 * -(target * log_p).sum(1).mean() + 0.75 * jml[present].mean()
    (name,) = [name for name in losses if "loss" in name]
    assert name.startswith("unlabelled.decode.")
    torch.testing.assert_close(losses[name].double(), 0.5 * expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(losses["unlabelled.kept"], valid.sum() / (2 * 31 * 32))
    assert 0 < float(losses["unlabelled.kept"]) < 1
    losses[name].backward()
    assert all(parameter.grad is None for parameter in model.mean_teacher.average.parameters())
    assert any(parameter.grad is not None for parameter in model.backbone.parameters())


def test_the_weight_grows(in_workplace: Path) -> None:
    teacher = segmentor(weight=2.0, ramp_up=0.4).mean_teacher
    weights = []
    for teacher.progress in (0.0, 0.2, 0.4, 0.9):
        weights.append(teacher.current_weight())
    assert weights == pytest.approx([2 * math.exp(-5), 2 * math.exp(-1.25), 2.0, 2.0])
    teacher.ramp_up = teacher.progress = 0.0
    assert teacher.current_weight() == 2.0


def test_lists_name_the_unlabelled_images_only(phantom: Path) -> None:
    dataset = DATASETS["phantom"]
    labelled, unlabelled = training_lists(dataset, phantom / "phantom", {"fraction": 0.125})
    everything = dataset.read_list(phantom / "phantom", "train")
    assert len(labelled) == round(len(everything) / 8)
    assert {entry[0] for entry in labelled + unlabelled} == {entry[0] for entry in everything}
    assert all(len(entry) == 1 for entry in unlabelled)


def own_labels(workplace: Path, line: str) -> None:
    """Define the scenario ``own`` by this line: cells of the same name have the same seed."""
    path = workplace / "configs/labels.yaml"
    kept = [text for text in path.read_text().splitlines() if not text.startswith("own:")]
    path.write_text("\n".join([*kept, f"own: {{title: Own, {line}}}", ""]))


@pytest.mark.slow
@pytest.mark.usefixtures("forked")
def test_labels_of_unlabelled_images_are_not_read_and_a_weight_of_zero_is_supervised_training(workplace: Path) -> None:
    cell = "phantom/unet-tiny/tiny/own/ce-jml/seed0"
    data = workplace / "data/phantom"
    original = data.resolve()
    data.unlink()
    subprocess.run(["cp", "-r", str(original), str(data)], check=True)

    def trained(results: str, line: str) -> dict[str, np.ndarray]:
        own_labels(workplace, line)
        run("segloss", "train", cell, "--results", results, cwd=workplace)
        return counts(workplace / results, cell)

    supervised = trained("supervised", "target: hard")
    all_labelled = trained("all", "target: hard, labelled: {fraction: 1.0}, mean_teacher: {weight: 0.0}")
    assert_same(all_labelled, supervised)

    # From here on there are no labels of unlabelled images.
    _, unlabelled = training_lists(DATASETS["phantom"], data, {"fraction": 0.125})
    labels = {entry[0]: entry[1:] for entry in DATASETS["phantom"].read_list(data, "train")}
    for (image,) in unlabelled:
        for label in labels[image]:
            (data / label).unlink()
    fewer = trained("fewer", "target: hard, labelled: {fraction: 0.125}")
    weightless = trained("weightless", "target: hard, labelled: {fraction: 0.125}, mean_teacher: {weight: 0.0}")
    assert_same(weightless, fewer)
    learned = trained("learned", "target: hard, labelled: {fraction: 0.125}, mean_teacher: {ramp_up: 0.0}")
    assert any(learned[name].tobytes() != fewer[name].tobytes() for name in fewer)
    rows = json.loads((workplace / "learned" / cell / "record.json").read_text())["training"]["rows"]
    assert all("train/unlabelled.decode.loss_compound" in row for row in rows)
    assert all(0 <= row["train/unlabelled.kept"] <= 1 for row in rows)


@pytest.mark.slow
@pytest.mark.usefixtures("forked")
def test_killed_and_resumed_it_is_the_same_cell(workplace: Path) -> None:
    from tests.engine.test_cell import start, wait_for_iteration

    run("segloss", "train", NAME, "--results", "undisturbed", cwd=workplace)
    process = start(workplace, "killed", NAME)
    wait_for_iteration(process, 9)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    run("segloss", "train", NAME, "--results", "killed", "--workers", "2", cwd=workplace)
    assert_same(counts(workplace / "killed", NAME), counts(workplace / "undisturbed", NAME))
    record = json.loads((workplace / "killed" / NAME / "record.json").read_text())
    assert record["training"]["started_at_iteration"] >= 8
