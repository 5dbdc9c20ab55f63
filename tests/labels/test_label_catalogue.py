"""Properties that every label scenario must have, whatever it computes."""

import pytest
import torch
from torch import Tensor

from segloss.labels import CATALOGUE

NUM_CLASSES = 4
SPATIAL = [(), (23,), (17, 22), (7, 9, 8)]
VOID = 255


def example(source: str, spatial: tuple[int, ...], seed: int = 0) -> tuple[Tensor, Tensor]:
    """Labels in coarse patches, so that there are both boundaries and interiors, with void (255) scattered in."""
    generator = torch.Generator().manual_seed(seed)
    shape = (3, 5, *spatial) if source == "raters" else (3, *spatial)
    labels = torch.randint(NUM_CLASSES, shape, generator=generator)
    for axis in range(len(shape) - len(spatial), len(shape)):
        labels = labels.index_select(axis, torch.arange(shape[axis]) // 4)
    valid = torch.rand(shape, generator=generator) > 0.08
    if source == "raters":
        valid[1, 2] = False  # a rater who did not see this image
        if spatial:
            valid[2, :, : spatial[0] // 2] = False
    return labels.masked_fill(~valid, VOID), valid


# Their targets depend on the statistics of the whole image, so that of a crop differs.
IMAGE_WIDE = {"staple"}
# These choose among the raters, and may choose one without a label where another has one.
CHOOSES_RATER = {"random_rater"}


def batch_tensors(spatial: tuple[int, ...]) -> dict[str, Tensor]:
    """What some scenarios need besides the labels."""
    generator = torch.Generator().manual_seed(9)
    return {
        "draws": torch.tensor([0.1, 0.55, 0.9999]),
        "teacher_logits": 4 * torch.randn(3, NUM_CLASSES, *spatial, generator=generator),
        "rater_weights": torch.rand(3, 5, generator=generator) + 0.1,
    }


@pytest.fixture(params=sorted(CATALOGUE))
def scenario(request):
    """The scenario as a function of labels, valid and the number of classes; its extra tensors are changed alike."""
    function = CATALOGUE[request.param]

    def call(labels: Tensor, valid: Tensor, num_classes: int, change=lambda tensor: tensor, images=slice(None)):
        extra = batch_tensors(call.spatial)
        extra["draws"], extra["teacher_logits"] = extra["draws"][images], change(extra["teacher_logits"])[images]
        extra["rater_weights"] = extra["rater_weights"][images]
        return function(labels, valid, num_classes, **{name: extra[name].to(labels.device) for name in function.needs})

    call.source, call.name, call.spatial = function.source, request.param, (17, 22)
    return call


def assert_same(target: Tensor, expected: Tensor) -> None:
    """Equal class maps, or probabilities equal but for the order of additions."""
    torch.testing.assert_close(target, expected, rtol=0, atol=0 if target.dtype == torch.int64 else 1e-6)


def as_probabilities(target: Tensor) -> Tensor:
    if target.is_floating_point():
        return target
    return torch.nn.functional.one_hot(target, NUM_CLASSES).movedim(-1, 1).float()


@pytest.mark.parametrize("spatial", SPATIAL)
def test_shapes_and_sums(scenario, spatial):
    labels, valid = example(scenario.source, spatial)
    scenario.spatial = spatial
    target, kept = scenario(labels, valid, NUM_CLASSES)
    assert kept.dtype == torch.bool
    assert kept.shape == (3, *spatial)
    if target.is_floating_point():
        assert target.dtype == torch.float32
        assert target.shape == (3, NUM_CLASSES, *spatial)
    else:
        assert target.dtype == torch.int64
        assert target.shape == (3, *spatial)
    probabilities = as_probabilities(target).movedim(1, -1)
    assert torch.isfinite(probabilities).all()
    assert (probabilities[kept] >= 0).all()
    torch.testing.assert_close(probabilities[kept].sum(-1), torch.ones(int(kept.sum())), rtol=0, atol=2e-6)


@pytest.mark.parametrize("garbage", ["classes", -1, 2**40, -(2**63)])
def test_void_does_not_matter(scenario, garbage):
    """Values where valid is False change nothing, other classes' ids included, and void stays void."""
    labels, valid = example(scenario.source, (17, 22))
    expected, expected_valid = scenario(labels, valid, NUM_CLASSES)
    if garbage == "classes":
        garbage = torch.randint(NUM_CLASSES, labels.shape, generator=torch.Generator().manual_seed(8))
    target, kept = scenario(torch.where(valid, labels, garbage), valid, NUM_CLASSES)
    assert torch.equal(kept, expected_valid)
    assert torch.equal(target, expected)
    labelled = valid if scenario.source == "map" else valid.any(1)
    assert torch.equal(kept & labelled, kept)
    assert torch.equal(kept, labelled) or scenario.name in CHOOSES_RATER
    assert not kept.all()


def test_all_void(scenario):
    labels, valid = example(scenario.source, (17, 22))
    target, kept = scenario(torch.full_like(labels, VOID), torch.zeros_like(valid), NUM_CLASSES)
    assert not kept.any()
    assert torch.isfinite(target).all()


@pytest.mark.parametrize("axis", [-1, -2])
def test_equivariant_to_flips(scenario, axis):
    labels, valid = example(scenario.source, (17, 22))
    target, kept = scenario(labels, valid, NUM_CLASSES)
    flipped, flipped_kept = scenario(labels.flip(axis), valid.flip(axis), NUM_CLASSES, lambda tensor: tensor.flip(axis))
    assert torch.equal(flipped_kept, kept.flip(axis))
    assert_same(flipped, target.flip(axis))


def test_equivariant_to_crops(scenario):
    """Away from the crop's own border, where a window would reach outside."""
    if scenario.name in IMAGE_WIDE:
        pytest.skip("depends on the whole image, as its docstring says")
    labels, valid = example(scenario.source, (40, 50))
    scenario.spatial = (40, 50)
    target, kept = scenario(labels, valid, NUM_CLASSES)
    crop = (..., slice(5, 31), slice(9, 45))
    cropped, cropped_kept = scenario(labels[crop], valid[crop], NUM_CLASSES, lambda tensor: tensor[crop])
    inside = (..., slice(2, -2), slice(2, -2))
    assert torch.equal(cropped_kept[inside], kept[crop][inside])
    assert_same(cropped[inside], target[crop][inside])


def test_images_do_not_mix(scenario):
    labels, valid = example(scenario.source, (17, 22))
    target, kept = scenario(labels, valid, NUM_CLASSES)
    for index in range(3):
        only = slice(index, index + 1)
        alone, alone_kept = scenario(labels[only], valid[only], NUM_CLASSES, images=only)
        assert_same(alone[0], target[index])
        assert torch.equal(alone_kept[0], kept[index])


def test_input_is_left_alone(scenario):
    labels, valid = example(scenario.source, (17, 22))
    labels_before, valid_before = labels.clone(), valid.clone()
    target, _ = scenario(labels, valid, NUM_CLASSES)
    target.fill_(0)
    assert torch.equal(labels, labels_before)
    assert torch.equal(valid, valid_before)


def test_non_contiguous_input(scenario):
    labels, valid = (tensor.transpose(-1, -2) for tensor in example(scenario.source, (17, 22)))
    expected, _ = scenario(
        labels.contiguous(), valid.contiguous(), NUM_CLASSES, lambda tensor: tensor.transpose(-1, -2).contiguous()
    )
    target, _ = scenario(labels, valid, NUM_CLASSES, lambda tensor: tensor.transpose(-1, -2))
    assert torch.equal(target, expected)


def test_same_input_same_bits(scenario):
    labels, valid = example(scenario.source, (17, 22))
    assert torch.equal(scenario(labels, valid, NUM_CLASSES)[0], scenario(labels, valid, NUM_CLASSES)[0])


def test_wrong_input_is_a_sentence(scenario):
    labels, valid = example(scenario.source, (17, 22))
    with pytest.raises(ValueError, match=r"Expected labels of int64 class ids, got torch.float32"):
        scenario(labels.float(), valid, NUM_CLASSES)
    with pytest.raises(ValueError, match=r"Expected a bool valid mask of the labels' shape \(.*\), got torch.uint8"):
        scenario(labels, valid.to(torch.uint8), NUM_CLASSES)
    with pytest.raises(ValueError, match=r"Expected a bool valid mask of the labels' shape"):
        scenario(labels, valid[..., :-1], NUM_CLASSES)
    with pytest.raises(
        ValueError, match=r"class ids from 0 to 3 at valid pixels, got 255; mark void pixels in `valid`"
    ):
        scenario(labels, torch.ones_like(valid), NUM_CLASSES)
    with pytest.raises(ValueError, match=r"class ids from 0 to 3 at valid pixels, got -1"):
        scenario(labels.masked_fill(~valid, -1), torch.ones_like(valid), NUM_CLASSES)


def test_stays_on_its_device_and_reads_nothing_back(scenario):
    """On the meta device, which has shapes but no values, other devices' tensors and reads to the host are errors."""
    if scenario.name == "staple":
        pytest.skip("the number of different votes is a value: STAPLE waits for its device once")
    labels, valid = example(scenario.source, (17, 22))
    expected, expected_valid = scenario(labels, valid, NUM_CLASSES)
    target, kept = scenario(labels.to("meta"), valid.to("meta"), NUM_CLASSES)
    assert target.device.type == kept.device.type == "meta"
    assert (target.shape, target.dtype) == (expected.shape, expected.dtype)
    assert (kept.shape, kept.dtype) == (expected_valid.shape, expected_valid.dtype)


def test_the_benchmark_calls_every_scenario() -> None:
    from benchmarks.labels import RATERS, targets

    maps = torch.randint(3, (2, 16, 16), generator=torch.Generator().manual_seed(0))
    calls = targets(maps, maps[:, None].repeat(1, RATERS, 1, 1), 3, torch.Generator().manual_seed(0))
    assert calls.keys() == CATALOGUE.keys()
    for call in calls.values():
        call()
