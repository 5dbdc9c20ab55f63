"""What every loss reads: logits, target and valid, checked and flattened once, and the sums they share."""

from functools import cached_property

import torch
from torch import Tensor

from segloss.losses._core import HardSums, SoftSums, _class_sums
from segloss.losses._switches import checks_on


class Batch:
    """One batch, read once; each quantity is computed when first asked for and shared by all terms of a compound loss.

    With N pixels per image (all spatial axes in one), over valid pixels only:

    Attributes:
        logits: (B, C, N), float32 or float64.
        target: (B, N) class indices, 0 where void; or (B, C, N) probabilities of the logits' type.
        valid: (B, N) bool, or None where every pixel is valid.
        soft: Whether the target holds probabilities.
    """

    def __init__(self, logits: Tensor, target: Tensor, valid: Tensor | None):
        self.logits, self.target, self.valid = logits, target, valid
        self.soft = target.is_floating_point()
        self.classes = logits.shape[1]

    @staticmethod
    def read(logits: "Tensor | Batch", target: Tensor | None = None, valid: Tensor | None = None) -> "Batch":
        """Check and flatten what a loss was called with; a batch that was read before is returned as it is."""
        if isinstance(logits, Batch):
            return logits
        _check_shapes(logits, target, valid)
        images, classes = logits.shape[:2]
        logits = logits.reshape(images, classes, -1)
        if logits.dtype in (torch.float16, torch.bfloat16):
            logits = logits.float()
        valid = None if valid is None else valid.reshape(images, -1)
        if target.is_floating_point():
            target = target.reshape(images, classes, -1).to(logits.dtype)
            if checks_on():
                _check_probabilities(target, valid)
        else:
            target = target.reshape(images, -1)
            if valid is not None:
                target = torch.where(valid, target, 0)  # whatever stands in a void pixel, often 255
            if checks_on():
                _check_indices(target, classes)
        return Batch(logits, target, valid)

    @cached_property
    def _sums(self) -> tuple[Tensor, ...]:
        return (SoftSums if self.soft else HardSums).apply(self.logits, self.target, self.valid)

    @property
    def log_likelihood(self) -> Tensor:
        """log p_y, or Σ_c y_c log p_c: (B, N), 0 where void."""
        return self._sums[0]

    @property
    def predicted(self) -> Tensor:
        """Σp: (B, C)."""
        return self._sums[1]

    @property
    def predicted_squares(self) -> Tensor:
        """Σp²: (B, C)."""
        return self._sums[2]

    @property
    def minimum(self) -> Tensor:
        """Σ min(p, y) = (Σp + Σy - Σ|p - y|) / 2: (B, C). For a hard target the same as `product`."""
        return self._sums[3]

    @property
    def product(self) -> Tensor:
        """Σ p·y: (B, C)."""
        return self._sums[-1]

    @cached_property
    def valid_target(self) -> Tensor:
        """The soft target, 0 where void: (B, C, N)."""
        return self.target if self.valid is None else torch.where(self.valid[:, None], self.target, 0)

    @cached_property
    def true(self) -> Tensor:
        """Σy: (B, C)."""
        if self.soft:
            return self.valid_target.sum(-1)
        ones = torch.ones_like(self.target) if self.valid is None else self.valid
        return _class_sums(ones.to(self.logits.dtype), self.target, self.classes)

    @cached_property
    def true_squares(self) -> Tensor:
        """Σy²: (B, C)."""
        return self.valid_target.square().sum(-1) if self.soft else self.true

    @cached_property
    def pixels(self) -> Tensor:
        """How many pixels of each image are valid: (B,)."""
        if self.valid is None:
            images, _, pixels = self.logits.shape
            return self.logits.new_full((images,), pixels)
        return self.valid.sum(-1).to(self.logits.dtype)

    def present(self, threshold: float) -> Tensor:
        """Whether a class occurs in an image: (B, C) bool; in a soft target, where its largest probability is above."""
        if not self.soft:
            return self.true > 0
        if not self.target.shape[-1]:
            return torch.zeros_like(self.true, dtype=torch.bool)
        return self.valid_target.amax(-1) > threshold


def _check_shapes(logits: Tensor, target: Tensor, valid: Tensor | None) -> None:
    if logits.dim() < 2 or not logits.is_floating_point():
        raise ValueError(
            f"Expected float logits of shape (B, C, *spatial), got {logits.dtype} of shape {tuple(logits.shape)}."
        )
    if logits.shape[1] < 2:
        raise ValueError(
            f"Expected logits of at least two channels, got shape {tuple(logits.shape)}; "
            "a single foreground channel z is the two channels (0, z)."
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


def _check_indices(target: Tensor, classes: int) -> None:
    if target.numel():
        low, high = (int(bound) for bound in target.aminmax())
        if low < 0 or high >= classes:
            raise ValueError(
                f"Expected class indices from 0 to {classes - 1} at valid pixels, got {low} to {high}; "
                "mark void pixels in `valid`."
            )


def _check_probabilities(target: Tensor, valid: Tensor | None) -> None:
    if valid is not None:
        target = torch.where(valid[:, None], target, 0)
    if not bool((target >= 0).all()):
        word = "NaN" if bool(target.isnan().any()) else f"{float(target.min()):.6g}"
        raise ValueError(f"Expected target probabilities of at least 0 at valid pixels, got {word}.")
