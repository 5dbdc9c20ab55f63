"""Targets from rater stacks against values by hand and slow references."""

import pytest
import torch

from segloss.labels import (
    boundary_smoothing,
    dice_rater_weights,
    dice_weighted_raters,
    majority,
    random_rater,
    rater_mean,
    staple,
)

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


def test_majority_by_hand():
    """Columns: a clear winner, a tie, a tie of three, one rater alone, nobody."""
    labels = torch.tensor(
        [[[2, 1, 0, NONE, NONE], [2, 3, 3, 3, NONE], [0, 3, 2, NONE, NONE], [NONE, 1, NONE, NONE, NONE]]]
    )
    target, valid = majority(labels, labels != NONE, 4)
    assert target[0, :4].tolist() == [2, 1, 0, 3]
    assert valid.tolist() == [[True, True, True, True, False]]
    _, valid = majority(labels, labels != NONE, 4, tie_is_void=True)
    assert valid.tolist() == [[True, False, False, True, False]]


def test_majority_is_the_peak_of_the_mean():
    labels, valid = stack()
    mean, _ = rater_mean(labels, valid, 4)
    target, kept = majority(labels, valid, 4)
    assert torch.equal(mean.gather(1, target.unsqueeze(1)).squeeze(1)[kept], mean.amax(1)[kept])


def weighted_slowly(labels, valid, num_classes, background):
    """Dice-weighted mean with sets of pixels and plain Python numbers; NaN at pixels without a label."""
    images, raters, height, width = labels.shape
    places = [(row, column) for row in range(height) for column in range(width)]
    target = torch.full((images, num_classes, height, width), torch.nan, dtype=torch.float64)
    for image in range(images):
        maps = [
            {place: int(labels[image, rater][place]) for place in places if valid[image, rater][place]}
            for rater in range(raters)
        ]
        chosen = {}
        for place in places:
            votes = [drawing[place] for drawing in maps if place in drawing]
            if votes:
                chosen[place] = min(range(num_classes), key=lambda c: (-votes.count(c), c))
        weights = []
        for drawing in maps:
            scores = []
            for class_id in range(num_classes):
                drawn = {place for place in drawing if drawing[place] == class_id}
                voted = {place for place in drawing if chosen[place] == class_id}
                if class_id != background and (drawn or voted):
                    scores.append(2 * len(drawn & voted) / (len(drawn) + len(voted)))
            weights.append(sum(scores) / len(scores) if any(scores) else 1.0)
        for place in chosen:
            shares = torch.zeros(num_classes, dtype=torch.float64)
            for drawing, weight in zip(maps, weights, strict=True):
                if place in drawing:
                    shares[drawing[place]] += weight
            target[(image, slice(None), *place)] = shares / shares.sum()
    return target


@pytest.mark.parametrize("background", [None, 0, 2])
def test_dice_weighted_raters_against_slow_reference(background):
    labels, valid = stack()
    target, kept = dice_weighted_raters(labels, valid, 4, background=background)
    expected = weighted_slowly(labels, valid, 4, background)
    assert torch.equal(kept, ~expected[:, 0].isnan())
    torch.testing.assert_close(target.movedim(1, -1)[kept].double(), expected.movedim(1, -1)[kept], rtol=0, atol=1e-6)
    assert not torch.allclose(target, rater_mean(labels, valid, 4)[0], atol=1e-3)


def test_dice_weighted_raters_by_hand():
    """Majority: class 1 at the first two pixels. Dice of the raters: 1, 1, and 2 * 1 / (2 + 2)."""
    labels = torch.tensor([[[1, 1, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0]]])
    target, _ = dice_weighted_raters(labels, torch.ones_like(labels, dtype=torch.bool), 2)
    torch.testing.assert_close(target[0, 1], torch.tensor([1, 2 / 2.5, 0.5 / 2.5, 0]))
    nothing = torch.zeros_like(labels)
    target, _ = dice_weighted_raters(nothing, torch.ones_like(labels, dtype=torch.bool), 2)
    assert (target[0, 0] == 1).all()


