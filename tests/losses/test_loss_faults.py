"""Deliberate faults: each changes one line of the losses, and a property must fail."""

import importlib
import shutil
import sys
from pathlib import Path

import pytest
from loss_cases import HARD, SOFT
from loss_properties import FOR_EVERY_TARGET, half_precision_is_computed_in_float32, one_hot_is_hard

import segloss.losses

FAULTS = [
    ("_sums.py", "valid.to(bits)[:, None]", "valid.to(bits).bitwise_or(1)[:, None]"),  # void soft targets stay
    ("_sums.py", "log_likelihood.mul_(keep)", "log_likelihood"),  # void pixels count in pixel losses
    ("_sums.py", "            probabilities *= keep[:, None]\n", ""),  # void pixels are true positives
    ("_sums.py", "torch.bmm(g_predicted[:, None], probabilities)[:, 0] + direct", "direct"),
    ("_sums.py", "g_overlap.gather(1, target) * likelihood", "g_overlap.gather(1, target)"),
    ("_sums.py", "mul_(g_minimum[:, :, None] / -2)", "mul_(-g_minimum[:, :, None])"),
    ("_sums.py", "g_log_likelihood * target.sum(1)", "g_log_likelihood"),  # right where the target sums to 1
    ("_sums.py", "enabled=False", "enabled=True"),  # rounded under autocast
    ("_batch.py", "return self.given_logits.to(self.dtype)", "return self.given_logits"),  # half precision stays half
    ("_batch.py", "return self.valid_target.amax(-1) > threshold", "return self.target.amax(-1) > threshold"),
    ("_batch.py", "return self.valid.sum(-1).to(self.dtype)", "return self.logits[:, 0].isfinite().sum(-1)"),
    ("_pixel.py", "miss.pow(gamma - 1) * (gamma", "miss.pow(gamma - 1) * ((gamma + 1)"),
    ("_all_reduce.py", "torch.where(weight > 0, weight, 1)", "weight"),  # 0 / 0 where nothing is valid
    ("_pixel.py", ".clamp_min(torch.finfo(log_p.dtype).tiny)", ""),  # infinite slope at p = 1
    ("_region.py", "nothing = size <= torch.finfo(size.dtype).tiny", "nothing = size < -1"),
    ("_region.py", "weights = weights * (images_with_class > 0)", "weights = weights * 1"),
    ("_region.py", "total + image * sum_of_means / images.clamp_min(1)", "total + image * sum_of_means / len(true)"),
    ("_overlap.py", "torch.where(occurs, rarest / torch.where(occurs, true, 1), 1)", "1 / true"),
    ("_sigmoid.py", "            entropy *= void\n", ""),
    ("_sigmoid.py", "at_target * (1 - at_target)", "at_target"),
    ("_pixel_autograd.py", "return losses if valid is None else losses * valid", "return losses"),
    ("_margin.py", "torch.log1p(log_p.exp() * torch.expm1(-margin))", "torch.log1p(log_p * torch.expm1(-margin))"),
    ("_lovasz_autograd.py", "error_of_target.masked_fill_(~valid[:, None], torch.nan)", "pass"),
    ("_lovasz_autograd.py", "_nan_where_void(rows, valid)\n", "rows.clone()\n"),
    ("_lovasz_autograd.py", "index, -error_of_target", "index, error_of_target"),  # no pixel is of the class
    ("_lovasz_autograd.py", "-slopes.gather(1, index)", "slopes.gather(1, index)"),
    ("_jdt.py", "        alpha=0.5,\n        beta=0.5,", "        alpha=0.5,\n        beta=0.6,"),
    ("_overlap.py", "smooth=smooth / 2", "smooth=smooth"),
    ("_region.py", "(alpha * false_positive + beta * false_neg", "(beta * false_positive + alpha * false_neg"),
    ("_region.py", "predicted - overlap, true - overlap", "(predicted - overlap).clamp_min(0), true - overlap"),
    ("_weights.py", "if count > 0 else 0.0 for", "if count > 0 else 1.0 for"),
    ("_margin.py", "** 0.25", "** 0.5"),
    ("_margin.py", "math.expm1(count * math.log(beta))", "math.expm1(math.log(beta))"),
    ("_sort.py", "keys += ONE - values.abs()", "keys += values.abs()"),  # sorted upwards
    ("_sort.py", ".bitwise_not()", ".clone()"),  # sorted upwards
    ("_jdt.py", 'classes = "all" if batch.soft', 'classes = "present" if batch.soft'),
    ("_sigmoid.py", "(g_entropy * weights[target])[:, None]", "g_entropy[:, None]"),
    ("_composite.py", "batch.classes if weights is None else weights.sum()", "batch.classes"),
    ("_overlap.py", '{"square": 2, "simple": 1', '{"square": 2, "simple": 2'),
    ("_overlap.py", "(weights * size).sum(-1) + smooth", "(weights * size).sum(-1)"),
    ("_overlap.py", "weights = weights * factors", "weights = weights * 1"),
    ("_lovasz_autograd.py", "share = counted * weights", "share = counted * 1"),
    ("_lovasz_autograd.py", "torch.where(is_class, -slopes, slopes)", "slopes"),
    ("_lovasz_autograd.py", "slopes *= all_errors > 0", "pass"),
    ("_lovasz_autograd.py", "torch.where(alone, 1, other))", "other)"),
    (
        "_pixel_autograd.py",
        ".exp(), by_log_p.sum(1, keepdim=True), value=-1",
        ".exp(), by_log_p.sum(1, keepdim=True), value=0",
    ),
    ("_poly.py", "log_p.exp().mul_(-epsilon)", "log_p.exp().mul_(epsilon)"),
    ("_poly.py", "miss.pow(gamma + 1)", "miss.pow(gamma)"),
    ("_hard_pixels.py", "math.floor(share * pixels + 1e-9)", "math.ceil(share * pixels)"),
    ("_hard_pixels.py", "else hardness > limit", "else hardness > smallest"),  # the threshold is ignored
    ("_hard_pixels.py", "hardness = losses - torch.special.entr(batch.valid_target).sum(1).flatten()", "pass"),
    ("_hard_pixels.py", "hardness.masked_fill(~batch.valid.flatten(), -torch.inf)", "hardness"),  # void is ranked
    ("_hard_pixels.py", "index_copy_(1, pixels, result)", "index_copy_(1, pixels, 2 * result)"),
    ("_hard_pixels.py", "scatter_add_(0, c[None], -scale[None])", "scatter_add_(0, c[None], scale[None])"),
    ("_pixel_autograd.py", "losses * weights[without_void(target, valid)]", "losses * 1"),
    ("_unified_focal.py", "background[0], foreground[0] = 1 - delta, 0", "background[0] = 1 - delta"),
    ("_unified_focal.py", "form = (1 - delta, delta, smooth)", "form = (delta, 1 - delta, smooth)"),
    ("_calibration.py", "values * keep, by_logits", "values, by_logits"),
    ("_calibration.py", "by_logits.mul_(keep[:, None])", "by_logits"),
    ("_calibration.py", "sub_(y, alpha=ce_weight)", "sub_(y)"),
    ("_calibration.py", "by_logits.scatter_add_(1, index", "by_logits.scatter_(1, index"),
    ("_calibration.py", "return value, gradient.addcmul_(p, value[:, None], value=-1)", "return value, gradient"),
    ("_calibration.py", "gradient = beyond.sign_()", "gradient = beyond.sign_().abs_().clamp_(min=1)"),
    ("_calibration.py", "maps.div_(number.clamp_min_(1))", "maps.div_(number.amax().clamp_min(1))"),  # as if no border
    ("_calibration.py", "size - shift).add_(maps.narrow(axis, shift, size - shift))", "size - shift)"),  # one side
    ("_calibration_error.py", "valid if weight is None else weight * valid", "weight"),
    ("_calibration_error.py", "upper * (error - gap.gather(2, lower + 1))", "upper * error"),
    (
        "_calibration_error.py",
        "occupied.sum(-1, keepdim=True)",
        "torch.full_like(occupied.sum(-1, keepdim=True), bins)",
    ),
    ("_calibration_error.py", "tables = tables.sum(1, keepdim=True)", "pass"),  # bins of each image, although pooled
    ("_distance.py", "1 - 2 * inside", "1 - inside"),
    ("_distance.py", "nearest.amax() <= shift**2", "nearest.amin() <= shift**2"),
    ("_distance.py", "candidates += 2 * shift - 1", "candidates += 2 * shift"),
    ("_distance.py", "flat.any(1) & ~flat.all(1)", "flat.any(1)"),
    ("_boundary.py", "predicted &= batch.valid[part][:, None]", "pass"),
    ("_boundary.py", "pixels * (batch.classes - first)", "pixels * batch.classes"),
    ("_skeleton.py", "skeleton + torch.relu(ridge - skeleton * ridge)", "skeleton + ridge"),
    ("_skeleton.py", "rest.narrow(axis, 1, last).sub_(before)", "pass"),  # a gradient twice
    ("_skeleton.py", "counted = batch.present(0.5)", "counted = batch.present(0.5) | True"),
]


