"""Every loss of the catalogue as a module that any decode head of MMSegmentation takes as its ``loss_decode``."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from mmseg.registry import MODELS
from torch import Tensor

from segloss.losses import CATALOGUE, module_class
from segloss.losses import SegmentationLoss as PlainLoss

VOID = 255  # MMSegmentation's own void index; data sets with another are mapped to it when their labels are read


@dataclass(frozen=True)
class TargetTerm:
    """A target of the losses, in place of the index map that a head passes to them.

    Attributes:
        target: Probabilities (B, C, H, W) or class indices (B, H, W).
        valid: The valid pixels, bool (B, H, W).
        weight: Factor of the loss against this target.
        temperature: The logits are divided by it.
        pixelwise: True: for losses that are means over pixels only, False: for the others only, None: for all.
        distance_maps: The signed distances (B, C, H, W) of the label, if the target is the label; pixels that a
            sampler leaves out keep their class in these maps. Default: None: a loss that needs distances computes
            those of the target.
    """

    target: Tensor
    valid: Tensor
    weight: float = 1.0
    temperature: float = 1.0
    pixelwise: bool | None = None
    distance_maps: Tensor | None = None

    def concerns(self, loss: str) -> bool:
        """True if a loss of the catalogue is computed against this target."""
        return self.pixelwise is None or CATALOGUE[loss].pixelwise == self.pixelwise


# Heads pass an index map to their losses and nothing else. Other targets bypass the heads through this variable, for
# one ``loss`` call.
_TARGET: ContextVar[Sequence[TargetTerm]] = ContextVar("target", default=())


@contextmanager
def training_target(*terms: TargetTerm) -> Iterator[None]:
    """Within this context every loss of the catalogue is the weighted sum over the terms that apply to it."""
    token = _TARGET.set(terms)
    try:
        yield
    finally:
        _TARGET.reset(token)


class SegmentationLoss(PlainLoss):
    """A loss of ``segloss.losses`` in MMSegmentation's form; its subclasses, one for each loss, are registered.

    Args:
        loss_weight: Factor of the loss in the sum that is minimised. Default 1, as in MMSegmentation.
        loss_name: Key in the training log; must contain ``loss`` to be part of the sum. Default: ``loss_<function>``.
        use_sigmoid: Only False; accepted as MMEngine merges a config's loss into that of its base, which often sets it.
        avg_non_ignore: Has no effect: the mean is always over valid pixels. Accepted for the same reason.
        defer, ramp, exchange, options: As in ``segloss.losses.SegmentationLoss``.

    Raises:
        TypeError: for an option the function does not have, or a deferred one that is not given.
        ValueError: for a value outside an option's range.
    """

    def __init__(
        self,
        loss_weight: float = 1.0,
        loss_name: str | None = None,
        *,
        use_sigmoid: bool = False,
        avg_non_ignore: bool = True,
        defer: Mapping[str, float] | None = None,
        ramp: Mapping[str, Sequence[float]] | None = None,
        exchange: bool = True,
        **options: Any,
    ) -> None:
        name = type(self).__name__
        if use_sigmoid:
            raise ValueError(
                f"Expected use_sigmoid=False or nothing for {name}, got {use_sigmoid!r}: its probabilities are a "
                "softmax; BceDiceLoss has sigmoids. If the base config sets it, add _delete_=True to the loss."
            )
        try:
            super().__init__(loss_weight=loss_weight, defer=defer, ramp=ramp, exchange=exchange, **options)
        except TypeError as error:
            raise TypeError(
                f"{error}. If it comes from the loss of the base config, add _delete_=True to the loss."
            ) from None
        self._loss_name = loss_name or f"loss_{type(self).function.__name__}"

    @property
    def loss_name(self) -> str:
        """Key in the training log."""
        return self._loss_name

    def forward(
        self,
        logits: Tensor,
        labels: Tensor,
        weight: Tensor | None = None,
        ignore_index: int = VOID,
        reduction_override: str | None = None,
    ) -> Tensor:
        """The weighted loss.

        Args:
            logits: (B, C, H, W).
            labels: The head's index map, int64 (B, H, W); replaced by an enclosing ``training_target``.
            weight: A map of weights, (B, 1, H, W) or (B, H, W): Σ w·loss / Σ w for losses that are means over pixels;
                for others only zeros and ones are possible, and pixels at zero do not count.
            ignore_index: The index of void pixels.
            reduction_override: "none" for a map of losses, as a pixel sampler without a threshold needs.

        Raises:
            ValueError: for weights other than zeros and ones, or for ``"none"``, if the loss is not a mean over pixels.
        """
        options = self.current_options()
        values = []
        for term in _TARGET.get() or (TargetTerm(labels, labels != ignore_index),):
            concerned = self.options_for(term, options)
            if concerned is not None:
                valid, pixel_weights = self.weighted(term.valid, weight, concerned)
                scaled = logits if term.temperature == 1 else logits / term.temperature
                reduction = reduction_override or "mean"
                value = self.compute(
                    scaled, term.target, valid, concerned, pixel_weights, reduction, term.distance_maps
                )
                values.append(term.weight * value)
        return self.loss_weight * sum(values[1:], start=values[0])

    def options_for(self, term: TargetTerm, options: dict[str, Any]) -> dict[str, Any] | None:
        """The options with which the loss is computed against a target; None if the target does not concern it."""
        if "terms" in options:
            terms = [entry for entry in options["terms"] if term.concerns(entry["loss"])]
            return {**options, "terms": terms} if terms else None
        return options if term.concerns(type(self).function.__name__) else None

    def weighted(
        self, valid: Tensor, weight: Tensor | None, options: Mapping[str, Any]
    ) -> tuple[Tensor, Tensor | None]:
        """The valid pixels, and their weights if the loss is a mean over pixels."""
        if weight is None:
            return valid, None
        weight = weight.reshape(valid.shape)
        names = [term["loss"] for term in options.get("terms", ())] or [type(self).function.__name__]
        if all("pixel_weights" in CATALOGUE[name].options for name in names):
            return valid, weight
        if not bool(((weight == 0) | (weight == 1)).all()):
            raise ValueError(
                f"Expected a weight map of zeros and ones for {type(self).__name__}, which is not a mean over pixels, "
                f"got values from {float(weight.min()):g} to {float(weight.max()):g}."
            )
        return valid & (weight > 0), None


def register_losses() -> None:
    """Register each loss of the catalogue under its own name, none of which MMSegmentation has."""
    for function in CATALOGUE.values():
        module = module_class(function, SegmentationLoss, __name__)
        MODELS.register_module(name=function.module_name, module=module)