def test_dice_weights_without_foreground_and_without_agreement():
    """Dice: 1 for the first rater, who saw no foreground where there was none; 2/3; 1. Then 0 for a lone dissenter,
    whose weight is 1 as in the authors' code.
    """
    labels = torch.tensor([[[0, NONE], [1, 1], [0, 1]]])
    target, _ = dice_weighted_raters(labels, labels != NONE, 2)
    torch.testing.assert_close(target[0, 1], torch.tensor([(2 / 3) / (1 + 2 / 3 + 1), 1]))
    labels = torch.tensor([[[1, 0], [0, NONE], [0, NONE]]])
    target, valid = dice_weighted_raters(labels, labels != NONE, 2)
    assert valid.all()
    torch.testing.assert_close(target[0, 0], torch.tensor([2 / 3, 1.0]), rtol=0, atol=1e-6)


def test_a_lesion_that_one_rater_saw_does_not_vanish():
    """The authors' numbers (prepare_qubiq.py): one of three raters 1/3, one of seven 1/7, one of two with an empty
    map 1/2.
    """
    for raters, expected in ((3, 1 / 3), (7, 1 / 7), (2, 1 / 2)):
        labels = torch.zeros(1, raters, 5, dtype=torch.int64)
        labels[0, 0, :2] = 1
        target, _ = dice_weighted_raters(labels, torch.ones_like(labels, dtype=torch.bool), 2)
        torch.testing.assert_close(target[0, 1, :2], torch.full((2,), expected))


def test_weights_of_the_whole_image_serve_its_crops():
    labels, valid = stack()
    target, _ = dice_weighted_raters(labels, valid, 4)
    weights = dice_rater_weights(labels, valid, 4)
    assert weights.shape == (3, 6)
    crop = (..., slice(2, 9), slice(3, 8))
    cropped, _ = dice_weighted_raters(labels[crop], valid[crop], 4, rater_weights=weights)
    assert torch.equal(cropped, target[crop])
    assert not torch.equal(dice_weighted_raters(labels[crop], valid[crop], 4)[0], cropped)
    with pytest.raises(ValueError, match=r"Expected float rater_weights of shape \(3, 6\), got .* of shape \(6,\)"):
        dice_weighted_raters(labels, valid, 4, rater_weights=weights[0])


def test_random_rater_is_one_raters_whole_map():
    labels, valid = stack()
    for draw in torch.linspace(0, 0.999, 13):
        target, kept = random_rater(labels, valid, 4, draws=draw.expand(3))
        for image in range(3):
            assert any(
                torch.equal(kept[image], valid[image, rater])
                and torch.equal(target[image][kept[image]], labels[image, rater][kept[image]])
                for rater in range(6)
                if valid[image, rater].any()
            )


def test_random_rater_takes_each_present_rater_equally_often():
    """Six raters, one missing: the draws' interval is divided into five equal parts, whatever that one's labels."""
    labels = torch.arange(6).view(1, 6, 1).expand(1, 6, 2).contiguous()
    valid = torch.ones_like(labels, dtype=torch.bool)
    valid[0, 1] = False
    draws = (torch.arange(1000) + 0.5) / 1000
    target, kept = random_rater(labels.expand(1000, 6, 2), valid.expand(1000, 6, 2), 6, draws=draws)
    assert kept.all()
    assert torch.bincount(target[:, 0], minlength=6).tolist() == [200, 0, 200, 200, 200, 200]
    # The largest numbers below 1 do not round up to a rater who is not there, in any precision.
    for dtype in (torch.float16, torch.float32, torch.float64):
        last = torch.nextafter(torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)).to(dtype)
        assert random_rater(labels, valid, 6, draws=last)[0].tolist() == [[5, 5]]


def test_random_rater_without_draws():
    labels, valid = stack()
    for draws in (torch.zeros(2), torch.zeros(3, dtype=torch.int64)):
        with pytest.raises(ValueError, match=r"Expected draws of one float in \[0, 1\) per image, shape \(3,\), got"):
            random_rater(labels, valid, 4, draws=draws)


def test_wrong_background():
    labels, valid = stack()
    with pytest.raises(ValueError, match=r"Expected background to be None or a class id from 0 to 3, got 4"):
        dice_weighted_raters(labels, valid, 4, background=4)


