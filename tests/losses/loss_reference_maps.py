"""Slow references of losses that use a pixel's neighbours: loops over pixels, all distances, lists of neighbours."""

from itertools import product

import torch
from loss_reference import cross_entropy, images_of
from torch.nn.functional import one_hot


def probabilities_of(target, classes, valid):
    if target.is_floating_point():
        return torch.where(valid[:, None], target, 0)
    return one_hot(target, classes).movedim(-1, 1).double() * valid[:, None]


def pixels_of(shape):
    return list(product(*(range(size) for size in shape)))


def window(pixel, shape, radius):
    """The pixels of the image that lie in a square (cube) window around a pixel."""
    ranges = [range(max(0, at - radius), min(size, at + radius + 1)) for at, size in zip(pixel, shape, strict=True)]
    return list(product(*ranges))


def neighbor_aware_calibration(logits, target, valid, kernel_size=3, alpha=0.1, distance="l1", border="valid", **rest):
    y, shape = probabilities_of(target, logits.shape[1], valid), logits.shape[2:]
    terms = []
    for image in range(len(logits)):
        for pixel in pixels_of(shape):
            if not valid[(image, *pixel)]:
                continue
            inside = [n for n in window(pixel, shape, kernel_size // 2) if valid[(image, *n)]]
            number = len(inside) if border == "valid" else kernel_size ** len(shape)
            share = sum(y[(image, slice(None), *n)] for n in inside) / number
            difference = share - logits[(image, slice(None), *pixel)]
            terms.append((difference.abs() if distance == "l1" else difference**2).mean())
    penalty = sum(terms) / len(terms)
    return rest.get("ce_weight", 1.0) * cross_entropy(images_of(logits, target, valid)) + alpha * penalty


def distances(mask):
    """The distance of each pixel to the nearest one on the other side of the mask; 0 if there is none."""
    at = torch.tensor(pixels_of(mask.shape), dtype=torch.float64)
    all_distances = (at[:, None] - at[None]).square().sum(-1).sqrt()
    flat = mask.flatten()
    other = flat[:, None] != flat[None]
    nearest = torch.where(other, all_distances, torch.inf).amin(1)
    return torch.where(nearest < torch.inf, nearest, 0).view(mask.shape)


def boundary(logits, target, valid, include_background=False):
    p, y = logits.softmax(1), probabilities_of(target, logits.shape[1], valid)
    total = 0.0
    classes = range(0 if include_background else 1, logits.shape[1])
    for image, c in product(range(len(logits)), classes):
        mask = y[image, c] > 0.5
        d = distances(mask)
        signed = torch.where(mask & mask.any() & ~mask.all(), 1 - d, d)
        total = total + (p[image, c] * signed)[valid[image]].sum()
    return total / (valid.sum() * len(classes))


def hausdorff(logits, target, valid, alpha=2.0, include_background=False, log=False):
    p, y = logits.softmax(1), probabilities_of(target, logits.shape[1], valid)
    total = 0.0
    classes = range(0 if include_background else 1, logits.shape[1])
    for image, c in product(range(len(logits)), classes):
        predicted = (logits[image].argmax(0) == c) & valid[image]
        weight = distances(predicted) ** alpha + distances(y[image, c] > 0.5) ** alpha
        total = total + ((p[image, c] - y[image, c]) ** 2 * weight)[valid[image]].sum()
    mean = total / (valid.sum() * len(classes))
    return torch.log(1 + mean) if log else mean


def morphology(x, keep, function):
    """A function of the pixels in each 3x3 window that `keep` selects, by how many of their coordinates differ."""
    values = []
    for pixel in pixels_of(x.shape):
        near = [n for n in window(pixel, x.shape, 1) if keep(sum(a != b for a, b in zip(n, pixel, strict=True)))]
        values.append(function(torch.stack([x[n] for n in near])))
    return torch.stack(values).view(x.shape)


def skeleton(x, iterations):
    total = None
    for _ in range(iterations + 1):
        eroded = morphology(x, lambda moved: moved <= 1, torch.min)
        ridge = torch.relu(x - morphology(eroded, lambda moved: True, torch.max))
        total = ridge if total is None else total + torch.relu(ridge - total * ridge)
        x = eroded
    return total


def cldice(logits, target, valid, iterations=3, smooth=1.0, include_background=False):
    p, y = logits.softmax(1) * valid[:, None], probabilities_of(target, logits.shape[1], valid)
    means = []
    for image in range(len(logits)):
        losses = []
        for c in range(0 if include_background else 1, logits.shape[1]):
            if y[image, c].any():
                s_p, s_y = skeleton(p[image, c], iterations), skeleton(y[image, c], iterations)
                precision = ((s_p * y[image, c]).sum() + smooth) / (s_p.sum() + smooth)
                sensitivity = ((s_y * p[image, c]).sum() + smooth) / (s_y.sum() + smooth)
                losses.append(1 - 2 * precision * sensitivity / (precision + sensitivity))
        if losses:
            means.append(sum(losses) / len(losses))
    return sum(means) / len(means)


MAP_REFERENCES = {function.__name__: function for function in (neighbor_aware_calibration, boundary, hausdorff, cldice)}
