"""STAPLE: joint estimation of the hidden true segmentation and the raters' error rates."""

import torch
from torch import Tensor

from segloss.labels._catalogue import register, without_void
from segloss.options import Count


@register(source="raters")
def staple(labels: Tensor, valid: Tensor, num_classes: int, *, iterations: Count = 50) -> tuple[Tensor, Tensor]:
    """Posterior of the true class by expectation maximisation, for each image (or crop) separately.

    Rater r chooses class d where s is true with probability theta_r[s, d], independently of the other raters; the prior
    f of the classes is their share among all votes of the image. Each iteration computes in turn:
    W_i(s) ~ f(s) prod_r theta_r[s, d_ir]; theta_r[s, d] = sum of W_i(s) over r's pixels with d / sum over r's pixels.
    Pixels with the same votes have the same posterior, so the work is done only once per combination of votes.

    Args:
        labels, valid, num_classes: As in every scenario, see `segloss.labels`.
        iterations: Number of steps, 1 or more; fixed, so that no step synchronises with the device.

    Returns:
        float32 (B, C, *spatial), arbitrary but finite at void pixels, and bool (B, *spatial): whether any rater
        labelled the pixel.

    Raises:
        ValueError: iterations below 1, or B (C + 1)^R combinations of votes do not fit into 63 bits.

    Reference: Warfield et al., Simultaneous Truth and Performance Level Estimation (STAPLE), 2004,
    https://doi.org/10.1109/TMI.2004.828354
    """
    labels = without_void(labels, valid, num_classes)
    num_images, num_raters = labels.shape[:2]
    votes, image, pixels, pattern = _patterns(labels.masked_fill(~valid, num_classes), num_classes)

    given = votes < num_classes  # (P, R), the votes of P patterns; class C stands for no vote
    cell = (image.unsqueeze(1) * num_raters + torch.arange(num_raters, device=votes.device)) * (num_classes + 1) + votes

    def sum_per_vote(weights: Tensor) -> Tensor:
        """Sum of (P, C) weights over the patterns of each image in which a rater chose d: (B, R, d, C)."""
        sums = weights.new_zeros(num_images * num_raters * (num_classes + 1), num_classes)
        sums.index_add_(0, cell.flatten(), weights.repeat_interleave(num_raters, 0))
        return sums.view(num_images, num_raters, num_classes + 1, num_classes)[:, :, :num_classes]

    tiny = 1e-12  # no error counts as impossible, and classes that no rater chose stay improbable without log(0)
    count = pixels.double().unsqueeze(1)
    chosen = sum_per_vote(count.expand(-1, num_classes))[..., 0].sum(1)
    prior = (chosen / chosen.sum(1, keepdim=True).clamp_min(1)).clamp_min(tiny)
    theta = torch.full((num_classes, num_classes), 0.01 / max(num_classes - 1, 1), dtype=torch.float64)
    theta = theta.fill_diagonal_(0.99).to(votes.device).expand(num_images, num_raters, -1, -1)  # (B, R, d, s)
    truth = theta.new_zeros(len(votes), num_classes)
    for step in range(iterations):
        # A row of zeros for "no vote", which is no evidence.
        evidence = torch.cat([theta.clamp_min(tiny).log(), theta.new_zeros(num_images, num_raters, 1, num_classes)], 2)
        truth = (prior.log()[image] + evidence.reshape(-1, num_classes)[cell].sum(1)).softmax(1)
        if step < iterations - 1:
            sums = sum_per_vote(truth * count)
            theta = sums / sums.sum(2, keepdim=True).clamp_min(tiny)
    target = truth.float()[pattern].view(num_images, *labels.shape[2:], num_classes).movedim(-1, 1).contiguous()
    return target, given.any(1)[pattern].view(num_images, *labels.shape[2:])


def _patterns(labels: Tensor, num_classes: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The distinct combinations of votes of each image, class C standing for no vote.

    Returns:
        For P combinations: the votes int64 (P, R), the image (P,), the number of pixels (P,); and for every pixel of
        the batch, in order, its combination.
    """
    num_images, num_raters = labels.shape[:2]
    base = num_classes + 1
    if num_images * base**num_raters >= 2**63:
        raise ValueError(
            f"STAPLE of {num_raters} raters, {num_classes} classes and {num_images} images at a time has too many "
            "combinations of votes to index in 63 bits; pass fewer images or raters"
        )
    code = torch.arange(num_images, device=labels.device).view(-1, *[1] * (labels.ndim - 2)).expand_as(labels[:, 0])
    for rater in range(num_raters):
        code = code * base + labels[:, rater]
    code, pattern, pixels = torch.unique(code.flatten(), return_inverse=True, return_counts=True)
    places = base ** torch.arange(num_raters - 1, -1, -1, device=labels.device)
    return code.unsqueeze(1) // places % base, code // base**num_raters, pixels, pattern
