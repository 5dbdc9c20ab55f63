"""The Lovász losses, exact: softmax for all classes at once, hinge for one foreground."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from segloss.losses._all_reduce import mean_over_processes, sum_over_processes
from segloss.losses._batch import Batch
from segloss.losses._catalogue import register
from segloss.losses._flags import exchange_on
from segloss.losses._lovasz_autograd import LovaszHinge, LovaszSoftmax
from segloss.losses._weights import class_vector
from segloss.options import ClassId, PerClass


@register("LovaszSoftmaxLoss", soft_targets=False)
def lovasz_softmax(
    logits: Tensor | Batch,
    target: Tensor | None,
    *,
    valid: Tensor | None = None,
    per_image: bool = False,
    classes: Literal["present", "all"] | Sequence[ClassId] = "present",
    class_weights: PerClass | None = None,
) -> Tensor:
    """Lovász-softmax loss: for each class the Lovász extension of its Jaccard loss, at the errors |[y = c] - p_c|.

    With a class's errors sorted, e_(1) ≥ e_(2) ≥ ..., it is Σ_i e_(i) (J_i - J_(i-1)), J_i being the Jaccard loss if
    only the first i pixels were mispredicted; this is averaged over classes. Lower is better.

    With several processes the batch-wide form gathers the errors of all processes, because it sorts all pixels
    together; the per-image form exchanges only two numbers.

    Args:
        logits, target, valid: As in every loss, see `segloss.losses`; the target must be a class map.
        per_image: Sort each image separately, then average over the images in which a class counts. Default: False, the
            whole batch as one image, as in the authors' code.
        classes: ``"present"``: the mean over the classes that occur; ``"all"``; or a list of class ids. Default:
            present, the authors'.
        class_weights: Weights of the mean over classes. Default: 1 each.

    Returns:
        A scalar in [0, 1].

    Raises:
        ValueError: target probabilities, or invalid shapes, types or options.

    Reference: Berman et al., "The Lovász-Softmax loss", 2018, https://arxiv.org/abs/1705.08790
    """
    batch = Batch.read(logits, target, valid, lovasz_softmax.sums)
    if batch.soft:
        raise ValueError(
            "Expected an int64 class map, got target probabilities: the Lovász extension is that of a set function, "
            "the Jaccard loss of a set of mispredicted pixels, and a soft target has no such set; use jaccard_metric."
        )
    weights = None
    if class_weights is not None:
        weights = class_vector(class_weights, batch, "class_weights")
    if not isinstance(classes, str):
        if not classes or max(classes) >= batch.classes:
            raise ValueError(f"Expected at least one class from 0 to {batch.classes - 1}, got {classes!r}.")
        chosen = batch.logits.new_zeros(batch.classes)
        chosen[list(classes)] = 1
        weights = chosen if weights is None else chosen * weights
    together = exchange_on() and not per_image
    losses, images = LovaszSoftmax.apply(
        batch.logits, batch.index, batch.valid, weights, per_image, classes != "present", together
    )
    if per_image:
        losses, images = sum_over_processes(losses, images)
    return losses / images.clamp_min(1)


@register("LovaszHingeLoss", soft_targets=False)
def lovasz_hinge(
    logits: Tensor | Batch,
    target: Tensor | None,
    *,
    valid: Tensor | None = None,
    foreground_channel: bool = False,
    per_image: bool = False,
    classes: Literal["present", "all"] = "all",
    class_weights: PerClass | None = None,
) -> Tensor:
    """Lovász hinge loss, each class against the rest: the Lovász extension of its Jaccard loss at max(0, 1 - s·z_c).

    s is 1 on the class and -1 elsewhere; the mean is over classes. The loss was designed for one foreground class with
    one channel of logits. Lower is better. Several processes are handled as in `lovasz_softmax`.

    Args:
        logits, target, valid: As in every loss, see `segloss.losses`; (B, 1, *spatial) with `foreground_channel`; the
            target must be a class map.
        foreground_channel: Whether the logits have one channel, the foreground: class 1 of a class map of 0s and 1s.
            Default: False: one channel per class.
        per_image: As in `lovasz_softmax`. Default: False.
        classes: ``"all"``, or ``"present"``: those that occur. Default: all, so that an image without foreground is
            penalised for its largest error, as in the authors' code.
        class_weights: Weights of the mean over classes. Default: 1 each.

    Returns:
        A scalar in [0, ∞).

    Raises:
        ValueError: target probabilities, or invalid shapes, types or options.

    Reference: Yu and Blaschko, "The Lovász Hinge", 2015, https://arxiv.org/abs/1512.07797; Berman et al., 2018,
        https://arxiv.org/abs/1705.08790
    """
    batch = Batch.read(logits, target, valid, (), foreground_channel=foreground_channel)
    if batch.soft and not foreground_channel:
        raise ValueError("Expected an int64 class map, got target probabilities; use jaccard_metric.")
    index = batch.valid_target[:, 0].long() - 1 if batch.soft else batch.index  # the foreground is channel 0
    valid = torch.ones_like(index, dtype=torch.bool) if batch.valid is None else batch.valid
    weights = batch.logits.new_ones(batch.classes)
    if class_weights is not None:
        weights = class_vector(class_weights, batch, "class_weights")
    together = exchange_on() and not per_image
    total, images = LovaszHinge.apply(batch.logits, index, valid, weights, per_image, classes == "present", together)
    return mean_over_processes(total, images) if per_image else total / images.clamp_min(1)
