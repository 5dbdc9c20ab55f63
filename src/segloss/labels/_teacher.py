"""Targets from a teacher network: distillation on labelled images, pseudo-labels on unlabelled ones."""

import torch
from torch import Tensor

from segloss.labels._catalogue import register, without_void
from segloss.options import Positive, Share, check


def teacher_probabilities(teacher_logits: Tensor, *, temperature: Positive = 1.0) -> Tensor:
    """softmax(logits / temperature) over the classes, in float32 whatever the teacher's dtype.

    Args:
        teacher_logits: Any float type (B, C, *spatial).
        temperature: Above 0; 1 leaves the teacher's probabilities as they are.

    Raises:
        ValueError: temperature not above 0.

    Reference: Hinton et al., Distilling the Knowledge in a Neural Network, 2015, https://arxiv.org/abs/1503.02531
    """
    check("temperature", temperature, Positive)
    return torch.softmax(teacher_logits.detach().float() / temperature, 1)


@register(source="map", needs=("teacher_logits",))
def teacher(
    labels: Tensor,
    valid: Tensor,
    num_classes: int,
    *,
    teacher_logits: Tensor,
    temperature: Positive = 1.0,
) -> tuple[Tensor, Tensor]:
    """Distillation: softmax(teacher_logits / temperature) on the labelled pixels.

    The weight of the hard labels relative to the teacher, and a temperature's factor T^2, belong to the loss and not to
    its target.

    Args:
        labels: Class ids, int64 (B, *spatial); arbitrary where ``valid`` is False.
        valid: bool (B, *spatial), False for void; the teacher's output is ignored there too.
        num_classes: Number of classes C.
        teacher_logits: Any float type (B, C, *spatial), of the same view of the images.
        temperature: Above 0; 1 as in Wang et al.

    Returns:
        float32 (B, C, *spatial), without gradient to the teacher, and ``valid``.

    Raises:
        ValueError: temperature not above 0, or logits of another shape.

    Reference: Wang et al., Jaccard Metric Losses, 2023, https://arxiv.org/abs/2302.05666
    """
    labels = without_void(labels, valid, num_classes)
    expected = (labels.shape[0], num_classes, *labels.shape[1:])
    if teacher_logits.shape != expected:
        raise ValueError(f"Expected teacher_logits of shape {expected}, got {tuple(teacher_logits.shape)}.")
    return teacher_probabilities(teacher_logits, temperature=temperature), valid


def pseudo_labels(
    teacher_logits: Tensor, valid: Tensor, *, threshold: Share = 0.95, soft: bool = False, temperature: Positive = 1.0
) -> tuple[Tensor, Tensor]:
    """The teacher's classes or probabilities on unlabelled images, where the teacher is confident enough.

    Args:
        teacher_logits: Any float type (B, C, *spatial), of the weak view.
        valid: bool (B, *spatial), False in padding.
        threshold: Minimum probability, at temperature 1, of the most probable class, 0..1; 0.95 as in the reference.
        soft: Whether the target is the teacher's probabilities instead of the most probable class.
        temperature: Of the soft target; above 0.

    Returns:
        int64 (B, *spatial), or float32 (B, C, *spatial) if soft, without gradient to the teacher; and bool
        (B, *spatial): the valid pixels with a confidence of ``threshold`` or more.

    Raises:
        ValueError: threshold outside 0..1, temperature not above 0, or valid of another type or shape.

    Reference: Sohn et al., FixMatch, 2020, https://arxiv.org/abs/2001.07685
    """
    check("threshold", threshold, Share)
    if valid.dtype != torch.bool or valid.shape != teacher_logits[:, 0].shape:
        raise ValueError(
            f"Expected a bool valid mask of shape {tuple(teacher_logits[:, 0].shape)}, got {valid.dtype} of shape "
            f"{tuple(valid.shape)}."
        )
    target = teacher_probabilities(teacher_logits, temperature=temperature)
    probabilities = target if temperature == 1 else teacher_probabilities(teacher_logits)
    confidence, most_probable = probabilities.max(1)
    return target if soft else most_probable, valid & (confidence >= threshold)
