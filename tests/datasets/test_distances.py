"""Signed distance maps: by hand, by comparing all pairs of pixels, and as the losses compute them themselves."""

import numpy as np
import pytest
import torch

from segloss import losses
from segloss.datasets.distances import signed_distance_maps
from segloss.losses._distance import signed_distances

VOID = 255


def labels_with_void(shape: tuple[int, ...] = (9, 13), classes: int = 4) -> np.ndarray:
    random = np.random.default_rng(0)
    labels = random.integers(0, classes, size=shape, dtype=np.uint8)
    labels[random.random(shape) < 0.2] = VOID
    return labels


def test_distances_by_hand() -> None:
    labels = np.array([[0, 1, 1, 1, 1, 2, 0]])
    background, bar, dot = signed_distance_maps(labels, 3)
    np.testing.assert_array_equal(bar, [[1, 0, -1, -1, 0, 1, 2]])
    np.testing.assert_array_equal(dot, [[5, 4, 3, 2, 1, 0, 1]])
    np.testing.assert_array_equal(background, [[0, 1, 2, 3, 2, 1, 0]])


def test_distances_are_those_of_all_pairs_of_pixels() -> None:
    labels = labels_with_void()
    at = np.stack(np.indices(labels.shape), -1).reshape(-1, 2)
    pairs = np.sqrt(((at[:, None] - at[None]) ** 2).sum(-1))
    for index, signed in enumerate(signed_distance_maps(labels, 4)):
        inside = (labels == index).ravel()
        nearest = np.where(inside[:, None] != inside[None], pairs, np.inf).min(1)
        expected = np.where(inside, 1 - nearest, nearest).reshape(labels.shape)
        np.testing.assert_allclose(signed, expected, rtol=1e-6)


@pytest.mark.parametrize("labels", [np.zeros((4, 5), np.uint8), np.full((4, 5), VOID, np.uint8)])
def test_a_class_without_boundary_has_no_distances(labels: np.ndarray) -> None:
    assert not signed_distance_maps(labels, 3).any()


@pytest.mark.parametrize("shape", [(31, 45), (7, 8, 9), (40,)])
def test_losses_compute_the_same_distances(shape: tuple[int, ...]) -> None:
    labels = labels_with_void(shape)
    masks = torch.from_numpy(np.stack([labels == index for index in range(4)]))
    torch.testing.assert_close(signed_distances(masks), torch.from_numpy(signed_distance_maps(labels, 4)))


@pytest.mark.parametrize("name", ["boundary", "hausdorff"])
def test_a_loss_gives_the_same_with_maps_as_without(name: str) -> None:
    torch.manual_seed(0)
    labels = np.stack([labels_with_void(), np.where(labels_with_void() == 2, VOID, 1).astype(np.uint8)])
    maps = torch.from_numpy(np.stack([signed_distance_maps(image, 4) for image in labels])).double()
    target = torch.from_numpy(labels).long()
    logits = torch.randn(2, 4, 9, 13, dtype=torch.float64, requires_grad=True)
    results = []
    for given in (None, maps):
        terms = [{"loss": "dice"}, {"loss": name, "weight": 0.3}]
        value = losses.compound(logits, target, valid=target != VOID, terms=terms, distance_maps=given)
        results.append((value.detach(), *torch.autograd.grad(value, logits)))
    torch.testing.assert_close(*results)
    single = losses.get(name)(logits, target, valid=target != VOID, distance_maps=maps)
    torch.testing.assert_close(single, losses.get(name)(logits, target, valid=target != VOID))
    assert losses.get(name)(logits, target, valid=target != VOID, distance_maps=2 * maps) != single
    with pytest.raises(
        ValueError, match=r"Expected float distance_maps of shape \(2, 4, 9, 13\), got torch.float64 of"
    ):
        losses.get(name)(logits, target, valid=target != VOID, distance_maps=maps[:, 1:])
