"""Slow references for every loss: lists of pixels, one-hot targets, loops over classes, float64, no code shared."""

import torch
from loss_cases import CLASSES
from torch import Tensor


def images_of(logits: Tensor, target: Tensor, valid: Tensor) -> list[tuple[Tensor, Tensor]]:
    """For each image the logits and target probabilities of its valid pixels, (C, n) each."""
    if not target.is_floating_point():
        target = torch.nn.functional.one_hot(target, logits.shape[1]).movedim(-1, 1).to(logits.dtype)
    return [(z[:, v], y[:, v]) for z, y, v in zip(logits, target, valid, strict=True)]


def pooled(images):
    return torch.cat([z for z, _ in images], 1), torch.cat([y for _, y in images], 1)


def cross_entropy(images, class_weights=None, weighting=None, class_counts=None):
    z, y = pooled(images)
    if weighting == "median":
        occurring = sorted(count for count in class_counts if count)
        middle = (occurring[(len(occurring) - 1) // 2] + occurring[len(occurring) // 2]) / 2
        class_weights = [middle / count if count else 0.0 for count in class_counts]
    w = torch.tensor(class_weights or [1.0] * CLASSES, dtype=z.dtype)[:, None]
    return -(w * y * z.log_softmax(0)).sum() / (w * y).sum()


def focal(images, gamma=2.0, alpha=None):
    z, y = pooled(images)
    p = z.softmax(0)
    w = torch.tensor(alpha or [1.0] * CLASSES, dtype=z.dtype)[:, None]
    return -(w * y * (1 - p) ** gamma * p.log()).sum() / z.shape[1]


def quotient_loss(tp, fp, fn, alpha, beta, smooth, power, log):
    size = tp + alpha * fp + beta * fn + smooth
    quotient = (tp + smooth) / size if size > 0 else torch.ones((), dtype=torch.float64)
    loss = -quotient.log() if log else 1 - quotient
    return loss**power if loss > 0 else loss * 0


def region(
    images,
    overlap,
    alpha,
    beta,
    squared=False,
    level_weights=(1.0, 0.0, 0.0),
    classes="present",
    threshold=0.01,
    smooth=1e-3,
    power=1.0,
    log=False,
    class_weights=None,
    activation=lambda z: z.softmax(0),
):
    w = class_weights or [1.0] * CLASSES
    form = (alpha, beta, smooth, power, log)

    def counts(z, y, c):
        p, q = activation(z)[c], y[c]
        tp = overlap(p, q).sum()
        return torch.stack([tp, (p**2 if squared else p).sum() - tp, (q**2 if squared else q).sum() - tp])

    def counted(y, c):
        return y.shape[1] > 0 and (classes != "present" or bool(y[c].max() > threshold))

    def mean(pairs):
        pairs = list(pairs)
        return sum(weight * loss for weight, loss in pairs) / sum(weight for weight, _ in pairs)

    images = [(z, y) for z, y in images if y.shape[1]]
    everything = pooled(images)
    if classes is None:
        classes = "present" if bool(((everything[1] == 0) | (everything[1] == 1)).all()) else "all"
    data_set, image, per_class = level_weights
    if classes == "agnostic":

        def agnostic(z, y):
            return quotient_loss(*sum(w[c] * counts(z, y, c) for c in range(CLASSES)), *form)

        return data_set * agnostic(*everything) + image * mean((1, agnostic(z, y)) for z, y in images)
    total = data_set * mean(
        (w[c], quotient_loss(*counts(*everything, c), *form)) for c in range(CLASSES) if counted(everything[1], c)
    )
    if image:
        total = total + image * mean(
            (1, mean((w[c], quotient_loss(*counts(z, y, c), *form)) for c in range(CLASSES) if counted(y, c)))
            for z, y in images
        )
    if per_class:
        total = total + per_class * mean(
            (w[c], mean((1, quotient_loss(*counts(z, y, c), *form)) for z, y in images if counted(y, c)))
            for c in range(CLASSES)
            if any(counted(y, c) for _, y in images)
        )
    return total


def product(p, y):
    return p * y


def dice(images, smooth=1e-3, **options):
    return region(images, product, 0.5, 0.5, smooth=smooth / 2, **options)


def jaccard(images, **options):
    return region(images, product, 1.0, 1.0, **options)


def tversky(images, alpha=0.3, beta=0.7, **options):
    return region(images, product, alpha, beta, **options)


def compatible_tversky(images, alpha=0.3, beta=0.7, classes=None, **options):
    return region(images, torch.minimum, alpha, beta, classes=classes, **options)


def jaccard_metric(images, **options):
    return compatible_tversky(images, 1.0, 1.0, **options)


def dice_semimetric(images, **options):
    return compatible_tversky(images, 0.5, 0.5, **options)


def generalized_dice(images, per_image=False, weight_type="square", smooth=0.0, class_weights=None):
    images = [(z, y) for z, y in images if y.shape[1]]
    exponent = {"square": 2, "simple": 1, "uniform": 0}[weight_type]
    losses = []
    for z, y in images if per_image else [pooled(images)]:
        p, true = z.softmax(0), y.sum(1)
        rarest = min(float(t) for t in true if t > 0)
        weights = torch.tensor([(rarest / float(t)) ** exponent if t > 0 else 1.0 for t in true], dtype=z.dtype)
        weights = weights * torch.tensor(class_weights or [1.0] * CLASSES, dtype=z.dtype)
        overlap, size = (weights * (p * y).sum(1)).sum(), (weights * (p.sum(1) + true)).sum()
        losses.append(1 - (2 * overlap + smooth) / (size + smooth))
    return sum(losses) / len(losses)


def bce_dice(images, dice_weight=1.0, classes="present", class_weights=None):
    z, y = pooled(images)
    w = torch.tensor(class_weights or [1.0] * CLASSES, dtype=z.dtype)
    bce = (w * -(y * torch.sigmoid(z).log() + (1 - y) * torch.sigmoid(-z).log()).mean(1)).sum() / w.sum()
    options = {"classes": classes, "class_weights": class_weights}
    return bce + dice_weight * dice(images, smooth=1.0, activation=torch.sigmoid, **options)


def dice_focal(images, gamma=2.0, alpha=None):
    return dice(images) + 0.5 * focal(images, gamma, alpha)


def exponential_logarithmic(images, class_counts=None, gamma_cross=0.3):
    z, y = pooled(images)
    w = [1.0] * CLASSES
    if class_counts:
        counts = [count or min(other for other in class_counts if other) for count in class_counts]
        w = [(sum(counts) / count) ** 0.5 for count in counts]
    cross = (torch.tensor(w, dtype=z.dtype)[:, None] * y * (-z.log_softmax(0)) ** gamma_cross).sum() / z.shape[1]
    return 0.8 * dice(images, smooth=1.0, log=True, power=0.3) + 0.2 * cross


def ldam(images, class_counts, scale=1.0, reweighting=None):
    counts = [count or min(other for other in class_counts if other) for count in class_counts]
    margins = torch.tensor([0.5 * (min(counts) / count) ** 0.25 for count in counts], dtype=torch.float64)[:, None]
    weights = None
    if reweighting:
        weights = [(1 - reweighting) / (1 - reweighting**count) for count in counts]
        weights = [weight / sum(weights) * CLASSES for weight in weights]
    return cross_entropy([(scale * (z - margins * y), y) for z, y in images], weights)


def lmf(images, class_counts, ldam_weight=1.0, gamma=2.0, scale=1.0):
    return ldam_weight * ldam(images, class_counts, scale) + focal(images, gamma)


def lovasz(images, errors_of, per_image, classes, class_weights):
    images, w = [(z, y) for z, y in images if y.shape[1]], class_weights or [1.0] * CLASSES
    means = []
    for z, y in images if per_image else [pooled(images)]:
        errors, losses, weights = errors_of(z, y), [], []
        for c in range(CLASSES):
            if classes == "present" and not y[c].any():
                continue
            loss, before, wrong = 0.0, 0.0, [0, 0]
            for n in errors[c].argsort(descending=True).tolist():
                wrong[int(y[c, n])] += 1
                jaccard_loss = 1 - (float(y[c].sum()) - wrong[1]) / (float(y[c].sum()) + wrong[0])
                loss = loss + errors[c, n] * (jaccard_loss - before)
                before = jaccard_loss
            losses.append(w[c] * loss)
            weights.append(w[c])
        means.append(sum(losses) / sum(weights))
    return sum(means) / len(means)


def lovasz_softmax(images, per_image=False, classes="present", class_weights=None):
    return lovasz(images, lambda z, y: (y - z.softmax(0)).abs(), per_image, classes, class_weights)


def lovasz_hinge(images, per_image=False, classes="all", class_weights=None):
    return lovasz(images, lambda z, y: (1 - (2 * y - 1) * z).relu(), per_image, classes, class_weights)


def compound(images, terms, class_counts=None):
    total = 0.0
    for term in terms:
        options = {key: value for key, value in term.items() if key not in ("loss", "weight")}
        if term["loss"] == "ldam":
            options["class_counts"] = class_counts
        total = total + term.get("weight", 1.0) * REFERENCES[term["loss"]](images, **options)
    return total


REFERENCES = {
    function.__name__: function
    for function in (
        cross_entropy,
        focal,
        dice,
        jaccard,
        tversky,
        generalized_dice,
        bce_dice,
        dice_focal,
        exponential_logarithmic,
        lovasz_softmax,
        lovasz_hinge,
        jaccard_metric,
        dice_semimetric,
        compatible_tversky,
        ldam,
        lmf,
        compound,
    )
}