def estimated_slowly(labels, valid, num_classes, iterations):
    """STAPLE pixel by pixel in plain numbers, on one image (R, N)."""
    raters, pixels = labels.shape
    votes = [[int(labels[r, i]) if valid[r, i] else None for r in range(raters)] for i in range(pixels)]
    cast = [vote for pixel in votes for vote in pixel if vote is not None]
    prior = [max(cast.count(c) / len(cast), 1e-12) for c in range(num_classes)]
    off = 0.01 / (num_classes - 1)
    theta = [[[0.99 if d == s else off for d in range(num_classes)] for s in range(num_classes)] for _ in range(raters)]
    for step in range(iterations):
        truth = []
        for pixel in votes:
            weights = list(prior)
            for s in range(num_classes):
                for rater, vote in enumerate(pixel):
                    if vote is not None:
                        weights[s] *= max(theta[rater][s][vote], 1e-12)
            truth.append([weight / sum(weights) for weight in weights])
        if step == iterations - 1:
            return torch.tensor(truth, dtype=torch.float64)
        for rater in range(raters):
            for s in range(num_classes):
                total = sum(t[s] for t, pixel in zip(truth, votes, strict=True) if pixel[rater] is not None)
                for d in range(num_classes):
                    hits = sum(t[s] for t, pixel in zip(truth, votes, strict=True) if pixel[rater] == d)
                    theta[rater][s][d] = hits / max(total, 1e-12)
    raise AssertionError


@pytest.mark.parametrize("iterations", [1, 2, 7])
def test_staple_against_slow_reference(iterations):
    labels, valid = stack()
    target, kept = staple(labels, valid, 4, iterations=iterations)
    for image in range(3):
        expected = estimated_slowly(labels[image].flatten(1), valid[image].flatten(1), 4, iterations)
        result = target[image].flatten(1).T.double()
        here = kept[image].flatten()
        torch.testing.assert_close(result[here], expected[here], rtol=0, atol=1e-6)


def simulated(error_rates, num_classes=3, size=64, seed=4):
    """A truth of three classes, and raters who err at random, each at a given rate."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randint(num_classes, (1, 1, size, size), generator=generator)
    other = (
        truth + torch.randint(1, num_classes, (1, len(error_rates), size, size), generator=generator)
    ) % num_classes
    errs = torch.rand(other.shape, generator=generator) < torch.tensor(error_rates).view(1, -1, 1, 1)
    return truth[:, 0], torch.where(errs, other, truth)


def test_staple_believes_the_good_raters():
    """Two good raters against three bad ones: STAPLE is nearly as good as with their true error rates."""
    rates = torch.tensor([0.02, 0.05, 0.5, 0.5, 0.5])
    truth, labels = simulated(rates.tolist())
    agrees = labels.unsqueeze(2) == torch.arange(3).view(1, 1, 3, 1, 1)
    right, wrong = (values.log().view(1, 5, 1, 1, 1) for values in (1 - rates, rates / 2))
    log_likelihood = torch.where(agrees, right, wrong).sum(1)
    best = (log_likelihood.argmax(1) == truth).double().mean()
    valid = torch.ones_like(labels, dtype=torch.bool)
    estimate, _ = staple(labels, valid, 3)
    voted, _ = majority(labels, valid, 3)
    assert (estimate.argmax(1) == truth).double().mean() > best - 0.004
    assert (voted == truth).double().mean() < best - 0.05
    # On data that follow its model, its mean confidence is about its accuracy.
    assert abs(float(estimate.amax(1).mean() - (estimate.argmax(1) == truth).float().mean())) < 0.01


def test_staple_has_converged():
    _, labels = simulated([0.1, 0.2, 0.3, 0.4])
    valid = torch.ones_like(labels, dtype=torch.bool)
    torch.testing.assert_close(
        staple(labels, valid, 3)[0], staple(labels, valid, 3, iterations=200)[0], rtol=0, atol=1e-3
    )


def test_staple_limits():
    labels, valid = stack()
    with pytest.raises(ValueError, match="Expected iterations to be a whole number of at least 1, got 0"):
        staple(labels, valid, 4, iterations=0)
    many = torch.zeros(1, 10, 2, 2, dtype=torch.int64)
    with pytest.raises(ValueError, match="STAPLE of 10 raters, 150 classes and 1 images at a time has too many"):
        staple(many, many == 0, 150)


def test_an_empty_batch_has_an_empty_target():
    labels = torch.zeros(0, 2, 4, 5, dtype=torch.long)
    for target, valid in (
        boundary_smoothing(labels[:, 0], labels[:, 0] == 0, 3, epsilon=0.5),
        random_rater(labels, labels == 0, 3, draws=torch.zeros(0)),
        dice_weighted_raters(labels, labels == 0, 3),
        rater_mean(labels, labels == 0, 3),
        staple(labels, labels == 0, 3),
    ):
        assert target.shape in ((0, 3, 4, 5), (0, 4, 5))  # probabilities, or the map of the rater drawn
        assert valid.shape == (0, 4, 5)
