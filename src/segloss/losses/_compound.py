"""A weighted sum of losses that reads the batch once."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, Literal

import torch
from torch import Tensor

from segloss.losses._batch import Batch
from segloss.losses._catalogue import Loss, checked_terms, get, register
from segloss.losses._flags import switches
from segloss.options import PerClass


@register("CompoundLoss", needs=("distance_maps",))
def compound(
    logits: Tensor | Batch,
    target: Tensor | None,
    *,
    valid: Tensor | None = None,
    terms: Sequence[Mapping[str, Any]],
    class_counts: PerClass | None = None,
    distance_maps: Tensor | None = None,
    pixel_weights: Tensor | None = None,
    reduction: Literal["mean", "none"] = "mean",
) -> Tensor:
    """Weighted sum Σ_i weight_i · loss_i; the terms share the softmax and all sums over pixels.

    Args:
        logits, target, valid: As in every loss, see `segloss.losses`.
        terms: One mapping per term: its ``loss`` (a name of the catalogue), its ``weight`` (default 1), and the options
            of that loss, e.g. ``{"loss": "tversky", "weight": 0.75, "alpha": 0.5}``; with ``"exchange": False`` its
            sums are not exchanged between processes, see `switches`.
        class_counts: Number of pixels of each class in the training set, for the terms that take it. Default: None: not
            passed to any term.
        distance_maps: As in `boundary`, for the terms that take them. Default: None: those terms compute them.
        pixel_weights, reduction: As in `cross_entropy`; only if every term is a mean over pixels.

    Returns:
        A scalar, or a map without reduction.

    Raises:
        ValueError: no terms, a term without a loss, a name that is not in the catalogue, and anything the losses raise.
    """
    losses = [get(term["loss"]) for term in checked_terms(terms)]
    if pixel_weights is not None or reduction == "none":
        check_takes_pixel_weights(losses)
    sums = {name for loss, term in zip(losses, terms, strict=True) for name in _sums(loss, term)}
    batch = Batch.read(logits, target, valid, sums, pixel_weights=pixel_weights, reduction=reduction)
    total = torch.zeros((), dtype=batch.dtype, device=batch.device)
    for term, value in zip(terms, _values(batch, losses, terms, class_counts, distance_maps), strict=True):
        total = total + term.get("weight", 1.0) * value
    return total


def check_takes_pixel_weights(losses: Sequence[Loss[...]]) -> None:
    """Raise ValueError unless each loss is a mean over pixels."""
    others = [loss.__name__ for loss in losses if "pixel_weights" not in loss.options]
    if others:
        raise ValueError(
            "Expected losses that are means over pixels with pixel weights other than 0 and 1 or without a reduction, "
            f"got {', '.join(others)}; mark pixels that do not count in `valid`."
        )


def _sums(loss: Loss[...], term: Mapping[str, Any]) -> frozenset[str]:
    """The sums that a term reads: those of squares only if its options need them."""
    squared = term.get("squared", False) or "squared" not in loss.options
    return loss.sums if squared else loss.sums - {"squares"}


def _values(
    batch: Batch,
    losses: Sequence[Loss[...]],
    terms: Sequence[Mapping[str, Any]],
    class_counts: PerClass | None,
    distance_maps: Tensor | None,
) -> Iterator[Tensor]:
    """The value of each term, without its weight."""
    for loss, term in zip(losses, terms, strict=True):
        options = {name: value for name, value in term.items() if name not in ("loss", "weight", "exchange")}
        if class_counts is not None and loss.takes_class_counts:
            options.setdefault("class_counts", class_counts)
        if distance_maps is not None and "distance_maps" in loss.needs:
            options["distance_maps"] = distance_maps
        with switches(exchange=False) if term.get("exchange") is False else nullcontext():
            yield loss(batch, None, **options)


def term_report(
    logits: Tensor,
    target: Tensor,
    *,
    valid: Tensor | None = None,
    terms: Sequence[Mapping[str, Any]],
    class_counts: PerClass | None = None,
    distance_maps: Tensor | None = None,
) -> dict[str, dict[str, Tensor]]:
    """The value of each term of a compound loss and the norm of its gradient at the logits, weights included.

    The norms show which term drives training. The report costs a forward and a backward pass per term.

    Args:
        logits, target, valid, terms, class_counts, distance_maps: As in `compound`.

    Returns:
        For each term, keyed by the name of its loss (plus its position, from 1, if the name recurs), ``value`` and
        ``gradient_norm``, scalars without gradient.
    """
    report = {}
    for number, term in enumerate(terms, 1):
        with torch.enable_grad():
            leaf = logits.detach().requires_grad_()
            value = compound(
                leaf, target, valid=valid, terms=[term], class_counts=class_counts, distance_maps=distance_maps
            )
            (gradient,) = torch.autograd.grad(value, leaf)
        name = term["loss"] if term["loss"] not in report else f"{term['loss']}-{number}"
        norm = torch.linalg.vector_norm(gradient, dtype=torch.float64)
        report[name] = {"value": value.detach(), "gradient_norm": norm}
    return report
