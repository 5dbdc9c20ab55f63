"""Every loss of the catalogue as a module that any decode head of MMSegmentation takes as its ``loss_decode``."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from mmseg.registry import MODELS
from torch import Tensor, nn

from segloss.losses import CATALOGUE

VOID = 255  # MMSegmentation's own void index; data sets with another are mapped to it when their labels are read


@dataclass(frozen=True)
class TargetTerm:
    """What losses are computed against, instead of the index map a head hands them.

    Attributes:
        target: Probabilities (B, C, H, W) or class indices (B, H, W).
        valid: Which pixels count, bool (B, H, W).
        weight: Factor of the loss against this target.
        temperature: The logits are divided by it.
        pixelwise: True: for losses that are means over pixels only, False: for the others only, None: for all.
    """

    target: Tensor
    valid: Tensor
    weight: float = 1.0
    temperature: float = 1.0
    pixelwise: bool | None = None

    def concerns(self, loss: str) -> bool:
        """Whether a loss of the catalogue is computed against this part."""
        return self.pixelwise is None or CATALOGUE[loss].pixelwise == self.pixelwise


# Heads hand their losses an index map and nothing else. Other targets travel beside it, for the time of one ``loss``
# call.
_TARGET: ContextVar[Sequence[TargetTerm]] = ContextVar("target", default=())


@contextmanager
def training_target(*parts: TargetTerm) -> Iterator[None]:
    """Within this context every loss of the catalogue is the weighted sum over these parts that concern it."""
    token = _TARGET.set(parts)
    try:
        yield
    finally:
        _TARGET.reset(token)


class SegmentationLoss(nn.Module):
    """A loss of ``segloss.losses`` in MMSegmentation's form; its subclasses, one for each loss, are registered.

    Args:
        loss_weight: Factor of the loss in the sum the optimiser sees. Default 1, as in MMSegmentation.
        loss_name: Key in the training log; must contain ``loss`` to be part of the sum.
        defer: For some options the fraction of the training before which they keep their defaults, such as LDAM's
            deferred re-weighting ``dict(reweighting=0.8)`` (https://arxiv.org/abs/1906.07413). Whoever trains tells
            the module its ``progress``; without that the options hold from the start. Default none.
        options: The keyword options of the loss function.

    Raises:
        TypeError: for an option the function does not have, or a deferred one that is not given.
    """

    function = None

    def __init__(
        self,
        loss_weight: float = 1.0,
        loss_name: str | None = None,
        defer: Mapping[str, float] | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        known = [
            name
            for name, parameter in inspect.signature(self.function).parameters.items()
            if parameter.kind is parameter.KEYWORD_ONLY
        ]
        known.remove("valid")
        for option in options:
            if option not in known:
                raise TypeError(
                    f"{type(self).__name__} got the unknown option {option!r}; known: {', '.join(known) or 'none'}"
                )
        for option in defer or {}:
            if option not in options:
                raise TypeError(f"{type(self).__name__} is to defer {option!r}, which is not among its options")
        self.defer, self.progress = dict(defer or {}), 1.0
        self.loss_weight = loss_weight
        self._loss_name = loss_name or f"loss_{self.function.__name__}"
        self.options = options

    @property
    def loss_name(self) -> str:
        """Key in the training log."""
        return self._loss_name

    def forward(self, logits: Tensor, labels: Tensor, weight: Tensor | None = None, ignore_index: int = VOID) -> Tensor:
        """The weighted loss.

        Args:
            logits: (B, C, H, W).
            labels: The head's index map, int64 (B, H, W); replaced by an enclosing ``training_target``.
            weight: A pixel sampler's choice, (B, 1, H, W) of zeros and ones: pixels at zero do not count.
            ignore_index: The index of void pixels.
        """
        options = {name: value for name, value in self.options.items() if self.progress >= self.defer.get(name, 0.0)}
        values = []
        for part in _TARGET.get() or (TargetTerm(labels, labels != ignore_index),):
            if "terms" in options:
                concerned = [term for term in options["terms"] if part.concerns(term["loss"])]
                own = {**options, "terms": concerned}
            else:
                concerned, own = part.concerns(self.function.__name__), options
            if concerned:
                valid = part.valid if weight is None else part.valid & (weight.reshape(part.valid.shape) > 0)
                scaled = logits if part.temperature == 1 else logits / part.temperature
                values.append(part.weight * type(self).function(scaled, part.target, valid=valid, **own))
        return self.loss_weight * sum(values[1:], start=values[0])

    def extra_repr(self) -> str:
        return ", ".join(
            f"{name}={value!r}" for name, value in {"loss_weight": self.loss_weight, **self.options}.items()
        )


def register_losses() -> None:
    """Register each loss of the catalogue under its own name, none of which MMSegmentation has."""
    for function in CATALOGUE.values():
        name = function.module_name
        module = type(
            name,
            (SegmentationLoss,),
            {"function": staticmethod(function), "__doc__": function.__doc__, "__module__": __name__},
        )
        MODELS.register_module(name=name, module=module)
