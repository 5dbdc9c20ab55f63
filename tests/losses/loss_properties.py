"""Properties of every loss, as functions of a loss, so that copies with deliberate faults can be checked, too."""

import torch
from loss_cases import BACKGROUND_APART, CLASSES, READS_NEIGHBOURS, inputs, value_and_gradient
from loss_reference import REFERENCES, images_of
from loss_reference_maps import MAP_REFERENCES
from loss_reference_pixels import PIXEL_REFERENCES

REFERENCES.update(PIXEL_REFERENCES)

JDT = ("jaccard_metric", "dice_semimetric", "compatible_tversky")


def close(actual, expected, tolerance=1e-9):
    for actual_tensor, expected_tensor in zip(actual, expected, strict=True):
        torch.testing.assert_close(actual_tensor, expected_tensor, rtol=tolerance, atol=tolerance)


def masked_is_dropped(loss, options, soft, seed=0):
    """Void pixels add nothing: value and gradient are those without them, whatever the target holds there."""
    if loss.__name__ in READS_NEIGHBOURS:  # other pixels would become neighbours
        void_is_invisible(loss, options, soft, seed)
        return
    logits, target, probabilities, _ = inputs(seed, (8,))
    valid = torch.ones(3, 8, dtype=torch.bool)
    valid[:, [1, 4, 7]] = False
    kept = valid[0]
    if soft:
        garbage = torch.tensor([torch.nan, -torch.inf, 7.0], dtype=logits.dtype)
        given = probabilities.clone()
        given[..., ~kept] = garbage
        dropped = probabilities[..., kept]
    else:
        given = torch.where(valid, target, 255)
        dropped = target[..., kept]
    value, gradient = value_and_gradient(loss, logits, given, valid=valid, **options)
    expected, expected_gradient = value_and_gradient(loss, logits[..., kept], dropped, **options)
    close((value, gradient[..., kept]), (expected, expected_gradient))
    assert torch.count_nonzero(gradient[..., ~kept]) == 0


def void_is_invisible(loss, options, soft, seed=0):
    """Neither the target nor the logits of void pixels matter."""
    logits, target, probabilities, valid = inputs(seed)
    generator = torch.Generator().manual_seed(seed + 1)
    expected = value_and_gradient(loss, logits, probabilities if soft else target, valid=valid, **options)
    noise = 5 * torch.randn(logits.shape, generator=generator, dtype=logits.dtype)
    other = torch.where(valid[:, None], logits, noise)
    given = torch.where(valid[:, None], probabilities, torch.nan) if soft else torch.where(valid, target, 255)
    value, gradient = value_and_gradient(loss, other, given, valid=valid, **options)
    close((value, gradient), expected)
    assert torch.count_nonzero(gradient.movedim(1, -1)[~valid]) == 0


def equals_the_slow_way(loss, options, soft, seed=0):
    """Value and gradient of an independent implementation, see `loss_reference`."""
    logits, target, probabilities, valid = inputs(seed, (4, 5))
    given = probabilities if soft else target

    def slow(logits, given):
        if loss.__name__ in READS_NEIGHBOURS:
            return MAP_REFERENCES[loss.__name__](logits, given, valid, **options)
        return REFERENCES[loss.__name__](images_of(logits, given, valid), **options)

    def compare():
        actual = value_and_gradient(loss, logits, given, valid=valid, **options)
        close(actual, value_and_gradient(slow, logits, given), 1e-8)

    compare()
    if loss.__name__ in READS_NEIGHBOURS:  # an image filled by one class, in the label and in the prediction
        valid[0], logits[0, 2] = True, logits[0].max()
        given[0] = torch.eye(CLASSES)[2][:, None, None] if soft else 2
        compare()


def void_images_are_dropped(loss, options, soft, seed=0):
    """The last image, which is all void, has no effect."""
    logits, target, probabilities, valid = inputs(seed)
    given = probabilities if soft else target
    value, gradient = value_and_gradient(loss, logits, given, valid=valid, **options)
    expected = value_and_gradient(loss, logits[:-1], given[:-1], valid=valid[:-1], **options)
    close((value, gradient[:-1]), expected)


def nothing_valid_is_zero(loss, options, soft, seed=0):
    logits, target, probabilities, valid = inputs(seed)
    nowhere = torch.zeros_like(valid)
    value, gradient = value_and_gradient(
        loss, logits, probabilities * torch.nan if soft else target + 255, valid=nowhere, **options
    )
    assert value == 0
    assert torch.count_nonzero(gradient) == 0


def axes_may_be_permuted(loss, options, soft, seed=0):
    """The order and the number of the spatial axes make no difference, nor does the memory layout."""
    logits, target, probabilities, valid = inputs(seed, (2, 3, 4))
    given = probabilities if soft else target
    expected = value_and_gradient(loss, logits, given, valid=valid, **options)
    moved = value_and_gradient(
        loss, logits.movedim(-1, 2), given.movedim(-1, 2 if soft else 1), valid=valid.movedim(-1, 1), **options
    )
    close((moved[0], moved[1].movedim(2, -1)), expected)
    if loss.__name__ in READS_NEIGHBOURS:
        return
    flat = value_and_gradient(
        loss, logits.flatten(2), given.flatten(2 if soft else 1), valid=valid.flatten(1), **options
    )
    close((flat[0], flat[1].view_as(logits)), expected)


