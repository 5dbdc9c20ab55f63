"""Every metric equals its slow float64 reference to 1e-12, on random and on adversarial predictions."""

import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from reference import adaptive_error, reference, soft_reference

from segloss.metrics import (
    METRICS,
    Boundaries,
    Counts,
    absent_classes,
    find_metric,
    per_class,
    per_image,
    per_rater,
    reliability,
    summarize,
)
from segloss.metrics._accumulate import bin_index, fine_bin
from segloss.metrics._hard import largest_class
from segloss.metrics.reference import metrics_markdown


def random_case(images, classes, seed, dtype, sharpness=3.0, side=9):
    generator = torch.Generator().manual_seed(seed)
    logits = sharpness * torch.randn(images, classes, side, side, generator=generator, dtype=torch.float64)
    labels = torch.randint(classes, (images, side, side), generator=generator)
    valid = torch.rand(images, side, side, generator=generator) > 0.3
    return logits.softmax(1).to(dtype), labels, valid


def one_hot(labels, classes, dtype=torch.float32):
    return torch.nn.functional.one_hot(labels, classes).movedim(-1, 1).to(dtype)


def absent(probabilities, labels, index):
    """Class `index` neither labelled nor predicted."""
    probabilities = probabilities.clone()
    probabilities[:, index] = 0
    return probabilities / probabilities.sum(1, keepdim=True), torch.where(labels == index, 0, labels)


def cases():
    for dtype in (torch.float16, torch.float32, torch.float64):
        yield f"random {dtype}", random_case(4, 5, 0, dtype)
    yield "more images than 20", random_case(43, 3, 1, torch.float32, side=4)
    yield "binary", random_case(6, 2, 2, torch.float64)
    p, y, v = random_case(3, 10, 3, torch.float32)
    yield "uniform: confidence .1 and ties", (torch.full_like(p, 0.1), y, v)
    yield "uniform in float64", (torch.full_like(p, 0.1, dtype=torch.float64), y, v)
    yield "confidence 1, all right", (one_hot(y, 10), y, v)
    yield "confidence 1, all wrong: probability of the label 0", (one_hot((y + 1) % 10, 10), y, v)
    yield "one class only", (one_hot(torch.zeros_like(y), 10), torch.zeros_like(y), v)
    yield "one image all void", (p, y, torch.stack([v[0], torch.zeros_like(v[0]), v[2]]))
    yield "a class absent", (*absent(p, y, 4), v)
    yield "a class predicted, never labelled", (p, torch.where(y == 4, 0, y), v)
    foreground = torch.arange(81).view(1, 1, 9, 9) / 100
    edges = torch.cat([foreground.double(), 1 - foreground.double()], 1)
    y, v = torch.arange(81).view(1, 9, 9) % 2, torch.ones(1, 9, 9, dtype=torch.bool)
    yield "on the edges of the bins, float64", (edges, y, v)
    exact = torch.arange(81, dtype=torch.float64).view(1, 1, 9, 9) / 100
    yield "on the edges of the bins, k/100 in float64", (torch.cat([exact, 1 - exact], 1), y, v)
    yield "on the edges of the bins, float32", (torch.cat([exact, 1 - exact], 1).float(), y, v)
    yield "binary, all empty", (one_hot(torch.zeros_like(y), 2), torch.zeros_like(y), v)
    two = torch.cat([torch.zeros_like(y), y])
    yield "binary, one image empty", (one_hot(two.roll(1, -1), 2).roll(0), two, v.expand(2, 9, 9))


CASES = dict(cases())


def to_pixels(values, valid):
    """Per image, the list of `values` (B, ...) at valid pixels, channels last for floats."""
    last = values.double().movedim(1, -1) if values.is_floating_point() else values
    return [image[mask].tolist() for image, mask in zip(last, valid, strict=True)]


def compare(measured, expected):
    assert measured.keys() == expected.keys()
    for name, value in expected.items():
        assert measured[name] == pytest.approx(value, rel=1e-12, abs=1e-12), name


