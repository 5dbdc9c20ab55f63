"""The hand-written core: from logits to the per-pixel log-likelihood and the per-class sums that make up all losses.

Autograd would keep the softmax, the one-hot target and every product of the two. Here only the softmax is kept, and the
gradient is written in closed form. With g the gradient with respect to a pixel's log-likelihood and G_c that with
respect to p_c at the pixel (from the sums), the Jacobian of softmax gives

    dz_c = p_c (G_c - Σ_k G_k p_k) + g (y_c - p_c Σ_k y_k).

Only the requested sums are computed; the others are None.
"""

from collections.abc import Callable, Collection, Iterator

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNK = 1 << 20  # elements per thread: temporaries of this size stay in the CPU's cache
BLOCK = 1 << 16  # elements per temporary where a chain of operations has many of them and runs in one thread
VECTOR = 64  # elements: a multiple of any CPU's vector width, including unrolled loops
LEAST = -1e30  # floor of log p, for logits further apart than float32 holds: 0 times it is 0, its sums are finite
BITS = {torch.float32: torch.int32, torch.float64: torch.int64}


def slices(values: Tensor) -> Iterator[slice]:
    """Split the images, or rows, of a tensor into slices of about CHUNK elements per thread, at least one each."""
    images = len(values)
    if torch.compiler.is_compiling():
        step = max(1, images)
    else:
        threads = 1 if values.is_cuda else torch.get_num_threads()
        step = max(1, threads * CHUNK // max(1, values[:1].numel()))
    return (slice(start, start + step) for start in range(0, max(1, images), step))


def blocks(values: Tensor) -> Iterator[tuple[slice, slice, slice]]:
    """Split (images, classes, pixels) into runs of pixels whose temporaries all fit into the inner cache.

    Each run is a whole number of vectors, so that results are bit-identical to those of a single piece: the library's
    scalar and vector forms of pow differ. If the pixels of an image are not a whole number of vectors, the pieces are
    images; likewise on a GPU, where pieces of a CPU cache's size would take longer to launch than to compute.
    """
    images, classes, pixels = values.shape
    # A compiler would unroll the loop, and fuses operations automatically.
    if pixels % VECTOR or values.is_cuda or torch.compiler.is_compiling():
        yield from ((part, slice(None), slice(None)) for part in slices(values))
        return
    # Waking a second thread takes longer than computing a small piece.
    threads = torch.get_num_threads()
    size = BLOCK if threads == 1 else threads * CHUNK
    step = max(1024, size // max(1, classes) // VECTOR * VECTOR)
    for image in range(images):
        for start in range(0, pixels, step):
            yield slice(image, image + 1), slice(None), slice(start, start + step)


def class_sums(values: Tensor, target: Tensor, classes: int) -> Tensor:
    """Sum values (B, N) by the class of their pixel: (B, C). In float64, as sequential sums in float32 drift."""
    sums = values.new_zeros(values.shape[0], classes, dtype=torch.float64)
    return sums.scatter_add_(1, target, values.double()).to(values.dtype)


def without_void(target: Tensor, valid: Tensor | None) -> Tensor:
    """The target with 0 where void, whatever it holds there: often 255 in a class map (B, N), NaN in probabilities."""
    if valid is None:
        return target
    if not target.is_floating_point():
        return torch.where(valid, target, 0)
    # Masked on the bits of (B, C, N): a product would keep NaN, and torch.where takes three times as long.
    bits = BITS[target.dtype]
    return (target.view(bits) & -valid.to(bits)[:, None]).view(target.dtype)


def row_sums(function: Callable[..., Tensor], left: Tensor, right: Tensor) -> Tensor:
    """Sum function(left, right) over the last axis of (B, C, N), a few rows at a time to avoid a large temporary."""
    images, classes = left.shape[:2]
    left, right = left.flatten(0, 1), right.flatten(0, 1)
    parts = [function(left[part], right[part]).sum(-1) for part in slices(left)]
    return torch.cat(parts).view(images, classes)


def _softmax(logits: Tensor, log: bool) -> Tensor:
    """Softmax over classes, or log_softmax, as the log of the softmax would be -inf where p underflows."""
    return torch.log_softmax(logits, 1) if log else torch.softmax(logits, 1)


def _likelihood(probabilities: Tensor, index: Tensor, log_likelihood: Tensor | None, valid: Tensor | None) -> Tensor:
    """p_y, 0 where void: (B, N). From its logarithm if that is known, as a gather reads a cache line per element."""
    if log_likelihood is None:
        return probabilities.gather(1, index)[:, 0]
    likelihood = log_likelihood.exp()
    return likelihood if valid is None else likelihood.mul_(valid)


class HardSums(torch.autograd.Function):
    """(logits (B, C, N), target (B, N), valid (B, N) or None) -> log p_y (B, N), and per class Σp·y, Σp, Σp² (B, C)."""

    @staticmethod
    def forward(ctx, logits: Tensor, target: Tensor, valid: Tensor | None, wanted: Collection[str]):
        ctx.set_materialize_grads(False)
        index = without_void(target, valid)[:, None]
        log_likelihood = overlap = predicted = squares = None
        probabilities = _softmax(logits, "likelihood" in wanted)
        if "likelihood" in wanted:
            log_likelihood = probabilities.gather(1, index)[:, 0].clamp_(min=LEAST)
            probabilities.exp_()
        if valid is not None:
            # Void pixels are dropped here: with p = 0 they contribute nothing to any sum or to the gradient.
            keep = valid.to(logits.dtype)
            probabilities *= keep[:, None]
            log_likelihood = None if log_likelihood is None else log_likelihood.mul_(keep)
        likelihood = None
        if "minimum" in wanted or "product" in wanted:
            likelihood = _likelihood(probabilities, index, log_likelihood, valid)
            overlap = class_sums(likelihood, index[:, 0], logits.shape[1])
        if "predicted" in wanted:
            predicted = probabilities.sum(-1)
        if "squares" in wanted:
            squares = row_sums(torch.mul, probabilities, probabilities)
        # The caller's target and mask, as copies without void would take a tenth of the logits' memory at 19 classes;
        # and one number per pixel, which gives p_y without another gather.
        ctx.save_for_backward(probabilities, target, valid, likelihood if log_likelihood is None else log_likelihood)
        ctx.logarithm = log_likelihood is not None
        return log_likelihood, overlap, predicted, squares

    @staticmethod
    @once_differentiable
    def backward(ctx, g_log_likelihood, g_overlap, g_predicted, g_squares):
        probabilities, target, valid, likelihood = ctx.saved_tensors
        target = without_void(target, valid)
        index = target[:, None]
        if ctx.logarithm or likelihood is None:
            likelihood = _likelihood(probabilities, index, likelihood if ctx.logarithm else None, valid)
        direct = torch.zeros_like(likelihood)  # gradient with respect to log p_y, the overlap included
        if g_log_likelihood is not None:
            direct += g_log_likelihood if valid is None else g_log_likelihood * valid
        if g_overlap is not None:
            direct += g_overlap.gather(1, target) * likelihood
        at_target = torch.zeros_like(likelihood)  # G_y
        if g_predicted is not None:
            at_target += g_predicted.gather(1, target)
        if g_squares is not None:
            at_target += 2 * g_squares.gather(1, target) * likelihood
            gradient = probabilities * (2 * g_squares)[:, :, None]
            if g_predicted is not None:
                gradient += g_predicted[:, :, None]
            gradient *= probabilities
            mean = gradient.sum(1) + direct
            gradient.addcmul_(probabilities, mean[:, None], value=-1)
        elif g_predicted is not None:
            # Autocast would round this product to half precision.
            with torch.autocast(probabilities.device.type, enabled=False):
                mean = torch.bmm(g_predicted[:, None], probabilities)[:, 0] + direct
            gradient = torch.empty_like(probabilities)
            for part in blocks(probabilities):
                torch.sub(g_predicted[part[0], :, None], mean[part[::2]][:, None], out=gradient[part])
                gradient[part] *= probabilities[part]
        else:
            mean = direct
            gradient = probabilities * -mean[:, None]
        # Each pixel has one target class: overwriting its entry is faster than adding to it.
        gradient.scatter_(1, index, (likelihood * (at_target - mean) + direct)[:, None])
        return gradient, None, None, None


class SoftSums(torch.autograd.Function):
    """(logits, target, valid, target without its void pixels) -> Σ_c y log p (B, N), and per class Σ min(p, y), Σp·y,
    Σp, Σp² (B, C); logits and targets (B, C, N), valid (B, N) or None.
    """

    @staticmethod
    def forward(ctx, logits, target, valid, valid_target, wanted: Collection[str]):
        log_likelihood = minimum = product = squares = None
        probabilities = _softmax(logits, "likelihood" in wanted)
        if "likelihood" in wanted:
            log_likelihood = (probabilities.clamp_(min=LEAST) * valid_target).sum(1)
            probabilities.exp_()
        if valid is not None:
            probabilities *= valid.to(logits.dtype)[:, None]
        predicted = probabilities.sum(-1) if "predicted" in wanted else None
        if "minimum" in wanted:
            minimum = row_sums(torch.minimum, probabilities, valid_target)
        if "product" in wanted:
            product = row_sums(torch.mul, probabilities, valid_target)
        if "squares" in wanted:
            squares = row_sums(torch.mul, probabilities, probabilities)
        ctx.save_for_backward(probabilities, target, valid)
        ctx.set_materialize_grads(False)
        return log_likelihood, minimum, product, predicted, squares

    @staticmethod
    @once_differentiable
    def backward(ctx, g_log_likelihood, g_minimum, g_product, g_predicted, g_squares):
        probabilities, target, valid = ctx.saved_tensors
        target = without_void(target, valid)
        derivative = None  # dL/dp, then p times it, then dL/dz
        if g_minimum is not None:
            # min(p, y) = (p + y - |p - y|) / 2, and |p - y| has slope 0 where p = y.
            derivative = torch.sub(probabilities, target).sign_().mul_(g_minimum[:, :, None] / -2)
            derivative += (g_minimum / 2 if g_predicted is None else g_minimum / 2 + g_predicted)[:, :, None]
        elif g_predicted is not None:
            derivative = g_predicted[:, :, None].expand_as(probabilities).clone()
        if g_product is not None:
            derivative = (
                target * g_product[:, :, None]
                if derivative is None
                else derivative.addcmul_(target, g_product[:, :, None])
            )
        if g_squares is not None:
            twice = 2 * g_squares[:, :, None]
            derivative = probabilities * twice if derivative is None else derivative.addcmul_(probabilities, twice)
        mean = torch.zeros_like(probabilities[:, 0])
        if derivative is not None:
            derivative *= probabilities
            mean += derivative.sum(1)
        if g_log_likelihood is not None:
            mean += g_log_likelihood * target.sum(1)
        if derivative is None:
            derivative = probabilities * -mean[:, None]
        else:
            derivative.addcmul_(probabilities, mean[:, None], value=-1)
        if g_log_likelihood is not None:
            derivative.addcmul_(target, g_log_likelihood[:, None])
        return derivative, None, None, None, None
