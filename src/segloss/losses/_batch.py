"""The arguments of every loss, checked and flattened once, and the sums that losses share."""

import importlib
import importlib.util
import math
from collections.abc import Callable, Collection, Sequence
from functools import cache, wraps
from types import ModuleType
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from segloss.losses import _sums
from segloss.losses._checks import check_indices, check_pixel_weights, check_probabilities, check_shapes
from segloss.losses._flags import checks_on
from segloss.losses._sums import class_sums, without_void

HALF = (torch.float16, torch.bfloat16)


def core_for(logits: Tensor) -> ModuleType:
    """The module whose HardSums and SoftSums suit these logits: fused kernels on a GPU where Triton is installed."""
    if logits.is_cuda and logits.dtype in (torch.float32, *HALF) and _has_triton():
        return importlib.import_module("segloss.losses._fused")
    return _sums


@cache
def _has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


Value = TypeVar("Value")


def _once(function: "Callable[[Batch], Value]") -> Value:
    """A property computed on first use. `functools.cached_property` holds a lock, which torch.compile cannot trace."""

    @wraps(function)
    def value(batch: "Batch") -> Value:
        if function.__name__ not in batch.known:
            batch.known[function.__name__] = function(batch)
        return batch.known[function.__name__]

    return cast(Value, property(value))


