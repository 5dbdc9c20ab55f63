"""Validation of the tensors passed to a loss, with readable errors."""

import torch
from torch import Tensor

# Sums of probabilities may deviate from 1 by the rounding of their dtype, even with 150 classes.
SUM_TOLERANCE = {torch.float16: 1e-2, torch.bfloat16: 1e-2}


def check_shapes(logits: Tensor, target: Tensor, valid: Tensor | None, foreground_channel: bool) -> None:
    if logits.dim() < 2 or not logits.is_floating_point():
        raise ValueError(
            f"Expected float logits of shape (B, C, *spatial), got {logits.dtype} of shape {tuple(logits.shape)}."
        )
    if foreground_channel and logits.shape[1] != 1:
        raise ValueError(f"Expected one channel of logits with foreground_channel, got shape {tuple(logits.shape)}.")
    if not foreground_channel and logits.shape[1] < 2:
        raise ValueError(
            f"Expected logits of at least two channels, got shape {tuple(logits.shape)}; a single foreground "
            "channel z is the two channels (0, z), and bce_dice accepts it directly with foreground_channel=True."
        )
    images, classes, *spatial = logits.shape
    hard, soft = (images, *spatial), (images, classes, *spatial)
    shape = tuple(target.shape)
    if target.is_floating_point():
        _check_size(spatial, shape[2:], shape[:2] == (images, classes))
        if shape != soft:
            hint = "; a map of class indices is int64" if shape == hard else ""
            raise ValueError(f"Expected float target probabilities of shape {soft} as the logits, got {shape}{hint}.")
    elif target.dtype != torch.int64:
        raise ValueError(f"Expected an int64 class map or float probabilities as target, got {target.dtype}.")
    else:
        _check_size(spatial, shape[1:], shape[:1] == (images,))
        if shape != hard:
            hint = "; target probabilities are float" if shape == soft else ""
            raise ValueError(f"Expected an int64 class map of shape {hard}, got {shape}{hint}.")
    if valid is not None and (valid.dtype != torch.bool or tuple(valid.shape) != hard):
        raise ValueError(
            f"Expected a bool valid mask of shape {hard}, got {valid.dtype} of shape {tuple(valid.shape)}."
        )


def _check_size(logits: list[int], label: tuple[int, ...], else_equal: bool) -> None:
    """Reject logits smaller than the label, as many networks predict at a fraction of its size."""
    sizes = list(zip(label, logits, strict=False))
    if else_equal and len(label) == len(logits) and list(label) != logits and all(a >= b > 0 for a, b in sizes):
        raise ValueError(
            f"Expected logits of the label's size {tuple(label)}, got {tuple(logits)}; upsample the logits to the "
            f"label's size first, e.g. torch.nn.functional.interpolate(logits, size={tuple(label)}, mode='bilinear')."
        )


def check_indices(target: Tensor, classes: int) -> None:
    if target.numel():
        low, high = (int(bound) for bound in target.aminmax())
        if low < 0 or high >= classes:
            raise ValueError(
                f"Expected class indices from 0 to {classes - 1} at valid pixels, got {low} to {high}; "
                "mark void pixels in `valid`."
            )


def check_probabilities(target: Tensor, valid: Tensor | None, *, exclusive: bool) -> None:
    """Check probabilities (B, C, N): finite, not negative, summing to 1 over exclusive classes, or each at most 1.

    Everything is computed on the device, with a single synchronisation if they are valid.
    """
    if not target.numel():
        return
    tolerance = SUM_TOLERANCE.get(target.dtype, 1e-3)
    if valid is not None:
        target = torch.where(valid[:, None], target, 0)
    sums = target.float().sum(1) if target.dtype in SUM_TOLERANCE else target.sum(1)
    if exclusive:
        inside = (sums - 1).abs() <= tolerance
        inside = inside if valid is None else inside | ~valid
    else:
        inside = target <= 1 + tolerance
    if bool((target >= 0).all() & inside.all()):
        return
    if not bool(target.isfinite().all()):
        word = "NaN" if bool(target.isnan().any()) else "infinity"
        raise ValueError(f"Expected finite target probabilities at valid pixels, got {word}.")
    if float(target.min()) < 0:
        least = float(target.min())
        raise ValueError(f"Expected target probabilities of at least 0 at valid pixels, got {least:.6g}.")
    if not exclusive:
        raise ValueError(f"Expected target probabilities of at most 1 at valid pixels, got {float(target.max()):.6g}.")
    wrong = sums[~inside]
    raise ValueError(
        "Expected target probabilities that sum to 1 over the classes at valid pixels, got sums from "
        f"{float(wrong.min()):.6g} to {float(wrong.max()):.6g}; divide percentages by 100, and mark pixels without a "
        "label in `valid`. Independent probabilities (sigmoids) are a target for bce_dice."
    )


def check_pixel_weights(weights: Tensor, shape: tuple[int, ...], values: bool) -> None:
    """Check a map of pixel weights; its values only if `values` is true, which synchronises with the device."""
    if tuple(weights.shape) != shape:
        raise ValueError(f"Expected pixel_weights of shape {shape}, got {tuple(weights.shape)}.")
    if values and not bool((weights >= 0).all() & weights.isfinite().all()):
        raise ValueError("Expected finite pixel_weights of at least 0, got negative or non-finite ones.")
