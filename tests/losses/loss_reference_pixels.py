"""Slow references of losses that need no neighbours; see `loss_reference`."""

import math

import torch
from loss_reference import cross_entropy, focal, pooled, quotient_loss, tversky


def entropies(y):
    return -torch.where(y > 0, y * y.clamp_min(1e-300).log(), 0).sum(0)


def confidence_penalty(images, alpha=0.1, ce_weight=1.0):
    z, _ = pooled(images)
    p = z.softmax(0)
    return ce_weight * cross_entropy(images) - alpha * entropies(p).mean()


def margin_label_smoothing(images, margin=10.0, alpha=0.1, ce_weight=1.0):
    z, _ = pooled(images)
    excess = [torch.relu(z[:, n].max() - z[c, n] - margin) for n in range(z.shape[1]) for c in range(len(z))]
    return ce_weight * cross_entropy(images) + alpha * sum(excess) / len(excess)


def bin_error(p, y, bins, soft_bins):
    gaps = []
    for b in range(bins):
        if soft_bins:
            inside = p.clamp(0.5 / bins, 1 - 0.5 / bins)
            w = torch.relu(1 - bins * (inside - (b + 0.5) / bins).abs())
        else:
            w = ((p * bins >= b) & ((p * bins < b + 1) | (b == bins - 1))).to(p.dtype)
        if w.sum() >= 0.01:
            gaps.append((((w * p).sum() - (w * y).sum()) / w.sum()).abs())
    return sum(gaps) / len(gaps)


def average_calibration_error(images, bins=20, soft_bins=False, per_image=True, classes="present"):
    images = [(z, y) for z, y in images if y.shape[1]]
    errors = [
        bin_error(z.softmax(0)[c], y[c], bins, soft_bins)
        for z, y in (images if per_image else [pooled(images)])
        for c in range(len(z))
        if classes == "all" or y[c].max() > 0.01
    ]
    return sum(errors) / len(errors)


def poly_cross_entropy(images, epsilon=1.0, alpha=None):
    return poly_focal(images, 0.0, epsilon, alpha)


def poly_focal(images, gamma=2.0, epsilon=1.0, alpha=None):
    z, y = pooled(images)
    w = torch.tensor(alpha or [1.0] * len(z), dtype=z.dtype)[:, None]
    miss = 1 - z.softmax(0)
    return focal(images, gamma, alpha) + epsilon * (w * y * miss ** (gamma + 1)).sum() / z.shape[1]


def hardest_first(images):
    z, y = pooled(images)
    losses = -(y * z.log_softmax(0)).sum(0)
    divergence = losses.detach() - entropies(y)
    order = sorted(range(len(losses)), key=lambda n: -float(divergence[n]))
    return [losses[n] for n in order], [float(divergence[n]) for n in order]


def topk_cross_entropy(images, k=0.1):
    losses, _ = hardest_first(images)
    kept = losses[: max(1, math.floor(k * len(losses)))]
    return sum(kept) / len(kept)


def ohem_cross_entropy(images, threshold=0.7, min_kept=100_000):
    losses, divergences = hardest_first(images)
    kept = [
        loss
        for rank, (loss, divergence) in enumerate(zip(losses, divergences, strict=True))
        if rank < min_kept or (threshold is not None and math.exp(-divergence) < threshold)
    ]
    return sum(kept) / len(kept)


def focal_tversky(images, power=0.75, **options):
    return tversky(images, power=power, **options)


def asymmetric_focal(images, delta=0.7, gamma=2.0):
    z, y = pooled(images)
    p, total = z.softmax(0), 0.0
    for c in range(len(z)):
        factor = (1 - delta) * (1 - p[0]) ** gamma if c == 0 else delta
        total = total - (factor * y[c] * p[c].log()).sum()
    return total / z.shape[1]


def asymmetric_focal_tversky(images, delta=0.7, gamma=0.75, classes="present"):
    means = []
    for z, y in images:
        p = z.softmax(0)
        losses = []
        for c in range(len(z)):
            if y.shape[1] and (classes == "all" or y[c].max() > 0.01):
                tp = (p[c] * y[c]).sum()
                power = 1.0 if c == 0 else 1 - gamma
                losses.append(quotient_loss(tp, p[c].sum() - tp, y[c].sum() - tp, 1 - delta, delta, 1e-7, power, False))
        if losses:
            means.append(sum(losses) / len(losses))
    return sum(means) / len(means)


def unified_focal(images, region_weight=0.5, delta=0.6, gamma=0.5):
    region = asymmetric_focal_tversky(images, delta, gamma)
    return region_weight * region + (1 - region_weight) * asymmetric_focal(images, delta, gamma)


PIXEL_REFERENCES = {
    function.__name__: function
    for function in (
        confidence_penalty,
        margin_label_smoothing,
        average_calibration_error,
        poly_cross_entropy,
        poly_focal,
        topk_cross_entropy,
        ohem_cross_entropy,
        focal_tversky,
        asymmetric_focal,
        asymmetric_focal_tversky,
        unified_focal,
    )
}
