"""Targets from class maps against values by hand and slow references."""

import itertools
import math

import pytest
import torch
from torch.overrides import TorchFunctionMode

from segloss.labels import boundary_smoothing, gaussian_smoothing, hard, uniform_smoothing


def maps(spatial=(13, 16), num_classes=5, patch=3, seed=1):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(num_classes, (2, *spatial), generator=generator)
    for axis in range(1, labels.ndim):
        labels = labels.index_select(axis, torch.arange(labels.shape[axis]) // patch)
    valid = torch.rand(labels.shape, generator=generator) > 0.03
    return labels.masked_fill(~valid, 255), valid


def smoothed_slowly(labels, valid, num_classes, epsilon, kernel_size):
    """Boundary smoothing pixel by pixel in float64, from its definition."""
    target = torch.zeros(labels.shape[0], num_classes, *labels.shape[1:], dtype=torch.float64)
    reach = range(-(kernel_size // 2), kernel_size // 2 + 1)
    for position in itertools.product(*(range(size) for size in labels.shape)):
        image, class_id = position[0], int(labels[position])
        if not valid[position]:
            continue
        window = []
        for offset in itertools.product(reach, repeat=labels.ndim - 1):
            other = tuple(p + o for p, o in zip(position[1:], offset, strict=True))
            if all(0 <= p < size for p, size in zip(other, labels.shape[1:], strict=True)):
                window.append((image, *other))
        near_void = any(not valid[other] for other in window)
        boundary = not near_void and any(int(labels[other]) != class_id for other in window)
        smoothing = epsilon if boundary else 0.0
        target[(image, slice(None), *position[1:])] = smoothing / num_classes
        target[(image, class_id, *position[1:])] += 1 - smoothing
    return target


def test_hard_is_the_map():
    labels, valid = maps()
    target, kept = hard(labels, valid, 5)
    assert torch.equal(target[valid], labels[valid])
    assert (target[~valid] == 0).all()
    assert torch.equal(kept, valid)


def test_uniform_smoothing_by_hand():
    target, _ = uniform_smoothing(torch.tensor([[2, 0]]), torch.tensor([[True, True]]), 4, epsilon=0.2)
    torch.testing.assert_close(target[0], torch.tensor([[0.05, 0.85], [0.05, 0.05], [0.85, 0.05], [0.05, 0.05]]))


def test_boundary_smoothing_by_hand():
    """Two classes, a void pixel at the left: only the pair astride the boundary is smoothed."""
    labels = torch.tensor([[255, 0, 0, 0, 1, 1, 1]])
    target, kept = boundary_smoothing(labels, labels != 255, 2)
    assert kept.tolist() == [[False, True, True, True, True, True, True]]
    assert target[0, 1, 1:].tolist() == [0, 0, 0.25, 0.75, 1, 1]
    # With a window of 5 two pixels on each side are smoothed, except where void comes within 2.
    target, _ = boundary_smoothing(labels, labels != 255, 2, epsilon=1.0, kernel_size=5)
    assert target[0, 1, 1:].tolist() == [0, 0, 0.5, 0.5, 0.5, 1]


def test_image_border_is_no_boundary():
    for value in (0, 3):
        labels = torch.full((1, 6, 7), value)
        target, _ = boundary_smoothing(labels, torch.ones_like(labels, dtype=torch.bool), 4, kernel_size=5)
        assert (target[:, value] == 1).all()
        assert target.sum() == labels.numel()


def test_higher_and_lower_neighbours_both_count():
    labels = torch.tensor([[1, 1, 1, 3, 3, 3, 0, 0, 0]])
    target, _ = boundary_smoothing(labels, torch.ones_like(labels, dtype=torch.bool), 4)
    smoothed = (target[0].max(0).values < 1).tolist()
    assert smoothed == [False, False, True, True, False, True, True, False, False]


@pytest.mark.parametrize("kernel_size", [1, 3, 5, 7])
@pytest.mark.parametrize("spatial", [(19,), (13, 16), (6, 7, 5)])
def test_boundary_smoothing_against_slow_reference(spatial, kernel_size):
    labels, valid = maps(spatial)
    target, _ = boundary_smoothing(labels, valid, 5, epsilon=0.3, kernel_size=kernel_size)
    expected = smoothed_slowly(labels, valid, 5, 0.3, kernel_size)
    torch.testing.assert_close(target.movedim(1, -1)[valid].double(), expected.movedim(1, -1)[valid], rtol=0, atol=1e-7)
    if kernel_size == 3:
        assert 0 < (expected.amax(1)[valid] < 1).double().mean() < 1


def test_boundary_smoothing_is_uniform_smoothing_where_every_pixel_is_a_boundary():
    labels = torch.arange(12).view(1, 3, 4) % 2
    valid = torch.ones_like(labels, dtype=torch.bool)
    boundary, _ = boundary_smoothing(labels, valid, 2, epsilon=0.1)
    uniform, _ = uniform_smoothing(labels, valid, 2, epsilon=0.1)
    assert torch.equal(boundary, uniform)


def test_boundary_smoothing_needs_no_second_target(monkeypatch):
    """With 150 classes no tensor of the target's size is made besides the target."""
    labels = torch.randint(150, (1, 32, 32))
    results = []  # kept alive, so that no memory is reused

    class Sizes(TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            results.append(result)
            return result

    with Sizes():
        boundary_smoothing(labels, torch.ones_like(labels, dtype=torch.bool), 150)
    tensors = [result for result in results if isinstance(result, torch.Tensor)]
    large = {
        tensor.untyped_storage().data_ptr() for tensor in tensors if tensor.untyped_storage().nbytes() > 60 * 32**2
    }
    assert len(large) == 1


def blurred_slowly(labels, valid, num_classes, sigma, kernel_size, own_weight):
    """Gaussian smoothing pixel by pixel in float64, from its definition."""
    target = torch.zeros(labels.shape[0], num_classes, *labels.shape[1:], dtype=torch.float64)
    reach = range(-(kernel_size // 2), kernel_size // 2 + 1)
    for position in itertools.product(*(range(size) for size in labels.shape)):
        if not valid[position]:
            continue
        shares = torch.zeros(num_classes, dtype=torch.float64)
        for offset in itertools.product(reach, repeat=labels.ndim - 1):
            other = (position[0], *(p + o for p, o in zip(position[1:], offset, strict=True)))
            inside = all(0 <= p < size for p, size in zip(other, labels.shape, strict=True))
            if any(offset) and inside and valid[other]:
                shares[labels[other]] += math.exp(-sum(o * o for o in offset) / (2 * sigma**2))
        weight = own_weight if shares.sum() > 0 else 1.0
        result = (1 - weight) * shares / shares.sum().clamp_min(1e-300)
        result[labels[position]] += weight
        target[(position[0], slice(None), *position[1:])] = result
    return target


@pytest.mark.parametrize(
    ("sigma", "kernel_size", "own_weight"), [(1.0, 3, 0.5), (0.7, 5, 0.2), (2.5, 7, 0.0), (0.15, 3, 0.0)]
)
@pytest.mark.parametrize("spatial", [(19,), (13, 16), (5, 6, 4)])
def test_gaussian_smoothing_against_slow_reference(spatial, sigma, kernel_size, own_weight):
    labels, valid = maps(spatial)
    valid[0] &= torch.rand(spatial, generator=torch.Generator().manual_seed(3)) > 0.5
    options = dict(sigma=sigma, kernel_size=kernel_size, own_weight=own_weight)
    target, _ = gaussian_smoothing(labels, valid, 5, **options)
    expected = blurred_slowly(labels, valid, 5, **options)
    torch.testing.assert_close(target.movedim(1, -1)[valid].double(), expected.movedim(1, -1)[valid], rtol=0, atol=1e-6)


def test_gaussian_smoothing_by_hand():
    """A lone pixel of class 1 keeps half; its neighbours give it its Gaussian weight among their own neighbours."""
    labels = torch.zeros(1, 5, 5, dtype=torch.int64)
    labels[0, 2, 2] = 1
    target, _ = gaussian_smoothing(labels, torch.ones_like(labels, dtype=torch.bool), 2)
    side, corner = math.exp(-0.5), math.exp(-1.0)
    share = 0.5 / (4 * side + 4 * corner)
    expected = torch.tensor([[corner, side, corner], [side, 0.5 / share, side], [corner, side, corner]]) * share
    torch.testing.assert_close(target[0, 1, 1:4, 1:4], expected)
    assert (target[0, 1, 0] == 0).all()


def test_gaussian_smoothing_keeps_the_class_and_handles_lone_pixels():
    labels, valid = maps()
    target, _ = gaussian_smoothing(labels, valid, 5, kernel_size=5)
    share = target.gather(1, labels.masked_fill(~valid, 0).unsqueeze(1)).squeeze(1)
    assert (share[valid] >= target.amax(1)[valid] - 1e-6).all()
    lone = torch.zeros_like(valid)
    lone[:, 4, 4] = True
    target, _ = gaussian_smoothing(labels.masked_fill(~lone, 255), lone, 5, own_weight=0.0)
    assert (target.amax(1)[lone] == 1).all()


def test_window_larger_than_the_image():
    labels, valid = maps((3, 2))
    for scenario in (boundary_smoothing, gaussian_smoothing):
        target, _ = scenario(labels, valid, 5, kernel_size=9)
        torch.testing.assert_close(target.sum(1)[valid], torch.ones(int(valid.sum())))


def test_wrong_options_are_sentences():
    labels, valid = maps()
    for scenario in (uniform_smoothing, boundary_smoothing):
        with pytest.raises(ValueError, match=r"Expected epsilon to be a number from 0 to 1, got 1.5"):
            scenario(labels, valid, 5, epsilon=1.5)
    for kernel_size in (0, 2, -1):
        with pytest.raises(
            ValueError, match=f"Expected kernel_size to be a whole number of at least 1 and odd, got {kernel_size}.$"
        ):
            boundary_smoothing(labels, valid, 5, kernel_size=kernel_size)
        with pytest.raises(
            ValueError, match=f"Expected kernel_size to be a whole number of at least 1 and odd, got {kernel_size}.$"
        ):
            gaussian_smoothing(labels, valid, 5, kernel_size=kernel_size)
    for sigma in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match=f"Expected sigma to be a number above 0, got {sigma}"):
            gaussian_smoothing(labels, valid, 5, sigma=sigma)
    with pytest.raises(ValueError, match=r"Expected own_weight to be a number from 0 to 1, got -0.1"):
        gaussian_smoothing(labels, valid, 5, own_weight=-0.1)
