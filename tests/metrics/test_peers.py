"""Agreement with other libraries where they are right; where they are not, the reason is given."""

import numpy as np
import pytest
import torch
from test_counts import batch, counted

from segloss.engine.mmcv_stub import declare_torchvision_operators
from segloss.metrics import per_class, summarize


def test_overlap_agrees_with_mmsegmentation():
    metric = pytest.importorskip("mmseg.evaluation.metrics").IoUMetric
    probabilities, labels, valid, _ = batch(classes=6)
    ours = summarize(counted(probabilities, labels, valid))
    labels = torch.where(valid, labels, 255)
    areas = [
        metric.intersect_and_union(image.argmax(0), label, 6, 255)
        for image, label in zip(probabilities, labels, strict=True)
    ]
    totals = [torch.stack(area).sum(0) for area in zip(*areas, strict=True)]
    theirs = metric.total_area_to_metrics(*totals, ["mIoU", "mDice"])
    # they count in float32 and report two decimals: compared before rounding
    for name in ("IoU", "Dice", "Acc"):
        assert 100 * np.mean(theirs[name]) == pytest.approx(ours[f"m{name}"], rel=1e-6)
    assert 100 * theirs["aAcc"] == pytest.approx(ours["aAcc"], rel=1e-6)


def test_overlap_and_likelihood_agree_with_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    probabilities, labels, valid, _ = batch(classes=4, dtype=torch.float64)
    counts = counted(probabilities, labels, valid)
    ours = summarize(counts)
    label = labels[valid].numpy()
    flat = probabilities.movedim(1, -1)[valid].numpy()
    predicted = flat.argmax(1)
    assert np.array_equal(counts.totals["confusion"], metrics.confusion_matrix(label, predicted))
    assert ours["aAcc"] == pytest.approx(100 * metrics.accuracy_score(label, predicted), rel=1e-12)
    assert ours["mAcc"] == pytest.approx(100 * metrics.balanced_accuracy_score(label, predicted), rel=1e-12)
    assert ours["mIoU"] == pytest.approx(100 * metrics.jaccard_score(label, predicted, average="macro"), rel=1e-12)
    dice = metrics.f1_score(label, predicted, average=None)
    assert list(per_class(counts)["Dice"].values()) == pytest.approx(100 * dice, rel=1e-12)
    assert ours["NLL"] == pytest.approx(metrics.log_loss(label, flat), rel=1e-12)


def test_calibration_agrees_with_torchmetrics_on_few_pixels_below_confidence_one():
    """On more pixels its float32 bins lose digits, and a confidence of exactly 1 gets a bin of its own there."""
    declare_torchvision_operators()  # torchmetrics imports torchvision
    calibration_error = pytest.importorskip("torchmetrics.functional.classification").multiclass_calibration_error
    probabilities, labels, valid, _ = batch(classes=4)
    flat = probabilities.movedim(1, -1)[valid]
    ours = summarize(counted(probabilities, labels, valid))
    for norm, name in (("l1", "ECE"), ("max", "MCE")):
        theirs = calibration_error(flat, labels[valid], num_classes=4, n_bins=10, norm=norm)
        assert 100 * theirs.item() == pytest.approx(ours[name], rel=1e-5)