def faulty_catalogue(folder: Path, number: int) -> dict:
    """The catalogue of a copy of the losses with one fault."""
    file, right, wrong = FAULTS[number]
    name = f"faulty_losses_{number}"
    shutil.copytree(Path(segloss.losses.__file__).parent, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (folder / name).glob("*.py"):
        text = path.read_text().replace("segloss.losses", name)
        if path.name == file:
            assert text.count(right) == 1, f"{file} holds {text.count(right)} times: {right}"
            text = text.replace(right, wrong)
        path.write_text(text)
    return importlib.import_module(name).CATALOGUE


# The properties that detect these faults are the last of all: for these faults they are checked first.
DETECTED_BY = {
    "return self.given_logits.to(self.dtype)": half_precision_is_computed_in_float32,
    'classes = "all" if batch.soft': one_hot_is_hard,
}


def checks(fault):
    """Properties with the losses, options and kinds of target to check them on."""
    for check in sorted([*FOR_EVERY_TARGET, one_hot_is_hard], key=lambda check: check is not DETECTED_BY.get(fault)):
        if check is not one_hot_is_hard:
            yield from ((check, name, options, False) for name, options in HARD)
        yield from ((check, name, options, True) for name, options in SOFT)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(FAULTS)), ids=lambda number: FAULTS[number][1].strip()[:40])
def test_a_fault_is_noticed(number, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    catalogue = faulty_catalogue(tmp_path, number)
    caught = 0
    for check, name, options, soft in checks(FAULTS[number][1]):
        try:
            check(catalogue[name], options, soft)
        except (AssertionError, RuntimeError):
            caught += 1
            break
    for module in [module for module in sys.modules if module.startswith(f"faulty_losses_{number}")]:
        del sys.modules[module]
    assert caught