@pytest.mark.parametrize("name", CASES)
def test_every_metric_equals_its_definition(name):
    probabilities, labels, valid = CASES[name]
    classes = probabilities.shape[1]
    counts = Counts(classes)
    counts.update(probabilities, labels, valid)
    images = [
        list(zip(*image, strict=True))
        for image in zip(to_pixels(labels, valid), to_pixels(probabilities, valid), strict=True)
    ]
    measured, expected = summarize(counts), reference(images, classes)
    # Confidences within one fine bin are ties: at most twice the mass of the bins that a quantile divides.
    adaptive = expected.pop("aECE")
    assert measured.pop("aECE") == pytest.approx(adaptive, abs=200 * divided_mass(counts) + 1e-10)
    compare(measured, expected)


def divided_mass(counts):
    """Share of the pixels in fine bins that hold a quantile and pixels of different confidence; nine at most."""
    pixels = counts.totals["fine_histogram"].sum(0)
    return np.sort(pixels)[-9:].sum() / pixels.sum()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_adaptive_error_is_exact_where_no_fine_bin_holds_two_confidences(dtype):
    """Confidences in steps of 1/128 up to 1, as of a trained network, saturated at the end."""
    generator = torch.Generator().manual_seed(0)
    levels = torch.tensor([0.5, 0.625, 0.75, 0.875, 0.9375, 0.96875, 0.984375, 0.9921875, 1, 1, 1, 1], dtype=dtype)
    confidence = levels[torch.randint(len(levels), (2, 1, 20, 30), generator=generator)]
    labels = (torch.rand(2, 20, 30, generator=generator) < 0.7).long()
    counts = Counts(2)
    counts.update(torch.cat([1 - confidence, confidence], 1), labels)
    predicted = (confidence > 0.5).long().flatten()
    pairs = list(zip(confidence.flatten().tolist(), (predicted == labels.flatten()).tolist(), strict=True))
    assert summarize(counts)["aECE"] == pytest.approx(100 * adaptive_error(pairs), rel=1e-12)


def test_the_fine_bins_rise_with_the_confidence_and_halve_their_width():
    confidence = torch.cat([torch.linspace(0, 1, 4097, dtype=torch.float64), 1 - 2.0 ** -torch.arange(60).double()])
    confidence = confidence.sort().values
    bins = fine_bin(confidence)
    assert (bins.diff() >= 0).all()
    assert bins.min() == 0
    assert fine_bin(torch.tensor([1.0, 1 + 1e-9, 1 - 2.0**-24], dtype=torch.float64)).tolist() == [768, 768, 767]
    # 32 bins between .5 and .75 (half of the octave from 1 - p = .5 to .25), and 32 to .875
    inside = torch.tensor([0.5 + 1e-6, 0.75, 0.75 + 1e-6, 0.875], dtype=torch.float64)
    assert fine_bin(inside).diff().tolist() == [31, 1, 31]


def test_calibration_of_four_pixels_by_hand():
    """z = (2,1,0), (0,2,1), (1,0,3), (0,1,1), labels 0, 1, 0, 2: confidences .665, .665, .844, .422; two are right."""
    logits = torch.tensor([[2, 1, 0], [0, 2, 1], [1, 0, 3], [0, 1, 1]], dtype=torch.float64)
    counts = Counts(3)
    counts.update(logits.softmax(1).T.reshape(1, 3, 2, 2), torch.tensor([[[0, 1], [0, 2]]]))
    metrics = summarize(counts)
    assert metrics["ECE"] == pytest.approx(48.3908, abs=5e-5)
    assert metrics["ACE"] == pytest.approx(53.3624, abs=5e-5)
    assert per_class(counts)["Precision"] == {0: 100.0, 1: 50.0, 2: 0.0}
    assert per_class(counts)["Acc"] == {0: 50.0, 1: 100.0, 2: 0.0}
    assert metrics["mPrecision"] == 50


@pytest.mark.parametrize("name", CASES)
def test_every_soft_metric_equals_its_definition(name):
    probabilities, labels, valid = CASES[name]
    classes = probabilities.shape[1]
    others = probabilities.roll(1, 2).flip(0)
    sharp = one_hot(labels, classes, torch.float64)
    for truth in (others, sharp, (0.5 * others + 0.5 * sharp).to(torch.float64), probabilities):
        counts = Counts(classes, classwise=False)
        counts.update(probabilities, labels, valid, truth=truth)
        images = [
            list(zip(*image, strict=True))
            for image in zip(to_pixels(truth, valid), to_pixels(probabilities, valid), strict=True)
        ]
        tenths = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9], dtype=torch.float64)
        thresholds = list(zip(tenths.to(truth.dtype).tolist(), tenths.to(probabilities.dtype).tolist(), strict=True))
        expected = soft_reference(images, classes, thresholds)
        measured = {key: value for key, value in summarize(counts).items() if key in expected}
        compare(measured, expected)
        if truth is probabilities:
            assert measured["KL"] == 0
            assert measured["mDice_soft"] == 100


