"""Targets from rater stacks against values by hand and slow references."""

import torch

from segloss.labels import rater_mean

NONE = 255


def stack(num_raters=6, num_classes=4, seed=2):
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randint(num_classes, (3, 1, 11, 12), generator=generator)
    noise = torch.randint(num_classes, (3, num_raters, 11, 12), generator=generator)
    labels = torch.where(torch.rand(noise.shape, generator=generator) < 0.3, noise, truth)
    valid = torch.rand(noise.shape, generator=generator) > 0.3
    valid[0, 1:2] = False
    valid[2, :, 3:5] = False
    return labels.masked_fill(~valid, NONE), valid


def test_rater_mean_by_hand():
    """Four raters and two pixels; the first pixel misses one rater, the second has none."""
    labels = torch.tensor([[[0, NONE], [2, NONE], [2, NONE], [NONE, NONE]]])
    target, valid = rater_mean(labels, labels != NONE, 3)
    torch.testing.assert_close(target[0, :, 0], torch.tensor([1 / 3, 0, 2 / 3]))
    assert valid.tolist() == [[True, False]]


def test_rater_mean_against_slow_reference():
    labels, valid = stack()
    target, kept = rater_mean(labels, valid, 4)
    for image in range(3):
        for row in range(11):
            for column in range(12):
                votes = labels[image, :, row, column][valid[image, :, row, column]]
                assert bool(kept[image, row, column]) == (len(votes) > 0)
                if len(votes):
                    expected = torch.bincount(votes, minlength=4).double() / len(votes)
                    torch.testing.assert_close(target[image, :, row, column].double(), expected, rtol=0, atol=1e-7)


def test_one_rater_is_the_hard_label():
    labels, valid = stack(num_raters=1)
    target, kept = rater_mean(labels, valid, 4)
    assert torch.equal(kept, valid[:, 0])
    assert torch.equal(target.argmax(1)[kept], labels[:, 0][kept])
    assert (target.amax(1)[kept] == 1).all()


def test_order_of_raters_does_not_matter():
    labels, valid = stack()
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    assert torch.equal(rater_mean(labels, valid, 4)[0], rater_mean(labels[:, order], valid[:, order], 4)[0])
