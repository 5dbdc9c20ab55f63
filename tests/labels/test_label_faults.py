"""Wrong scenarios, each with the test of the catalogue that must fail."""

import pytest
import test_label_catalogue as properties
import torch
from test_label_catalogue import NUM_CLASSES, example

from segloss.labels import hard, rater_mean, uniform_smoothing


def smoothed_where(labels, valid, num_classes, boundary):
    """Smoothed by a half where ``boundary``, hard elsewhere."""
    soft, _ = uniform_smoothing(labels, valid, num_classes, epsilon=0.5)
    sharp, _ = uniform_smoothing(labels, valid, num_classes, epsilon=0.0)
    return torch.where(boundary.unsqueeze(1), soft, sharp), valid


def void_counts_as_a_class(labels, valid, num_classes):
    neighbour = torch.cat([labels[..., 1:], labels[..., -1:]], -1)
    previous = torch.cat([labels[..., :1], labels[..., :-1]], -1)
    return smoothed_where(labels, valid, num_classes, (neighbour != labels) | (previous != labels))


def looks_to_one_side_only(labels, valid, num_classes):
    clean = labels.masked_fill(~valid, 0)
    neighbour = torch.cat([clean[..., 1:], clean[..., -1:]], -1)
    return smoothed_where(labels, valid, num_classes, neighbour != clean)


def depends_on_the_place_in_the_image(labels, valid, num_classes):
    columns = torch.arange(labels.shape[-1]) + torch.arange(labels.shape[-2]).unsqueeze(1)
    return smoothed_where(labels, valid, num_classes, (columns % 5 == 0).expand_as(labels))


def forgets_the_other_classes(labels, valid, num_classes):
    target, _ = uniform_smoothing(labels, valid, num_classes, epsilon=0.0)
    return 0.9 * target, valid


def everything_is_valid(labels, valid, num_classes):
    return hard(labels, valid, num_classes)[0], torch.ones_like(valid)


def drops_pixels(labels, valid, num_classes):
    target, kept = hard(labels, valid, num_classes)
    return target, kept & (torch.arange(labels.shape[-1]) > 2)


def works_in_place(labels, valid, num_classes):
    return labels.masked_fill_(~valid, 0), valid


def shares_the_batch(labels, valid, num_classes):
    target, _ = uniform_smoothing(labels, valid, num_classes)
    return 0.9 * target + 0.1 * target.mean(0, keepdim=True), valid


def absent_raters_vote_for_background(labels, valid, num_classes):
    target, _ = rater_mean(labels.masked_fill(~valid, 0), torch.ones_like(valid), num_classes)
    return target, valid.all(1)


def divides_by_all_raters(labels, valid, num_classes):
    target, kept = rater_mean(labels, valid, num_classes)
    return target * valid.sum(1, keepdim=True) / valid.shape[1], kept


def draws_by_itself(labels, valid, num_classes):
    target, _ = uniform_smoothing(labels, valid, num_classes, epsilon=float(torch.rand(())))
    return target, valid


def checks_nothing(labels, valid, num_classes):
    return labels.long().masked_fill(~valid[..., : labels.shape[-1]].bool(), 0), valid


FAULTS = [
    (void_counts_as_a_class, "map", lambda wrong: properties.test_void_does_not_matter(wrong, "classes")),
    (looks_to_one_side_only, "map", lambda wrong: properties.test_equivariant_to_flips(wrong, -1)),
    (depends_on_the_place_in_the_image, "map", properties.test_equivariant_to_crops),
    (forgets_the_other_classes, "map", lambda wrong: properties.test_shapes_and_sums(wrong, (17, 22))),
    (everything_is_valid, "map", lambda wrong: properties.test_void_does_not_matter(wrong, "classes")),
    (drops_pixels, "map", lambda wrong: properties.test_void_does_not_matter(wrong, "classes")),
    (works_in_place, "map", properties.test_input_is_left_alone),
    (shares_the_batch, "map", properties.test_images_do_not_mix),
    (draws_by_itself, "map", properties.test_same_input_same_bits),
    (absent_raters_vote_for_background, "raters", lambda wrong: properties.test_void_does_not_matter(wrong, "classes")),
    (divides_by_all_raters, "raters", lambda wrong: properties.test_shapes_and_sums(wrong, (17, 22))),
]


@pytest.mark.parametrize(("fault", "source", "test"), FAULTS, ids=[fault.__name__ for fault, _, _ in FAULTS])
def test_fault_is_refused(fault, source, test):
    def scenario(labels, valid, num_classes, change=None, images=None):
        return fault(labels, valid, num_classes)

    scenario.source, scenario.name, scenario.spatial = source, fault.__name__, (17, 22)
    scenario(*example(source, (17, 22)), NUM_CLASSES)  # it runs without an error: only the test fails
    with pytest.raises(AssertionError):
        test(scenario)


def test_missing_checks_are_refused():
    def scenario(labels, valid, num_classes):
        return checks_nothing(labels, valid, num_classes)

    scenario.source, scenario.name = "map", "checks_nothing"
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        properties.test_wrong_input_is_a_sentence(scenario)
