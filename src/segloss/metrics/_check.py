"""What a batch must be, said in sentences."""

import torch
from torch import Tensor

_SUM_TOLERANCE = 1e-3  # what averaging half-precision probabilities may add to 1


def check_probabilities(what: str, probabilities: Tensor, shape: tuple) -> None:
    """Refuse all but float (B, C, H, W); None in `shape` is any size."""
    fits = probabilities.ndim == 4 and all(
        want in (None, got) for want, got in zip(shape, probabilities.shape, strict=True)
    )
    if not fits or not probabilities.is_floating_point():
        sizes = ", ".join(axis if want is None else str(want) for axis, want in zip("BCHW", shape, strict=True))
        raise ValueError(
            f"{what} must be float ({sizes}), got {probabilities.dtype} {tuple(probabilities.shape)}",
        )


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


def check_present(present: Tensor | None, raters: Tensor) -> Tensor:
    """Which raters labelled an image (B, R), all for None."""
    shape = tuple(raters.shape[:2])
    if present is None:
        return torch.ones(shape, dtype=torch.bool, device=raters.device)
    if tuple(present.shape) != shape or present.dtype != torch.bool:
        raise ValueError(f"present must be bool {shape}, got {present.dtype} {tuple(present.shape)}")
    return present


def require_probabilities(what: str, chunk: Tensor, largest: Tensor, valid: Tensor) -> None:
    """Refuse logits, log-probabilities and NaN: the extremes over the classes of a distribution are bounded.

    Args:
        chunk: (B, C, n), and `largest` (B, n) its maximum over C.
    """
    # the extremes of the whole slice are quick to find; pixels are looked at one by one only if they are amiss
    least = 1 / chunk.shape[1] - _SUM_TOLERANCE
    if chunk.amin() >= 0 and largest.amin() >= least and largest.amax() <= 1 + _SUM_TOLERANCE:
        return
    fine = (chunk.amin(1) >= 0) & (largest >= least) & (largest <= 1 + _SUM_TOLERANCE)
    if not bool((fine | ~valid).all()):
        wrong = chunk.movedim(1, -1)[valid & ~fine][0]
        raise ValueError(
            f"{what} must be finite, at least 0 and sum to 1 over the classes (a softmax, not logits); "
            f"got {wrong.tolist()[:8]} at a valid pixel"
        )
