"""A weighted sum of losses that reads the batch once."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from segloss.losses._batch import Batch
from segloss.losses._catalogue import get, register


@register("CompoundLoss")
def compound(
    logits: Tensor | Batch, target: Tensor | None, *, valid: Tensor | None = None, terms: Sequence[Mapping[str, Any]]
) -> Tensor:
    """Weighted sum Σ_i weight_i · loss_i; the terms share the softmax and all sums over pixels.

    Args:
        logits: (B, C, *spatial), any float type.
        target: int64 class map (B, *spatial) or probabilities (B, C, *spatial).
        valid: bool (B, *spatial), or None: every pixel is valid.
        terms: One mapping per term: its ``loss`` (a name of the catalogue), its ``weight`` (default 1), and the options
            of that loss, e.g. ``{"loss": "tversky", "weight": 0.75, "alpha": 0.5}``.

    Raises:
        ValueError: no terms, a term without a loss, or a name that is not in the catalogue.
    """
    if not terms:
        raise ValueError(
            f"Expected at least one term such as {{'loss': 'cross_entropy', 'weight': 1.0}}, got {terms!r}."
        )
    batch = Batch.read(logits, target, valid)
    total = batch.logits.new_zeros(())
    for term in terms:
        if "loss" not in term:
            raise ValueError(f"Expected a term to name its loss under 'loss', got {dict(term)!r}.")
        options = {name: value for name, value in term.items() if name not in ("loss", "weight")}
        total = total + term.get("weight", 1.0) * get(term["loss"])(batch, None, **options)
    return total
