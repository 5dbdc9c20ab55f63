"""The two forms in which some losses rank errors or pixels: both must give the same result to the last bit."""

import math

import pytest
import torch

from segloss.losses import _lovasz_autograd as lovasz
from segloss.losses._hard_pixels import _by_selection, _by_sorting
from segloss.losses._sort import descending_order


def errors_with_ties(seed: int, rows: int, pixels: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Signed errors (negative: a pixel of the row's class; NaN: void), many equal, 0 or 1; pixels of each class."""
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.rand(rows, pixels, generator=generator) ** 4
    levels = torch.rand(rows, pixels, generator=generator)
    sizes = torch.where(levels < 0.5, (8 * sizes).round() / 8, sizes)
    hit = torch.rand(rows, pixels, generator=generator) < 0.3
    hit[0] = False  # a class without pixels
    void = torch.rand(rows, pixels, generator=generator) < 0.1
    return torch.where(hit, -sizes, sizes).masked_fill(void, torch.nan), (hit & ~void).sum(1)


def test_errors_are_sorted_by_size_then_place_and_nan_comes_last():
    errors, _ = errors_with_ties(0, 4, 500)
    errors[1, :3] = torch.tensor([-0.0, 0.0, -torch.nan])
    errors[1, 3:6] = torch.tensor([1.0, -1.0, torch.finfo(torch.float32).tiny])
    expected = errors.abs().nan_to_num(-1).argsort(dim=1, descending=True, stable=True)
    assert torch.equal(descending_order(errors), expected)


@pytest.mark.parametrize("seed", range(3))
def test_lovasz_by_whole_rows_is_lovasz_by_the_errors_kept(seed):
    errors, true = errors_with_ties(seed, 5, 700)
    hits = torch.where(errors.signbit(), errors.abs(), torch.inf).nan_to_num(torch.inf)
    threshold = torch.where(true > 0, hits.amin(1), errors.nan_to_num(0).amax(1))
    kept = errors.abs() >= threshold[:, None]
    share = torch.tensor([0.1, 0.2, 0.3, 0.0, 0.4])
    whole, some = errors.clone(), errors.clone()
    terms = lovasz._of_whole_rows(whole, kept.sum(1), true, share)
    assert torch.equal(terms, lovasz._of_kept(some, kept, kept.count_nonzero(1), true, share))
    assert torch.equal(whole, some)
    assert whole[0].count_nonzero() == 1


@pytest.mark.parametrize("pixels", [0, 1, 60])
@pytest.mark.parametrize("limit", [math.inf, 0.7, 0.0, -math.inf])
@pytest.mark.parametrize(("share", "least"), [(0.1, 1), (1.0, 1), (0.0, 5), (0.0, 1000)])
def test_the_hardest_pixels_by_sorting_are_those_by_selection(share, least, limit, pixels):
    generator = torch.Generator().manual_seed(pixels)
    hardness = (4 * torch.rand(pixels, generator=generator)).round() / 2
    hardness[torch.rand(pixels, generator=generator) < 0.2] = -torch.inf
    expected = _by_selection(hardness, share, least, limit)
    assert torch.equal(_by_sorting(hardness, share, least, limit), expected)
