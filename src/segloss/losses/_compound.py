"""A weighted sum of losses that reads the batch once."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from segloss.losses._batch import Batch
from segloss.losses._catalogue import checked_terms, get, register
from segloss.options import PerClass


@register("CompoundLoss")
def compound(
    logits: Tensor | Batch,
    target: Tensor | None,
    *,
    valid: Tensor | None = None,
    terms: Sequence[Mapping[str, Any]],
    class_counts: PerClass | None = None,
) -> Tensor:
    """Weighted sum Σ_i weight_i · loss_i; the terms share the softmax and all sums over pixels.

    Args:
        logits: (B, C, *spatial), any float type.
        target: int64 class map (B, *spatial) or probabilities (B, C, *spatial).
        valid: bool (B, *spatial), or None: every pixel is valid.
        terms: One mapping per term: its ``loss`` (a name of the catalogue), its ``weight`` (default 1), and the options
            of that loss, e.g. ``{"loss": "tversky", "weight": 0.75, "alpha": 0.5}``.
        class_counts: Number of pixels of each class in the training set, for the terms that take it. Default: None: no
            term gets it from here.

    Returns:
        A scalar.

    Raises:
        ValueError: no terms, a term without a loss, a name that is not in the catalogue, and what the losses raise.
    """
    losses = [get(term["loss"]) for term in checked_terms(terms)]
    batch = Batch.read(logits, target, valid, frozenset().union(*(loss.sums for loss in losses)))
    total = batch.logits.new_zeros(())
    for term, loss in zip(terms, losses, strict=True):
        options = {name: value for name, value in term.items() if name not in ("loss", "weight")}
        if class_counts is not None and loss.takes_class_counts:
            options.setdefault("class_counts", class_counts)
        total = total + term.get("weight", 1.0) * loss(batch, None, **options)
    return total