def test_images_whose_truth_reaches_no_threshold_are_left_out():
    truth = torch.full((2, 12, 1, 1), 1 / 12)
    labels = torch.zeros(2, 1, 1, dtype=torch.int64)
    counts = Counts(12)
    counts.update(truth, labels, truth=truth)
    assert "Dice_thresholds" not in summarize(counts)
    counts.update(truth[:1], labels[:1], truth=one_hot(labels[:1], 12))
    assert summarize(counts)["Dice_thresholds"] == 0


@pytest.mark.parametrize("classes", [2, 255, 256, 700])
def test_ties_go_to_the_lowest_class_however_many_there_are(classes):
    generator = torch.Generator().manual_seed(0)
    chunk = torch.randint(3, (2, classes, 50), generator=generator).double()
    chunk[:, -1] = torch.where(torch.arange(50) % 2 == 0, 5, 0)
    largest, first = largest_class(chunk)
    assert torch.equal(largest, chunk.amax(1))
    assert first.tolist() == [[column.tolist().index(max(column)) for column in image.T] for image in chunk]


@pytest.mark.parametrize("bins", [10, 100])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_bins_are_closed_on_the_left_to_the_last_bit(dtype, bins):
    edges = (torch.arange(bins + 1, dtype=torch.float64) / bins).to(dtype)
    values = torch.cat([edges, edges.nextafter(-edges).clamp(min=0), edges.nextafter(2 * edges + 1)])
    indices = bin_index(values.double(), bins, dtype)
    for value, index in zip(values.double().tolist(), indices.tolist(), strict=True):
        # float64 k/bins is the edge itself; any other float lies on one side of the exact k/bins
        low, high = (Fraction((index + side) / bins) for side in (0, 1))
        assert low <= value
        assert value < high or index == bins - 1


def test_seven_of_ten_raters_reach_the_threshold_of_seven_tenths_in_every_type():
    votes = torch.arange(1, 10).view(1, 1, 3, 3)
    for dtype in (torch.float16, torch.float32, torch.float64):
        share = votes.to(dtype) / 10
        truth = torch.cat([1 - share, share], 1)
        counts = Counts(2, classwise=False)
        counts.update(
            one_hot(torch.ones(1, 3, 3, dtype=torch.int64), 2), torch.ones(1, 3, 3, dtype=torch.int64), truth=truth
        )
        # every probability reaches every threshold; k/10 is reached by the truth of 10 - k of the 9 pixels
        expected = np.mean([2 * (10 - k) / (9 + 10 - k) for k in range(1, 10)])
        assert summarize(counts)["Dice_thresholds"] == pytest.approx(100 * expected, rel=1e-14)


def test_dice_against_each_rater_is_the_dice_against_it_as_the_label():
    probabilities, labels, valid = CASES["random torch.float32"]
    raters = torch.stack([labels, (labels + 1) % 5, torch.where(labels == 2, 0, labels)], 1)
    counts = Counts(5)
    counts.update(probabilities, labels, valid, raters=torch.where(valid[:, None], raters, 255))
    scores = per_rater(counts)
    assert len(scores) == 3
    for rater, score in enumerate(scores):
        alone = Counts(5)
        alone.update(probabilities, raters[:, rater], valid)
        assert score == {name: summarize(alone)[name] for name in ("mIoU", "mDice")}
    assert summarize(counts)["mDice_raters"] == pytest.approx(np.mean([score["mDice"] for score in scores]), rel=1e-15)


def test_two_raters_of_a_binary_task_by_hand():
    label = torch.tensor([[[1, 1, 0, 0]]])
    raters = torch.tensor([[[[1, 1, 1, 0]], [[0, 0, 0, 0]]]])
    counts = Counts(2)
    counts.update(one_hot(label, 2), label, raters=raters)
    first, second = per_rater(counts)
    assert first["Dice_fg"] == pytest.approx(80, rel=1e-15)
    assert first["IoU_fg"] == pytest.approx(200 / 3, rel=1e-15)
    assert second["Dice_fg"] == 0
    alone = Counts(2)
    alone.update(one_hot(label, 2), label)
    with pytest.raises(ValueError, match="have no raters"):
        per_rater(alone)


