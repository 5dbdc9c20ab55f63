"""The division of a training list into labelled and unlabelled images."""

import pytest
from real_data import at_hand

from segloss.datasets import DatasetError, read_list, split_labelled

ENTRIES = [(f"images/{n}.png", f"labels/{n}.png") for n in range(37)]


@pytest.mark.parametrize(("fraction", "count"), [(1 / 16, 2), (1 / 8, 5), (1 / 4, 9), (1 / 2, 19), (1.0, 37)])
def test_division(fraction, count):
    labelled, unlabelled = split_labelled(ENTRIES, fraction, 3)
    assert len(labelled) == count
    assert set(labelled) <= set(ENTRIES)
    assert sorted([entry[0] for entry in labelled + unlabelled]) == sorted(entry[0] for entry in ENTRIES)
    assert all(len(entry) == 1 for entry in unlabelled)
    place = {entry[0]: n for n, entry in enumerate(ENTRIES)}
    for part in (labelled, unlabelled):
        assert [place[entry[0]] for entry in part] == sorted(place[entry[0]] for entry in part)


def test_seeds_and_fractions():
    first, _ = split_labelled(ENTRIES, 0.25, 0)
    assert first == split_labelled(ENTRIES, 0.25, 0)[0]
    assert first != split_labelled(ENTRIES, 0.25, 1)[0]
    assert set(first) < set(split_labelled(ENTRIES, 0.5, 0)[0])


@pytest.mark.parametrize("denominator", [16, 8, 4, 2])
def test_camvids_lists_are_this_division(denominator):
    folder = at_hand("camvid")
    if not (folder / "ssl_seed0").is_dir():
        pytest.skip("camvid has no ssl_seed0 beside its lists")
    labelled, unlabelled = split_labelled(read_list(folder, "train"), 1 / denominator, 0)
    assert labelled == read_list(folder, f"ssl_seed0/1_{denominator}/labeled")
    assert unlabelled == [entry[:1] for entry in read_list(folder, f"ssl_seed0/1_{denominator}/unlabeled")]


def test_wrong_fractions():
    for fraction in (0.0, -0.5, 1.01, float("nan")):
        with pytest.raises(DatasetError, match=f"labelled fraction must be above 0 and at most 1, got {fraction}"):
            split_labelled(ENTRIES, fraction, 0)
    with pytest.raises(DatasetError, match=r"fraction of 0.01 leaves none of 37 images with a label"):
        split_labelled(ENTRIES, 0.01, 0)
