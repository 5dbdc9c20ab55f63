"""Validation of a batch, with readable errors."""

import torch
from torch import Tensor

_SUM_TOLERANCE = 1e-3  # averages of half-precision probabilities may miss a sum of 1 by this


def check_probabilities(what: str, probabilities: Tensor, shape: tuple) -> None:
    """Reject anything but float (B, C, H, W); None in `shape` allows any size."""
    fits = probabilities.ndim == 4 and all(
        expected in (None, size) for expected, size in zip(shape, probabilities.shape, strict=True)
    )
    if not fits or not probabilities.is_floating_point():
        sizes = ", ".join(axis if size is None else str(size) for axis, size in zip("BCHW", shape, strict=True))
        raise ValueError(
            f"{what} must be float ({sizes}), got {probabilities.dtype} {tuple(probabilities.shape)}",
        )
    if not probabilities.numel():
        raise ValueError(f"{what} must hold at least one image of at least one pixel, got {tuple(probabilities.shape)}")


def check_valid(valid: Tensor | None, probabilities: Tensor) -> Tensor:
    """The mask (B, H, W), all True for None."""
    shape = (probabilities.shape[0], *probabilities.shape[2:])
    if valid is None:
        return torch.ones(shape, dtype=torch.bool, device=probabilities.device)
    if tuple(valid.shape) != shape or valid.dtype != torch.bool:
        raise ValueError(f"valid must be bool {shape}, got {valid.dtype} {tuple(valid.shape)}")
    return valid


def check_labels(what: str, labels: Tensor, valid: Tensor, num_classes: int, shape: tuple) -> Tensor:
    """The labels with 0 where they are not valid; `valid` broadcasts to them."""
    if tuple(labels.shape) != shape or labels.dtype != torch.int64:
        raise ValueError(f"{what} must be int64 {shape}, got {labels.dtype} {tuple(labels.shape)}")
    labels = labels if valid.all() else torch.where(valid, labels, 0)
    for label in (labels.min().item(), labels.max().item()) if labels.numel() else ():
        if not 0 <= label < num_classes:
            raise ValueError(
                f"{what} must lie in 0..{num_classes - 1} where valid, got {label}; "
                "void pixels are marked by valid=False"
            )
    return labels


def check_raters(raters: Tensor, present: Tensor | None, valid: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """The maps of the raters (B, R, H, W), 0 where they are not valid, and the mask of their valid pixels.

    A rater's map is valid where `valid` (B, H, W) is, in the images that rater labelled: all if `present` is None.
    """
    images, *size = valid.shape
    if raters.ndim != 4 or not raters.shape[1]:
        expected = (images, "R", *size)
        raise ValueError(f"raters must be int64 {expected}, got {raters.dtype} {tuple(raters.shape)}")
    shape = (images, raters.shape[1], *size)
    if present is None:
        present = torch.ones(shape[:2], dtype=torch.bool, device=raters.device)
    if tuple(present.shape) != shape[:2] or present.dtype != torch.bool:
        raise ValueError(f"present must be bool {shape[:2]}, got {present.dtype} {tuple(present.shape)}")
    seen = valid[:, None] & present[:, :, None, None]
    return check_labels("raters", raters, seen, num_classes, shape), seen


def require_probabilities(what: str, chunk: Tensor, valid: Tensor) -> None:
    """Reject logits, log-probabilities, sigmoids, percent, NaN and infinity at valid pixels.

    Args:
        what: Name of the argument, for the error.
        chunk: (B, C, n).
        valid: bool (B, n).
    """
    tolerance = max(_SUM_TOLERANCE, torch.finfo(chunk.dtype).eps)
    total = chunk.sum(1, dtype=torch.promote_types(chunk.dtype, torch.float32))
    # The extremes of the whole slice are quick to find; pixels are checked one by one only if the extremes fail.
    # NaN fails every comparison.
    lowest, highest = total.aminmax()
    if chunk.amin() >= 0 and lowest >= 1 - tolerance and highest <= 1 + tolerance:
        return
    distribution = (chunk.amin(1) >= 0) & ((total - 1).abs() <= tolerance)
    if not bool((distribution | ~valid).all()):
        wrong = chunk.movedim(1, -1)[valid & ~distribution][0]
        raise ValueError(
            f"{what} must be finite, at least 0 and sum to 1 over the classes (a softmax, not logits, sigmoids or "
            f"percent); got {wrong.tolist()[:8]}, which sum to {wrong.double().sum().item():.6g}, at a valid pixel"
        )