class Batch:
    """One batch, read once; each quantity is computed on first use and shared by all terms of a compound loss.

    With N pixels per image (all spatial axes in one), over valid pixels only:

    Attributes:
        given_logits: (B, C, N), as they were given: of any float type.
        dtype, device: The type in which losses compute, float32 or float64, and the device of the logits.
        target: (B, N) class indices, or (B, C, N) probabilities in that dtype; arbitrary where void.
        valid: (B, N) bool, or None where every pixel is valid.
        soft: Whether the target holds probabilities.
        sums: The names of the sums that the terms read: some of likelihood, minimum, product, predicted and squares.
        spatial: The sizes of the spatial axes, for a map of losses.
        pixel_weights: (B, N), 0 where void, or None: each valid pixel weighs 1 in a mean over pixels.
        reduction: ``"mean"``, or ``"none"``: a mean over pixels is left as a map.
    """

    def __init__(
        self,
        logits: Tensor,
        target: Tensor,
        valid: Tensor | None,
        sums: Collection[str],
        spatial: Sequence[int] | None = None,
        pixel_weights: Tensor | None = None,
        reduction: str = "mean",
    ):
        self.given_logits, self.target, self.valid, self.sums = logits, target, valid, sums
        self.dtype = torch.float32 if logits.dtype in HALF else logits.dtype
        self.device = logits.device
        self.spatial = logits.shape[2:] if spatial is None else spatial
        self.pixel_weights, self.reduction = pixel_weights, reduction
        self.known: dict[str, Any] = {}
        self.soft = target.is_floating_point()
        self.classes = logits.shape[1]

    @staticmethod
    def read(
        logits: "Tensor | Batch",
        target: Tensor | None,
        valid: Tensor | None,
        sums: Collection[str],
        *,
        foreground_channel: bool = False,
        exclusive: bool = True,
        pixel_weights: Tensor | None = None,
        reduction: str = "mean",
    ) -> "Batch":
        """Check and flatten the arguments of a loss; an existing batch is returned as it is.

        Args:
            logits: (B, C, *spatial), or a batch.
            target: int64 (B, *spatial) or float (B, C, *spatial); None with a batch.
            valid: bool (B, *spatial) or None.
            sums: What the loss reads, see `Batch`.
            foreground_channel: Whether the logits have one channel, class 1 of a hard target; 0 and 1 are read as
                probabilities.
            exclusive: Whether target probabilities sum to 1, or are those of independent classes.
            pixel_weights: (B, *spatial), at least 0, or None.
            reduction: See `Batch`.
        """
        if isinstance(logits, Batch):
            return logits
        if target is None:
            raise ValueError("Expected a target with the logits, got None.")
        check_shapes(logits, target, valid, foreground_channel)
        images, classes, *spatial = logits.shape
        pixels = math.prod(spatial)
        logits = logits.reshape(images, classes, pixels)
        dtype = torch.float32 if logits.dtype in HALF else logits.dtype
        valid = None if valid is None else valid.reshape(images, pixels)
        if target.is_floating_point():
            target = target.reshape(images, classes, pixels)
            if checks_on():
                check_probabilities(target, valid, exclusive=exclusive and not foreground_channel)
            target = target.to(dtype)
        else:
            target = target.reshape(images, pixels)
            if checks_on():
                check_indices(without_void(target, valid), 2 if foreground_channel else classes)
            if foreground_channel:
                target = target[:, None].to(dtype)
        if pixel_weights is not None:
            check_pixel_weights(pixel_weights, (images, *spatial), checks_on())
            pixel_weights = pixel_weights.reshape(images, pixels).to(dtype)
            pixel_weights = pixel_weights if valid is None else torch.where(valid, pixel_weights, 0)
        return Batch(logits, target, valid, sums, spatial, pixel_weights, reduction)

    def derived(self, *, logits: Tensor | None = None, target: Tensor | None = None) -> "Batch":
        """The same batch with other logits or another target, for a loss based on their likelihood."""
        return Batch(
            self.given_logits if logits is None else logits,
            self.target if target is None else target,
            self.valid,
            self.sums,
            self.spatial,
            self.pixel_weights,
            self.reduction,
        )

    @_once
    def logits(self) -> Tensor:
        """(B, C, N), float32 or float64: half precision is converted for the losses that have no kernel for it."""
        return self.given_logits.to(self.dtype)

    @_once
    def _sums(self) -> dict[str, Tensor | None]:
        core = core_for(self.given_logits)
        # The kernels convert half precision and drop void pixels as they read.
        logits = self.logits if core is _sums else self.given_logits
        if self.soft:
            target = self.valid_target if core is _sums else None
            likelihood, minimum, product, *others = core.SoftSums.apply(
                logits, self.target, self.valid, target, self.sums
            )
        else:
            likelihood, minimum, *others = core.HardSums.apply(logits, self.target, self.valid, self.sums)
            product = minimum
        names = ("likelihood", "minimum", "product", "predicted", "squares", "true")
        return dict(zip(names, (likelihood, minimum, product, *others), strict=False))  # "true" from the kernels only

    def _sum(self, name: str) -> Tensor:
        if name not in self.sums:
            raise KeyError(f"A loss reads the sum {name!r} but was registered with {', '.join(self.sums)} only.")
        return cast(Tensor, self._sums[name])

    @property
    def log_likelihood(self) -> Tensor:
        """log p_y, or Σ_c y_c log p_c: (B, N), 0 where void."""
        return self._sum("likelihood")

    @property
    def predicted(self) -> Tensor:
        """Σp: (B, C)."""
        return self._sum("predicted")

    @property
    def predicted_squares(self) -> Tensor:
        """Σp²: (B, C)."""
        return self._sum("squares")

    @property
    def minimum(self) -> Tensor:
        """Σ min(p, y) = (Σp + Σy - Σ|p - y|) / 2: (B, C). For a hard target the same as `product`."""
        return self._sum("minimum")

    @property
    def product(self) -> Tensor:
        """Σ p·y: (B, C)."""
        return self._sum("product")

    @_once
    def index(self) -> Tensor:
        """The hard target, 0 where void: (B, N)."""
        return without_void(self.target, self.valid)

    @_once
    def valid_target(self) -> Tensor:
        """The soft target, 0 where void: (B, C, N)."""
        return without_void(self.target, self.valid)

    @_once
    def true(self) -> Tensor:
        """Σy: (B, C)."""
        counted = self._sums.get("true") if set(self.sums) - {"likelihood"} else None
        if counted is not None:
            return counted  # the kernels add it up on their way
        if self.soft:
            return self.valid_target.sum(-1)
        ones = torch.ones_like(self.target) if self.valid is None else self.valid
        return class_sums(ones.to(self.dtype), self.index, self.classes)

    @_once
    def true_squares(self) -> Tensor:
        """Σy²: (B, C)."""
        return self.valid_target.square().sum(-1) if self.soft else self.true

    @_once
    def pixels(self) -> Tensor:
        """Number of valid pixels of each image: (B,)."""
        if self.valid is None:
            images, _, pixels = self.given_logits.shape
            return torch.full((images,), pixels, dtype=self.dtype, device=self.device)
        return self.valid.sum(-1).to(self.dtype)

    def present(self, threshold: float) -> Tensor:
        """Whether a class occurs in an image: (B, C) bool; in a soft target, if its maximum exceeds the threshold."""
        if not self.soft:
            return self.true > 0
        if not self.target.shape[-1]:
            return torch.zeros_like(self.true, dtype=torch.bool)
        return self.valid_target.amax(-1) > threshold
