"""Every loss of the catalogue as a module that any decode head of MMSegmentation takes as its ``loss_decode``."""

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from mmseg.registry import MODELS
from torch import Tensor, nn

from segloss.losses import CATALOGUE

# Heads hand their losses an index map and nothing else. Soft targets travel beside it, for the time of one ``loss``
# call.
_SOFT_TARGET: ContextVar[tuple[Tensor, Tensor] | None] = ContextVar("soft target", default=None)


@contextmanager
def soft_target(target: Tensor, valid: Tensor) -> Iterator[None]:
    """Within this context every loss of the catalogue is computed against this target instead of the head's index map.

    Args:
        target: Probabilities (B, C, H, W) or class indices (B, H, W).
        valid: Which pixels count, bool (B, H, W).
    """
    token = _SOFT_TARGET.set((target, valid))
    try:
        yield
    finally:
        _SOFT_TARGET.reset(token)


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

    def forward(self, logits: Tensor, labels: Tensor, weight: Tensor | None = None, ignore_index: int = 255) -> Tensor:
        """The weighted loss.

        Args:
            logits: (B, C, H, W).
            labels: The head's index map, int64 (B, H, W); replaced by the target of an enclosing ``soft_target``.
            weight: A pixel sampler's choice, (B, 1, H, W) of zeros and ones: pixels at zero do not count.
            ignore_index: The index of void pixels.
        """
        target, valid = _SOFT_TARGET.get() or (labels, labels != ignore_index)
        if weight is not None:
            valid = valid & (weight.reshape(valid.shape) > 0)
        options = {name: value for name, value in self.options.items() if self.progress >= self.defer.get(name, 0.0)}
        return self.loss_weight * type(self).function(logits, target, valid=valid, **options)

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
