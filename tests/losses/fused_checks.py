"""The fused kernels against the core: run by `test_loss_fused` in a separate process, interpreted or compiled."""

import os

import pytest
import torch
from loss_cases import HARD, SOFT, inputs, label, value_and_gradient

from segloss.losses import _batch, _fused, _sums, get
from segloss.losses._batch import Batch

DEVICE = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"
EVERYTHING = {"likelihood", "minimum", "product", "predicted", "squares"}


def close(actual, expected, tolerance):
    scale = max(float(expected.abs().max()), 1e-30)
    assert (actual.double().cpu() - expected).abs().max() <= tolerance * scale


@pytest.mark.parametrize("void", [False, True])
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    ("images", "classes", "pixels"), [(2, 5, 37), (1, 19, 600), (3, 2, 1), (1, 150, 70), (2, 16, 256)]
)
def test_sums_and_gradients_are_those_of_the_core_in_float64(images, classes, pixels, dtype, soft, void):
    generator = torch.Generator().manual_seed(0)
    logits = (3 * torch.randn(images, classes, pixels, generator=generator)).to(dtype)
    valid = torch.rand(images, pixels, generator=generator) > 0.3 if void else None
    if soft:
        target = torch.rand(images, classes, pixels, generator=generator)
        target = target if valid is None else torch.where(valid[:, None], target, torch.nan)
    else:
        target = torch.randint(classes, (images, pixels), generator=generator)
        target = target if valid is None else torch.where(valid, target, 255)
    outcomes = []
    for module, device, computed in ((_sums, "cpu", torch.float64), (_fused, DEVICE, torch.float32)):
        z = logits.to(device, torch.float64 if module is _sums else dtype).requires_grad_()
        y = target.to(device, computed if soft else torch.int64)
        keep = None if valid is None else valid.to(device)
        if soft:
            sums = module.SoftSums.apply(z, y, keep, _sums.without_void(y, keep), EVERYTHING)
        else:
            sums = module.HardSums.apply(z, y, keep, EVERYTHING)
        sums, true = sums[: 5 if soft else 4], sums[5 if soft else 4 :]
        if module is _fused:
            batch = Batch(z, y, keep, ())
            close(true[0], batch.true.double().cpu(), 1e-6)
        generator.manual_seed(1)
        total = sum((tensor * torch.randn(tensor.shape, generator=generator).to(tensor)).sum() for tensor in sums)
        outcomes.append((*sums, *torch.autograd.grad(total, z)))
    *sums, (expected, gradient) = zip(*outcomes, strict=True)
    for exact, actual in sums:
        assert actual.dtype == torch.float32
        close(actual.detach(), exact.detach(), 3e-6)
    assert gradient.dtype == dtype
    close(gradient, expected, max(3e-6, torch.finfo(dtype).eps))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("terms", [["jaccard_metric"], ["cross_entropy", "dice"], ["cross_entropy", "lovasz_softmax"]])
def test_half_precision_gives_the_value_of_the_same_logits_in_float32(terms, dtype, monkeypatch):
    monkeypatch.setattr(_batch, "core_for", lambda logits: _fused)
    logits, target, _, valid = inputs(0)
    half, target, valid = logits.to(dtype).to(DEVICE), target.to(DEVICE), valid.to(DEVICE)
    terms = [{"loss": name} for name in terms]
    value, gradient = value_and_gradient(get("compound"), half.float(), target, valid=valid, terms=terms)
    actual = value_and_gradient(get("compound"), half, target, valid=valid, terms=terms)
    close(actual[0], value.double().cpu(), 1e-6)
    close(actual[1], gradient.double().cpu(), 2 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize(("name", "options"), HARD, ids=label)
def test_a_loss_is_the_same_through_the_kernels(name, options, soft, monkeypatch):
    if soft and (name, options) not in SOFT:
        pytest.skip("defined on class maps only")
    logits, target, probabilities, valid = inputs(0, (5, 6))
    given = torch.where(valid[:, None], probabilities, torch.nan) if soft else torch.where(valid, target, 255)
    value, gradient = value_and_gradient(get(name), logits, given, valid=valid, **options)
    used = []
    monkeypatch.setattr(_batch, "core_for", lambda logits: used.append(logits) or _fused)
    if name in ("ohem_cross_entropy", "topk_cross_entropy"):
        # Alone on a CPU they compute cross-entropy themselves; as terms of a compound they use that of the kernels.
        name, options = "compound", {"terms": [{"loss": name, **options}]}
    actual = value_and_gradient(
        get(name), logits.float().to(DEVICE), given.to(DEVICE), valid=valid.to(DEVICE), **options
    )
    close(actual[0], value, 1e-5)
    close(actual[1], gradient, 1e-4)
    assert used or soft or not get(name).sums  # the soft focal loss has a separate core


@pytest.mark.parametrize("soft", [False, True])
def test_extreme_logits_stay_finite(soft, monkeypatch):
    monkeypatch.setattr(_batch, "core_for", lambda logits: _fused)
    logits, target, probabilities, _ = inputs(0)
    logits = (logits.sign() * 1e4).float().to(DEVICE)
    terms = [{"loss": name} for name in ("cross_entropy", "focal", "jaccard_metric", "dice")]
    given = (probabilities.float() if soft else target).to(DEVICE)
    value, gradient = value_and_gradient(get("compound"), logits, given, terms=terms)
    assert value.isfinite()
    assert gradient.isfinite().all()
