"""Counts of boundaries equal slow references with SciPy's distance transforms, and values worked out by hand."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from segloss.metrics import Boundaries, Counts, summarize

SQUARE, CROSS = np.ones((3, 3)), ndimage.generate_binary_structure(2, 1)


def blobs(images=3, classes=4, height=23, width=31, seed=0):
    """Smooth predictions, labels that resemble them, and void in blocks."""
    random = np.random.default_rng(seed)
    fields = ndimage.gaussian_filter(random.standard_normal((images, classes, height, width)), (0, 0, 2, 2)) * 20
    others = ndimage.gaussian_filter(random.standard_normal((images, classes, height, width)), (0, 0, 2, 2)) * 20
    valid = ndimage.gaussian_filter(random.standard_normal((images, height, width)), (0, 2, 2)) > -0.15
    labels = (fields + 0.5 * others).argmax(1)
    return torch.from_numpy(fields).softmax(1), torch.from_numpy(labels), torch.from_numpy(valid)


def counted(probabilities, labels, valid=None, **distances):
    counts = Counts(probabilities.shape[1], classwise=False, boundaries=Boundaries(**distances))
    counts.update(probabilities, labels, valid)
    return counts


def share(part, whole):
    return part / whole if whole else math.nan


def mean(values):
    return np.nanmean(values) if not np.isnan(values).all() else math.nan


def masks(probabilities, labels, valid, c):
    """For each image the true and the predicted mask of a class, and void."""
    return [
        ((label == c) & v, (p.argmax(0) == c) & v, ~v)
        for p, label, v in zip(probabilities.numpy(), labels.numpy(), valid.numpy(), strict=True)
    ]


@pytest.mark.parametrize("width", [0.01, 0.05, 0.2, 0.9])
def test_boundary_iou_is_that_of_repeated_erosions(width):
    probabilities, labels, valid = blobs()
    steps = max(1, round(width * math.hypot(23, 31)))
    scores = []
    for c in range(4):
        both = either = 0
        for true, predicted, void in masks(probabilities, labels, valid, c):
            # an erosion that treats void as inside, and everything beyond the image as outside
            regions = [m & ~ndimage.binary_erosion(m | void, SQUARE, iterations=steps) for m in (true, predicted)]
            both += (regions[0] & regions[1]).sum()
            either += (regions[0] | regions[1]).sum()
        scores.append(share(both, either))
    measured = summarize(counted(probabilities, labels, valid, iou_width=width))["mBoundaryIoU"]
    assert measured == pytest.approx(100 * mean(scores), rel=1e-12)


@pytest.mark.parametrize("tolerance", [0, 1, 1.5, 2, 4])
def test_surface_dice_is_that_of_distance_transforms(tolerance):
    probabilities, labels, valid = blobs(seed=1)
    near, total = np.zeros((4, 3)), np.zeros((4, 3))
    for c in range(4):
        for image, (true, predicted, void) in enumerate(masks(probabilities, labels, valid, c)):
            far_from_void = ndimage.distance_transform_edt(~void) > tolerance if void.any() else ~void
            surfaces = [m & ~ndimage.binary_erosion(m | void, CROSS) for m in (true, predicted)]
            for surface, other in (surfaces, surfaces[::-1]):
                counted_pixels = surface & far_from_void
                distance = ndimage.distance_transform_edt(~other) if other.any() else np.full(other.shape, np.inf)
                near[c, image] += (distance[counted_pixels] <= tolerance).sum()
                total[c, image] += counted_pixels.sum()
    measured = summarize(counted(probabilities, labels, valid, surface_tolerance=tolerance))
    by_class = [share(a, b) for a, b in zip(near.sum(1), total.sum(1), strict=True)]
    by_image = [mean([share(near[c, i], total[c, i]) for c in range(4)]) for i in range(3)]
    assert measured["mNSD"] == pytest.approx(100 * mean(by_class), rel=1e-12)
    assert measured["mNSD_I"] == pytest.approx(100 * mean(by_image), rel=1e-12)


@pytest.mark.parametrize("tolerance", [0, 0.03, 0.08])
def test_edges_at_each_threshold_are_those_of_distance_transforms(tolerance):
    probabilities, labels, valid = blobs(classes=2, seed=2)
    raters = torch.stack([labels, labels.roll(1, 2)], 1)
    present = torch.tensor([[True, True], [True, False], [True, True]])
    counts = Counts(2, classwise=False, boundaries=Boundaries(edge_tolerance=tolerance))
    counts.update(probabilities, labels, valid, raters=raters, present=present)
    radius = tolerance * math.hypot(23, 31)
    table = np.zeros((4, 3, 99))
    for image in range(3):
        v, p = valid[image].numpy(), probabilities[image, 1].numpy()
        edges = [(raters[image, r].numpy() == 1) & v for r in range(2) if present[image, r]]
        to_any = ndimage.distance_transform_edt(~np.any(edges, 0))
        for number in range(99):
            cut = (p >= (number + 1) / 100) & v
            to_cut = ndimage.distance_transform_edt(~cut) if cut.any() else np.full(cut.shape, np.inf)
            table[:, image, number] = (
                (cut & (to_any <= radius)).sum(),
                cut.sum(),
                sum((edge & (to_cut <= radius)).sum() for edge in edges),
                sum(edge.sum() for edge in edges),
            )

    def f(precise, predicted, recalled, true):
        precision, recall = share(precise, predicted), share(recalled, true)
        return 2 * precision * recall / (precision + recall) if precise and recalled else 0.0

    ods = max(f(*table[:, :, number].sum(1)) for number in range(99))
    best = [max(range(99), key=lambda number, i=i: f(*table[:, i, number])) for i in range(3)]
    ois = f(*sum(table[:, i, number] for i, number in enumerate(best)))
    measured = summarize(counts)
    assert measured["ODS"] == pytest.approx(100 * ods, rel=1e-12)
    assert measured["OIS"] == pytest.approx(100 * ois, rel=1e-12)
    assert measured["OIS"] >= measured["ODS"] - 5


def moved_square():
    """A square of 4x4 in 8x8, predicted with .9 one column further right."""
    labels = torch.zeros(1, 8, 8, dtype=torch.int64)
    labels[0, 2:6, 2:6] = 1
    foreground = torch.full((1, 8, 8), 0.1, dtype=torch.float64)
    foreground[0, 2:6, 3:7] = 0.9
    return torch.stack([1 - foreground, foreground], 1), labels


def test_a_moved_square_by_hand():
    probabilities, labels = moved_square()
    diagonal = math.hypot(8, 8)
    for width, foreground, background in ((1, 6 / 18, 38 / 52), (2, 12 / 20, 44 / 52)):
        measured = summarize(counted(probabilities, labels, iou_width=width / diagonal))["mBoundaryIoU"]
        assert measured == pytest.approx(50 * (foreground + background), rel=1e-14)
    rows = counted(probabilities, labels, surface_tolerance=0).rows
    names = ("true_near", "true", "predicted_near", "predicted")
    assert [rows[f"surface_{name}"][0, 1] for name in names] == [6, 12, 6, 12]
    assert summarize(counted(probabilities, labels, surface_tolerance=1))["mNSD"] == 100
    measured = summarize(counted(probabilities, labels, edge_tolerance=0))
    assert measured["ODS"] == measured["OIS"] == pytest.approx(75, rel=1e-14)  # 12 of 16 both ways
    assert summarize(counted(probabilities, labels, edge_tolerance=1 / diagonal))["ODS"] == 100


def test_each_image_may_have_its_own_threshold():
    """Image 1 is best at .2, image 2 at .6: ODS uses one, OIS both, and sums counts before F."""
    p = torch.tensor([[[0.25, 0.25, 0.1, 0.1]], [[0.65, 0.3, 0.3, 0.3]]], dtype=torch.float64)
    labels = torch.tensor([[[1, 1, 0, 0]], [[1, 0, 0, 0]]])
    measured = summarize(counted(torch.stack([1 - p, p], 1), labels, edge_tolerance=0))
    # at .25 and below: 3 right of 6 predicted and 3 true; at .3: 1 of 4 and 3; above: 1 of 1 and 3
    assert measured["ODS"] == pytest.approx(100 * 2 * 0.5 * 1 / 1.5, rel=1e-14)
    assert measured["OIS"] == 100


def test_an_empty_class_is_left_out_and_a_missed_one_counts_zero():
    labels = torch.zeros(1, 6, 6, dtype=torch.int64)
    background = torch.nn.functional.one_hot(labels, 3).movedim(-1, 1).double()
    distances = dict(iou_width=0.1, surface_tolerance=1)
    assert summarize(counted(background, labels, **distances))["mNSD"] == 100
    labels[0, 2:4, 2:4] = 1
    rows = counted(background, labels, **distances).rows
    assert rows["surface_true"][0].tolist() == [28, 4, 0]  # 20 at the border, 8 beside the square
    assert rows["surface_true_near"][0, 1] == 0
    labels = torch.zeros(1, 6, 6, dtype=torch.int64)
    empty = torch.stack([torch.ones(1, 6, 6), torch.zeros(1, 6, 6)], 1)
    assert "ODS" not in summarize(counted(empty, labels, edge_tolerance=0))


def test_void_is_no_boundary_and_its_content_does_not_matter():
    labels = torch.zeros(1, 9, 9, dtype=torch.int64)
    labels[0, 3:6, 3:6] = 1
    valid = labels == 0
    background = torch.nn.functional.one_hot(torch.zeros_like(labels), 2).movedim(-1, 1).double()
    rows = counted(background, labels, valid, iou_width=0.1, surface_tolerance=0).rows
    assert rows["region_true"].tolist() == rows["region_predicted"].tolist() == [[32, 0]]  # the border of the image
    assert rows["surface_true"].tolist() == [[32, 0]]
    distances = dict(iou_width=0.1, surface_tolerance=1.5)
    probabilities, labels, valid = blobs(seed=3)
    first = counted(probabilities, labels, valid, **distances)
    probabilities.movedim(1, -1)[~valid] = math.nan
    assert counted(probabilities, torch.where(valid, labels, 255), valid, **distances) == first


def test_boundaries_merge_save_and_are_refused_when_they_differ(tmp_path):
    probabilities, labels, valid = blobs(classes=2)
    boundaries = Boundaries(0.02, 2.0, 0.0075)
    whole, merged = Counts(2, boundaries=boundaries), Counts(2, boundaries=boundaries)
    whole.update(probabilities, labels, valid, ["a", "b", "c"])
    for image in (2, 0, 1):
        single = slice(image, image + 1)
        part = Counts(2, boundaries=boundaries)
        part.update(probabilities[single], labels[single], valid[single], ["abc"[image]])
        merged.merge(part)
    assert merged == whole
    whole.save(tmp_path / "counts.npz")
    read = Counts.load(tmp_path / "counts.npz")
    assert read == whole
    assert read.boundaries == boundaries
    assert summarize(read) == summarize(merged)
    with pytest.raises(ValueError, match="cannot merge counts with boundaries Boundaries"):
        whole.merge(Counts(2))
    with pytest.raises(ValueError, match="defined for two classes, background and boundary, got 3"):
        Counts(3, boundaries=Boundaries(edge_tolerance=0.01))
    for wrong, sentence in (
        (dict(iou_width=2), r"iou_width must be a share of the diagonal, in \[0, 1\), got 2"),
        (dict(surface_tolerance=-1), "surface_tolerance must be pixels, at least 0, got -1"),
        (dict(edge_tolerance=math.nan), "edge_tolerance must be a share of the diagonal"),
    ):
        with pytest.raises(ValueError, match=sentence):
            Boundaries(**wrong)
