"""Losses that no installed library has, written with plain autograd, following their authors' code."""

import torch
import torch.nn.functional as F
from torch import Tensor

IGNORE = {"ignore_index": 255}


def margin_label_smoothing(logits: Tensor, target: Tensor) -> Tensor:
    excess = F.relu(logits.max(1, keepdim=True).values - logits - 10)
    return F.cross_entropy(logits, target) + 0.1 * excess.mean()


def confidence_penalty(logits: Tensor, target: Tensor) -> Tensor:
    p, log_p = F.softmax(logits, 1), F.log_softmax(logits, 1)
    return F.cross_entropy(logits, target) + 0.1 * (p * log_p).sum(1).mean()


def average_calibration_error(logits: Tensor, target: Tensor) -> Tensor:
    """Hard bins, image by image and class by class, absent classes left out."""
    p, errors = F.softmax(logits, 1), []
    edges = torch.linspace(0, 1, 21)[1:-1]
    for image in range(len(p)):
        for c in range(p.shape[1]):
            predicted, true = p[image, c].flatten(), (target[image] == c).flatten().to(p.dtype)
            if true.any():
                index = torch.bucketize(predicted.detach(), edges, right=True)
                number = torch.zeros(20).scatter_add_(0, index, torch.ones_like(true))
                gap = torch.zeros(20).scatter_add(0, index, predicted) - torch.zeros(20).scatter_add_(0, index, true)
                occupied = number > 0
                errors.append((gap[occupied] / number[occupied]).abs().mean())
    return torch.stack(errors).mean()


def topk_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    losses = F.cross_entropy(logits, target, reduction="none").flatten()
    return losses.topk(losses.numel() // 10, sorted=False).values.mean()


def poly_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    losses = F.cross_entropy(logits, target, reduction="none", **IGNORE)
    return (losses + (1 - torch.exp(-losses)) * (target != 255)).sum() / (target != 255).sum()


def poly_focal(logits: Tensor, target: Tensor) -> Tensor:
    losses = F.cross_entropy(logits, target, reduction="none", **IGNORE)
    miss = 1 - torch.exp(-losses)
    return ((miss**2 * losses + miss**3) * (target != 255)).sum() / (target != 255).sum()


def asymmetric_focal(logits: Tensor, target: Tensor) -> Tensor:
    p = F.softmax(logits, 1).clamp(1e-7, 1 - 1e-7)
    cross_entropy = -F.one_hot(target, p.shape[1]).movedim(-1, 1) * torch.log(p)
    background = 0.3 * (1 - p[:, :1]) ** 2 * cross_entropy[:, :1]
    return torch.cat([background, 0.7 * cross_entropy[:, 1:]], 1).sum(1).mean()


def asymmetric_focal_tversky(logits: Tensor, target: Tensor, delta: float = 0.7, gamma: float = 0.75) -> Tensor:
    p = F.softmax(logits, 1).clamp(1e-7, 1 - 1e-7)
    y = F.one_hot(target, p.shape[1]).movedim(-1, 1)
    tp, fn, fp = ((y * p).sum((2, 3)), (y * (1 - p)).sum((2, 3)), ((1 - y) * p).sum((2, 3)))
    miss = 1 - (tp + 1e-7) / (tp + delta * fn + (1 - delta) * fp + 1e-7)
    return torch.cat([miss[:, :1], miss[:, 1:] ** (1 - gamma)], 1).mean()


def unified_focal(logits: Tensor, target: Tensor) -> Tensor:
    p = F.softmax(logits, 1).clamp(1e-7, 1 - 1e-7)
    cross_entropy = -F.one_hot(target, p.shape[1]).movedim(-1, 1) * torch.log(p)
    background = 0.4 * (1 - p[:, :1]) ** 0.5 * cross_entropy[:, :1]
    focal = torch.cat([background, 0.6 * cross_entropy[:, 1:]], 1).sum(1).mean()
    return 0.5 * asymmetric_focal_tversky(logits, target, 0.6, 0.5) + 0.5 * focal