def no_spatial_axis_is_one_pixel(loss, options, soft, seed=0):
    if options.get("border") == "zero":  # with a spatial axis the window has pixels outside the image
        return
    logits, target, probabilities, valid = inputs(seed, (1,), images=9)
    given = probabilities if soft else target
    expected = value_and_gradient(loss, logits, given, valid=valid, **options)
    value, gradient = value_and_gradient(loss, logits[..., 0], given[..., 0], valid=valid[..., 0], **options)
    close((value, gradient[..., None]), expected)


def classes_may_be_renamed(loss, options, soft, seed=0):
    """Permuting the channels, the labels and whatever is given per class changes nothing."""
    logits, target, probabilities, valid = inputs(seed)
    order = torch.tensor([0, 3, 4, 2, 1] if loss.__name__ in BACKGROUND_APART else [3, 0, 4, 2, 1])
    name = order.argsort()

    def renamed(value):
        if isinstance(value, list) and len(value) == CLASSES and not isinstance(value[0], dict):
            return [value[index] for index in order]
        if isinstance(value, list):
            return [{key: renamed(item) for key, item in term.items()} for term in value]
        return value

    expected, gradient = value_and_gradient(loss, logits, probabilities if soft else target, valid=valid, **options)
    actual = value_and_gradient(
        loss,
        logits[:, order],
        probabilities[:, order] if soft else name[target],
        valid=valid,
        **{key: renamed(value) for key, value in options.items()},
    )
    close(actual, (expected, gradient[:, order]))


def gradient_is_the_slope(loss, options, soft, seed=0):
    logits, target, probabilities, valid = inputs(seed, (2, 3))
    given = probabilities if soft else target
    assert torch.autograd.gradcheck(
        lambda z: loss(z, given, valid=valid, **options), logits.requires_grad_(), eps=1e-6, atol=1e-7, rtol=1e-6
    )


def one_hot_is_hard(loss, options, soft, seed=0):
    """A class map and its one-hot probabilities give the same value and gradient, over the same classes."""
    logits, target, _, valid = inputs(seed)
    one_hot = torch.nn.functional.one_hot(target, CLASSES).movedim(-1, 1).to(logits.dtype)
    probabilities = value_and_gradient(loss, logits, one_hot, valid=valid, **options)
    if loss.__name__ in JDT:
        options = {"classes": "all"} | options
    if loss.__name__ == "compound":
        terms = [{"classes": "all"} | term if term["loss"] in JDT else term for term in options["terms"]]
        options = options | {"terms": terms}
    close(probabilities, value_and_gradient(loss, logits, target, valid=valid, **options))


def extreme_logits_stay_finite(loss, options, soft, seed=0):
    logits, target, probabilities, valid = inputs(seed, dtype=torch.float32)
    for size in (1e4, 3e38):
        extreme = torch.sign(logits) * size
        value, gradient = value_and_gradient(loss, extreme, probabilities if soft else target, valid=valid, **options)
        assert value.isfinite()
        assert gradient.isfinite().all()


def an_empty_batch_is_zero(loss, options, soft, seed=0):
    for shape in ((0, CLASSES, 4, 4), (2, CLASSES, 0), (0, CLASSES)):
        target = torch.zeros(shape) if soft else torch.zeros(shape[:1] + shape[2:], dtype=torch.int64)
        value, gradient = value_and_gradient(loss, torch.zeros(shape), target, **options)
        assert value == 0
        assert gradient.shape == shape


def half_precision_is_computed_in_float32(loss, options, soft, seed=0):
    logits, target, probabilities, valid = inputs(seed, dtype=torch.float32)
    given = probabilities if soft else target
    for dtype in (torch.float16, torch.bfloat16):
        rounded = logits.to(dtype)
        value, gradient = value_and_gradient(loss, rounded, given, valid=valid, **options)
        expected, expected_gradient = value_and_gradient(loss, rounded.float(), given, valid=valid, **options)
        assert value.dtype == torch.float32
        assert gradient.dtype == dtype
        close((value, gradient), (expected, expected_gradient.to(dtype)), 1e-6)


def float32_is_float64(loss, options, soft, seed=0):
    logits, target, probabilities, valid = inputs(seed, (40, 50))
    given = probabilities if soft else target
    # Without void pixels most errors matter, and Lovász sorts them in another way.
    for images, mask in ((slice(None), valid), (slice(1), None)):
        z, y = logits[images], given[images]
        value, gradient = value_and_gradient(loss, z.float(), y.float() if soft else y, valid=mask, **options)
        expected, expected_gradient = value_and_gradient(loss, z, y, valid=mask, **options)
        torch.testing.assert_close(value.double(), expected, rtol=3e-6, atol=0)
        scale = expected_gradient.abs().max()
        assert (gradient.double() - expected_gradient).abs().max() < 2e-5 * scale


def autocast_changes_nothing(loss, options, soft, seed=0):
    """Sums of products stay float32 where autocast would lower them."""
    logits, target, probabilities, valid = inputs(seed, dtype=torch.float32)
    given = probabilities if soft else target
    expected = value_and_gradient(loss, logits, given, valid=valid, **options)
    with torch.autocast("cpu", torch.bfloat16):
        close(value_and_gradient(loss, logits, given, valid=valid, **options), expected, 1e-7)


FOR_EVERY_TARGET = [
    equals_the_slow_way,
    float32_is_float64,
    void_images_are_dropped,
    masked_is_dropped,
    nothing_valid_is_zero,
    axes_may_be_permuted,
    no_spatial_axis_is_one_pixel,
    classes_may_be_renamed,
    gradient_is_the_slope,
    extreme_logits_stay_finite,
    an_empty_batch_is_zero,
    autocast_changes_nothing,
    half_precision_is_computed_in_float32,
]
