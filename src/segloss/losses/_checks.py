"""What a loss may be called with, and the sentence where it is called with something else."""

import torch
from torch import Tensor


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
            "channel z is the two channels (0, z), and bce_dice takes it as it is with foreground_channel=True."
        )
    images, classes, *spatial = logits.shape
    hard, soft = (images, *spatial), (images, classes, *spatial)
    shape = tuple(target.shape)
    if target.is_floating_point():
        if shape != soft:
            hint = "; a map of class indices is int64" if shape == hard else ""
            raise ValueError(f"Expected float target probabilities of shape {soft} as the logits, got {shape}{hint}.")
    elif target.dtype != torch.int64:
        raise ValueError(f"Expected an int64 class map or float probabilities as target, got {target.dtype}.")
    elif shape != hard:
        hint = "; target probabilities are float" if shape == soft else ""
        raise ValueError(f"Expected an int64 class map of shape {hard}, got {shape}{hint}.")
    if valid is not None and (valid.dtype != torch.bool or tuple(valid.shape) != hard):
        raise ValueError(
            f"Expected a bool valid mask of shape {hard}, got {valid.dtype} of shape {tuple(valid.shape)}."
        )


def check_indices(target: Tensor, classes: int) -> None:
    if target.numel():
        low, high = (int(bound) for bound in target.aminmax())
        if low < 0 or high >= classes:
            raise ValueError(
                f"Expected class indices from 0 to {classes - 1} at valid pixels, got {low} to {high}; "
                "mark void pixels in `valid`."
            )


def check_probabilities(target: Tensor, valid: Tensor | None) -> None:
    if valid is not None:
        target = torch.where(valid[:, None], target, 0)
    if not bool((target >= 0).all()):
        word = "NaN" if bool(target.isnan().any()) else f"{float(target.min()):.6g}"
        raise ValueError(f"Expected target probabilities of at least 0 at valid pixels, got {word}.")
