"""The Lovász-softmax loss, exact, for all classes at once."""

import torch
from torch import Tensor

from segloss.losses._batch import Batch
from segloss.losses._catalogue import register
from segloss.losses._pixel import mean_over_processes


@register("LovaszSoftmaxLoss", soft_targets=False)
def lovasz_softmax(
    logits: Tensor | Batch,
    target: Tensor | None,
    *,
    valid: Tensor | None = None,
    per_image: bool = False,
    classes: str = "present",
) -> Tensor:
    """Lovász-softmax loss: the Lovász extension of 1 - Jaccard at the errors |[y = c] - p_c|, averaged over classes."""
    batch = Batch.read(logits, target, valid, lovasz_softmax.sums)
    if batch.soft:
        raise ValueError(
            "Expected an int64 class map, got target probabilities: the Lovász extension is that of a set function, "
            "the Jaccard loss of a set of mispredicted pixels, and a soft target has no such set; use jaccard_metric."
        )
    if classes not in ("present", "all"):
        raise ValueError(f"Expected classes to be present or all, got {classes!r}.")
    probabilities = torch.softmax(batch.logits, 1)
    foreground = torch.nn.functional.one_hot(batch.target, batch.classes).movedim(-1, 1).to(probabilities.dtype)
    errors = (foreground - probabilities).abs()
    if batch.valid is not None:
        errors = errors * batch.valid[:, None]
        foreground = foreground * batch.valid[:, None]
    if not per_image:
        errors, foreground = (each.movedim(0, 1).flatten(1)[None] for each in (errors, foreground))
    order_errors, order = errors.sort(-1, descending=True)
    hits = foreground.gather(-1, order)
    size = hits.sum(-1, keepdim=True)
    union = size + (1 - hits).cumsum(-1)
    jaccard = 1 - (size - hits.cumsum(-1)) / union.clamp_min(1)
    increments = torch.cat([jaccard[..., :1], jaccard.diff(dim=-1)], -1)
    losses = (order_errors * increments).sum(-1)
    pixels = batch.pixels if per_image else batch.pixels.sum()[None]
    active = (size[..., 0] > 0) if classes == "present" else (pixels > 0)[:, None].expand(losses.shape)
    active = active.to(losses.dtype)
    count = active.sum(-1)
    means = (losses * active).sum(-1) / count.clamp_min(1)
    return mean_over_processes(means.sum(), (count > 0).sum().to(losses.dtype))