def test_absent_classes_are_listed_and_left_out():
    counts = Counts(10)
    counts.update(*CASES["a class absent"])
    assert absent_classes(counts) == [4]
    scores = per_class(counts)
    assert 4 not in scores["IoU"]
    assert np.mean(list(scores["IoU"].values())) == pytest.approx(summarize(counts)["mIoU"], rel=1e-14)
    counts = Counts(10)
    counts.update(*CASES["a class predicted, never labelled"])
    assert absent_classes(counts) == []
    assert per_class(counts)["IoU"][4] == 0
    assert 4 not in per_class(counts)["Acc"]


def test_images_keep_their_names_and_average_to_the_image_level():
    probabilities, labels, valid = CASES["more images than 20"]
    names = [f"image {(7 * index) % 43:02}" for index in range(43)]
    counts = Counts(3)
    counts.update(probabilities, labels, valid, names)
    columns = per_image(counts)
    assert columns["name"].tolist() == sorted(names)
    for name in ("mIoU_I", "mDice_I", "ECE_I"):
        assert columns[name].mean() == pytest.approx(summarize(counts)[name], rel=1e-13)
    for name in ("NLL", "Brier", "aAcc"):
        assert np.average(columns[name], weights=columns["pixels"]) == pytest.approx(summarize(counts)[name], rel=1e-13)
    for index in (0, 11):
        alone = Counts(3)
        alone.update(probabilities[index, None], labels[index, None], valid[index, None])
        where = columns["name"].tolist().index(names[index])
        assert columns["mIoU_I"][where] == summarize(alone)["mIoU_I"]


def test_reliability_diagram_gives_the_calibration_error():
    counts = Counts(5)
    counts.update(*CASES["random torch.float32"])
    diagram = reliability(counts)
    gap = np.abs(diagram["accuracy"] - diagram["confidence"])
    assert 100 * np.average(gap, weights=diagram["pixels"]) == pytest.approx(summarize(counts)["ECE"], rel=1e-13)


def test_the_catalogue_describes_exactly_what_is_computed():
    computed = set()
    for name in ("random torch.float32", "binary"):
        probabilities, labels, valid = CASES[name]
        edges = 0.01 if name == "binary" else None
        counts = Counts(probabilities.shape[1], boundaries=Boundaries(0.05, 1, edges))
        counts.update(probabilities, labels, valid, truth=probabilities, raters=labels[:, None])
        computed |= summarize(counts).keys()
    assert computed == METRICS.keys()
    for name, metric in METRICS.items():
        assert metric.name == name
        assert re.fullmatch(r".+, \d{4}, https://\S+", metric.source), metric.source
    scaled = find_metric("NLL_scaled")
    assert (scaled.title, scaled.decimals, scaled.name) == ("NLL, scaled (nats) ↓", 4, "NLL_scaled")
    assert find_metric("mIoU") is METRICS["mIoU"]
    for unknown in ("miou", "mIoU_best", "ECE_"):
        with pytest.raises(ValueError, match=f"there is no metric '{unknown}'.*; there are aAcc, "):
            find_metric(unknown)


def test_the_document_is_written_from_the_catalogue():
    text = metrics_markdown()
    assert (Path(__file__).parents[2] / "docs/metrics.md").read_text(encoding="utf-8") == text
    for name in METRICS:
        assert f"| `{name}` |" in text
    assert len({len(re.split(r"(?<!\\)\|", line)) for line in text.splitlines() if line.startswith("|")}) == 1


@pytest.mark.parametrize("name", [name for name, metric in METRICS.items() if "raters" not in name and name != "SCE_I"])
def test_the_stated_direction_prefers_the_truth_to_noise(name):
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(2, (4, 16, 16), generator=generator)
    noise = torch.randn(4, 2, 16, 16, generator=generator).mul(3).softmax(1)
    values = []
    for probabilities in (one_hot(labels, 2), noise):
        counts = Counts(2, boundaries=Boundaries(0.05, 1, 0))
        counts.update(probabilities, labels, truth=one_hot(labels, 2))
        values.append(summarize(counts)[name])
    assert (values[0] > values[1]) == (METRICS[name].direction == "higher")
