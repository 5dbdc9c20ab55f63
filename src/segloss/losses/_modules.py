"""Every loss of the catalogue as an ``nn.Module``, for training loops other than MMSegmentation's."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from segloss.losses._catalogue import Loss, check_options, get
from segloss.losses._compound import check_takes_pixel_weights, term_report
from segloss.losses._flags import switches
from segloss.options import NonNegative, Share, check


class SegmentationLoss(nn.Module):
    """A loss function with its options; its subclasses, one for each loss, carry the losses' module names.

    Attributes:
        progress: The fraction of training completed, from 0 to 1; a training loop sets it to defer or ramp options.
        report_terms: Whether a call fills `report`. Default False; it costs a forward and a backward pass per term.
        report: For each term of the last call ``value`` and ``gradient_norm``, see `term_report`.

    Args:
        loss_weight: Factor of the loss. Default 1.
        defer: For some options, the fraction of training before which they keep their defaults, such as LDAM's deferred
            re-weighting ``{"reweighting": 0.8}`` (https://arxiv.org/abs/1906.07413). If `progress` is never set, the
            options apply from the start. Default none.
        ramp: For some numeric options, the two fractions of training between which they grow linearly from 0 to their
            value, such as ``{"alpha": (0.0, 0.5)}``; a term of `compound` has its own ``ramp``, which may name its
            ``weight``. Default none.
        exchange: Whether sums are exchanged between processes; if not, each process computes the loss of its own share
            of the batch, and DDP averages the gradients. Default True.
        options: The keyword options of the loss function.

    Raises:
        TypeError: for an option the function does not have, or a deferred or ramped one that is not given.
        ValueError: for a value outside an option's range, including 0 at the beginning of a ramp.
    """

    function: ClassVar[Loss[...]]

    def __init__(
        self,
        *,
        loss_weight: float = 1.0,
        defer: Mapping[str, float] | None = None,
        ramp: Mapping[str, Sequence[float]] | None = None,
        exchange: bool = True,
        **options: Any,
    ) -> None:
        super().__init__()
        check("loss_weight", loss_weight, NonNegative)
        check("exchange", exchange, bool)
        check_options(type(self).function, options)
        for option, fraction in (defer or {}).items():
            if option not in options:
                raise TypeError(f"{type(self).__name__} defers {option!r}, which is not among its options")
            check(f"defer of {option}", fraction, Share)
        _check_ramp(type(self).__name__, type(self).function, options, ramp or {})
        for term in options.get("terms", ()):
            _check_ramp(f"the term {term['loss']}", get(term["loss"]), {"weight": 1.0, **term}, term.get("ramp", {}))
        self.loss_weight, self.exchange, self.options = loss_weight, exchange, options
        self.defer, self.ramp, self.progress = dict(defer or {}), dict(ramp or {}), 1.0
        self.report_terms = False
        self.report: dict[str, dict[str, Tensor]] = {}

    def current_options(self) -> dict[str, Any]:
        """The options that apply at this point of training."""
        options = {name: value for name, value in self.options.items() if self.progress >= self.defer.get(name, 0.0)}
        options = _ramped(options, self.ramp, self.progress)
        if "terms" in options:
            options["terms"] = [
                _ramped({"weight": 1.0, **term}, term["ramp"], self.progress) if "ramp" in term else term
                for term in options["terms"]
            ]
        return options

    def forward(
        self,
        logits: Tensor,
        target: Tensor,
        *,
        valid: Tensor | None = None,
        ignore_index: int | None = None,
        pixel_weights: Tensor | None = None,
        reduction: Literal["mean", "none"] = "mean",
        distance_maps: Tensor | None = None,
    ) -> Tensor:
        """The loss times its weight.

        Args:
            logits: (B, C, *spatial), any float type.
            target: int64 class map (B, *spatial) or probabilities (B, C, *spatial).
            valid: bool (B, *spatial). Default None: every pixel is valid.
            ignore_index: Pixels of a class map with this value are not valid either. Default None: none.
            pixel_weights: (B, *spatial), at least 0; for losses that are means over pixels. Default None: 1 each.
            reduction: ``"none"`` for a map (B, *spatial), for losses that are means over pixels. Default: mean.
            distance_maps: (B, C, *spatial), as in `boundary`; other losses ignore them. Default None: computed here.
        """
        if ignore_index is not None:
            known = target != ignore_index
            valid = known if valid is None else valid & known
        options = self.current_options()
        return self.loss_weight * self.compute(logits, target, valid, options, pixel_weights, reduction, distance_maps)

    def compute(
        self,
        logits: Tensor,
        target: Tensor,
        valid: Tensor | None,
        options: Mapping[str, Any],
        pixel_weights: Tensor | None = None,
        reduction: str = "mean",
        distance_maps: Tensor | None = None,
    ) -> Tensor:
        """The loss with the given options, without its weight."""
        function, per_call = type(self).function, {}
        if pixel_weights is not None or reduction != "mean":
            check_takes_pixel_weights([function])
            per_call = {"pixel_weights": pixel_weights, "reduction": reduction}
        if distance_maps is not None and "distance_maps" in function.needs:
            per_call["distance_maps"] = distance_maps
        with nullcontext() if self.exchange else switches(exchange=False):
            if self.report_terms:
                terms = options.get("terms") or [{"loss": function.__name__, **options}]
                shared = {"class_counts": options.get("class_counts"), "distance_maps": distance_maps}
                self.report = term_report(logits, target, valid=valid, terms=terms, **shared)
            return function(logits, target, valid=valid, **options, **per_call)

    def extra_repr(self) -> str:
        """The weight and the options."""
        shown = {"loss_weight": self.loss_weight, **({} if self.exchange else {"exchange": False}), **self.options}
        return ", ".join(f"{name}={value!r}" for name, value in shown.items())


def _check_ramp(where: str, loss: Loss[...], options: Mapping[str, Any], ramp: Mapping[str, Sequence[float]]) -> None:
    for name, (start, end) in ramp.items():
        if name not in options:
            raise TypeError(f"{where} ramps {name!r}, which is not among its options")
        check(f"ramp of {name}", (start, end), Sequence[Share])
        if start >= end:
            raise ValueError(f"Expected the ramp of {name} to begin before it ends, got {start} and {end}.")
        check(f"{name} at the beginning of its ramp", 0.0, loss.options.get(name, NonNegative))


def _ramped(options: Mapping[str, Any], ramp: Mapping[str, Sequence[float]], progress: float) -> dict[str, Any]:
    """The options without the key ``ramp``, with ramped numbers scaled to this fraction of training."""
    result = {name: value for name, value in options.items() if name != "ramp"}
    for name, (start, end) in ramp.items():
        if name in result:  # not while it is deferred
            result[name] *= min(max((progress - start) / (end - start), 0.0), 1.0)
    return result


def module_class(
    function: Loss[...], base: type[SegmentationLoss] = SegmentationLoss, module: str = "segloss.losses"
) -> type[SegmentationLoss]:
    """The class of a loss's modules, under the loss's module name and with its docstring."""
    attributes = {"function": staticmethod(function), "__doc__": function.__doc__, "__module__": module}
    return type(function.module_name, (base,), attributes)
