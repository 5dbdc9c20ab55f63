"""Deliberate faults: each changes one line of the metrics or of the verification, and a named check must fail."""

import importlib
import math
import shutil
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from reference import adaptive_error, reference, soft_reference
from test_boundaries import blobs, moved_square
from test_calibrators import skewed
from test_counts import batch
from test_reference import CASES, compare, one_hot, to_pixels

import segloss.metrics
import segloss.records.verification


def check_definitions(metrics):
    """Every metric equals its slow reference."""
    for name in (
        "random torch.float32",
        "binary",
        "binary, one image empty",
        "one image all void",
        "a class predicted, never labelled",
    ):
        probabilities, labels, valid = CASES[name]
        classes = probabilities.shape[1]
        counts = metrics.Counts(classes)
        counts.update(probabilities, labels, valid)
        pixels = zip(to_pixels(labels, valid), to_pixels(probabilities, valid), strict=True)
        measured = metrics.summarize(counts)
        expected = reference([list(zip(*image, strict=True)) for image in pixels], classes)
        assert measured.pop("aECE") == pytest.approx(expected.pop("aECE"), abs=3)
        compare(measured, expected)


def check_soft_truth(metrics):
    """The soft metrics equal their slow reference."""
    probabilities, labels, valid = CASES["random torch.float32"]
    truth = probabilities.roll(1, 2)
    counts = metrics.Counts(5)
    counts.update(probabilities, labels, valid, truth=truth, raters=labels[:, None])
    pixels = zip(to_pixels(truth, valid), to_pixels(probabilities, valid), strict=True)
    tenths = [torch.tensor(number / 10, dtype=torch.float32).item() for number in range(1, 10)]
    expected = soft_reference([list(zip(*i, strict=True)) for i in pixels], 5, [(t, t) for t in tenths])
    measured = metrics.summarize(counts)
    compare({name: measured[name] for name in expected}, expected)
    assert measured["mDice_raters"] == pytest.approx(measured["mDice"], rel=1e-12)


def check_ties(metrics):
    """Equal confidences are ties: the adaptive error of three confidences is known."""
    p = torch.tensor([0.6, 0.75, 1.0], dtype=torch.float64).repeat_interleave(10).view(1, 1, 30, 1)
    labels = torch.tensor([1] * 3 + [0] * 7 + [1] * 9 + [0] + [1] * 8 + [0] * 2).view(1, 30, 1)
    counts = metrics.Counts(2)
    counts.update(torch.cat([1 - p, p], 1), labels)
    pairs = list(zip(p.flatten().tolist(), labels.flatten().tolist(), strict=True))
    assert metrics.summarize(counts)["aECE"] == pytest.approx(100 * adaptive_error(pairs), rel=1e-12)


def check_large_counts(metrics):
    """Sums that float32 would round: a million pixels of one class and confidence."""
    confidence = torch.full((1, 1, 1000, 1000), 0.9)
    labels = (torch.arange(1_000_000) % 10 > 0).long().view(1, 1000, 1000)
    counts = metrics.Counts(2)
    counts.update(torch.cat([1 - confidence, confidence], 1), labels)
    gap = 100 * abs(0.9 - np.float32(0.9).astype(float))
    measured = metrics.summarize(counts)
    for name in ("ECE", "MCE", "ACE", "aECE"):
        assert measured[name] == pytest.approx(gap, abs=1e-11)
    assert measured["cwECE"] == pytest.approx(gap, abs=1e-6)
    assert counts.total("class_probability")[1].sum() == pytest.approx(1e6 * np.float32(0.9).astype(float), rel=1e-12)


def check_merging(metrics):
    """The order of images makes no difference, to the last bit, nor does the content of void pixels."""
    probabilities, labels, valid, names = batch(images=4, classes=5)
    counts, apart = metrics.Counts(5), metrics.Counts(5)
    counts.update(probabilities, labels, valid, names)
    probabilities.movedim(1, -1)[~valid] = math.nan
    for image in (2, 0, 3, 1):
        single, part = slice(image, image + 1), metrics.Counts(5)
        part.update(
            probabilities[single], labels[single].masked_fill(~valid[single], 255), valid[single], names[single]
        )
        apart.merge(part)
    assert apart == counts
    assert apart.total("class_probability").sum() == pytest.approx(valid.sum().item(), rel=1e-6)
    assert metrics.Counts.from_bytes(saved(counts)) == counts


def saved(counts, arrays=None):
    """The content of a file of counts; other arrays, if given, go with the checksum of its own."""
    file, written = BytesIO(), counts._arrays()
    checksum = sys.modules[type(counts).__module__]._sha256(written)
    np.savez_compressed(file, **(arrays or written), sha256=np.array(checksum))
    return file.getvalue()


def check_refusals(metrics):
    """What is no distribution, no label or counted twice is refused, however small the error."""
    probabilities, labels, valid, names = batch()
    counts = metrics.Counts(4)
    counts.update(probabilities, labels, valid, names)
    one_wrong = probabilities.clone()
    one_wrong[1, :, 3, 3] *= 1.005
    for wrong in (one_wrong, 0.995 * probabilities, probabilities + 0.01, -probabilities, probabilities * math.nan):
        for fit in (metrics.Counts(4), metrics.TemperatureFit(4), metrics.VectorScalingFit(4), metrics.IsotonicFit(4)):
            with pytest.raises(ValueError, match="sum to 1"):
                fit.update(wrong, labels)
    for arguments in ((probabilities, labels + 1), (probabilities, labels, valid, names), (one_wrong[:0], labels[:0])):
        with pytest.raises(ValueError, match=r"must lie in|counted twice|at least one image"):
            counts.update(*arguments)
    arrays = counts._arrays()
    arrays["row_predicted"] = arrays["row_predicted"] + 1
    with pytest.raises(ValueError, match="do not match its checksum"):
        metrics.Counts.from_bytes(saved(counts, arrays))


def check_boundaries(metrics):
    """A moved square, void, and images merged."""
    probabilities, labels = moved_square()
    boundaries = metrics.Boundaries(1 / math.hypot(8, 8), 0, 0.0)
    counts = metrics.Counts(2, boundaries=boundaries)
    counts.update(probabilities, labels)
    measured = metrics.summarize(counts)
    assert measured["mBoundaryIoU"] == pytest.approx(50 * (6 / 18 + 38 / 52), rel=1e-12)
    assert [counts.rows[f"surface_{name}"][0, 1] for name in ("true_near", "true")] == [6, 12]
    assert measured["ODS"] == pytest.approx(75)
    counts = metrics.Counts(2, boundaries=metrics.Boundaries(0.1, 1))
    counts.update(probabilities, labels, labels == 0)
    assert counts.rows["region_true"][0].tolist() == [28, 0]
    p, y, v = blobs()
    counts = metrics.Counts(4, boundaries=metrics.Boundaries(None, 1.5))
    counts.update(p, y, v)
    expected = segloss.metrics.Counts(4, boundaries=segloss.metrics.Boundaries(None, 1.5))
    expected.update(p, y, v)  # compared with distance transforms in test_boundaries
    for name in ("surface_true", "surface_true_near"):
        assert (counts.rows[name] == expected.rows[name]).all()


def check_thresholds(metrics):
    """ODS uses one threshold for all images, OIS one for each."""
    p = torch.tensor([[[0.25, 0.25, 0.1, 0.1]], [[0.65, 0.3, 0.3, 0.3]]], dtype=torch.float64)
    labels = torch.tensor([[[1, 1, 0, 0]], [[1, 0, 0, 0]]])
    counts = metrics.Counts(2, boundaries=metrics.Boundaries(edge_tolerance=0))
    counts.update(torch.stack([1 - p, p], 1), labels)
    measured = metrics.summarize(counts)
    assert measured["ODS"] == pytest.approx(100 * 2 / 3, rel=1e-12)
    assert measured["OIS"] == 100


def check_calibrators(metrics):
    """Each calibrator lowers the likelihood of other images, the finer ones more; parts merge."""
    probabilities, labels = skewed()
    others, other_labels = skewed(seed=1)
    likelihoods = []
    for kind in (metrics.TemperatureFit, metrics.VectorScalingFit, metrics.IsotonicFit):
        whole, merged, part = kind(4), kind(4), kind(4)
        whole.update(probabilities, labels)
        merged.update(probabilities[:1], labels[:1])
        part.update(probabilities[1:], labels[1:])
        merged.merge(part)
        result = whole.calibrator()(others)
        assert torch.allclose(merged.calibrator()(others), result, atol=1e-6)
        counts = metrics.Counts(4)
        counts.update(result, other_labels)
        likelihoods.append(metrics.summarize(counts)["NLL"])
    counts = metrics.Counts(4)
    counts.update(others, other_labels)
    assert likelihoods[1] < likelihoods[0] < metrics.summarize(counts)["NLL"]
    assert likelihoods[2] < likelihoods[0]
    uniform = metrics.VectorScalingFit(3)
    uniform.update(one_hot(labels.clamp(max=2), 3) * 0.4 + 0.2, labels.clamp(max=2))
    assert np.ptp(uniform.calibrator().bias) < 1


FAULTS = [
    # what is refused
    (check_refusals, "_check.py", "_SUM_TOLERANCE = 1e-3", "_SUM_TOLERANCE = 1e-2"),
    (check_refusals, "_check.py", "lowest >= 1 - tolerance", "lowest >= -tolerance"),
    (check_refusals, "_check.py", "highest <= 1 + tolerance", "highest <= 2 + tolerance"),
    (check_refusals, "_check.py", "(total - 1).abs() <= tolerance", "(total - 1) <= tolerance"),
    (check_refusals, "_check.py", "if not 0 <= label < num_classes", "if not 0 <= label <= num_classes"),
    (check_refusals, "_check.py", "if not probabilities.numel():", "if False:"),
    (check_refusals, "counts.py", "if name in self._known or name in new", "if name in new"),
    (check_refusals, "counts.py", "np.ascontiguousarray(array).data", 'b""'),
    # how it is counted
    (
        check_large_counts,
        "_hard.py",
        "wide, top = chunk.double(), confidence.double()",
        "wide, top = chunk, confidence",
    ),
    (
        check_large_counts,
        "_accumulate.py",
        "None if weight is None else weight.flatten()",
        "None if weight is None else weight.float().flatten()",
    ),
    (
        check_merging,
        "_accumulate.py",
        "index.masked_fill_(~(self.valid",
        "index.masked_fill_((self.valid & ~self.valid",
    ),
    (check_merging, "_exact.py", "whole + (fraction >> _FRACTION_BITS)", "whole"),
    (
        check_merging,
        "counts.py",
        "order = sorted(range(len(keys)), key=keys.__getitem__)",
        "order = list(range(len(keys)))",
    ),
    (check_definitions, "_hard.py", "label * classes + predicted", "predicted * classes + label"),
    (check_definitions, "_hard.py", "classes - first.long()", "classes - 1 - first.long() % classes"),
    (check_definitions, "_hard.py", "- 2 * of_label + 1", "- 2 * of_label"),
    (check_definitions, "_accumulate.py", "return (wide * bins).int()", "return (wide * bins + 0.5).int()"),
    (check_definitions, "_hard.py", "wrong + hit, hit", "hit, hit"),
    # metrics
    (check_definitions, "_overlap.py", "either - hits", "either"),
    (check_definitions, "_overlap.py", "np.isnan(score), 1, score", "np.isnan(score), 0, score"),
    (check_definitions, "_overlap.py", "len(column) * percent // 100", "len(column) * percent // 101"),
    (check_definitions, "_overlap.py", "return _share(hits, predicted)", "return _share(hits, predicted + 1)"),
    (check_definitions, "_calibration.py", "where=in_label", "where=in_label | True"),
    (check_definitions, "_calibration.py", "gaps[1].sum() / pixels[1].sum()", "gaps[0].sum() / pixels[0].sum()"),
    (
        check_definitions,
        "_calibration.py",
        '"ACE": 100 * float(np.mean(gaps[total > 0]',
        '"ACE": 100 * float(np.sum(gaps[total > 0]',
    ),
    (check_ties, "_calibration.py", "np.diff(at_quantiles)", "np.diff(at_quantiles[::2])"),
    (check_ties, "_accumulate.py", "view(torch.int32) >> 18", "view(torch.int32) >> 23 << 5"),
    (check_soft_truth, "_soft.py", "difference.abs()", "difference"),
    (check_soft_truth, "_agreement.py", "[..., 1:]", "[..., :-1]"),
    (check_soft_truth, "_soft.py", "Slots(seen & agreed)", "Slots(seen)"),
    # boundaries
    (
        check_boundaries,
        "_boundary.py",
        "size = values.shape[axis], 2 * width + 1",
        "size = values.shape[axis], 2 * width",
    ),
    (
        check_boundaries,
        "_boundary.py",
        "(torch.where(classes == void, -1, classes)",
        "(torch.where(classes == void, classes, classes)",
    ),
    (check_boundaries, "_boundary.py", "(true == guess)", "(true == true)"),
    (check_boundaries, "_boundary.py", "== wanted", ">= 0"),
    (check_boundaries, "_boundary.py", "& ~_within(~valid, boundaries.surface_tolerance)", "& valid"),
    (check_boundaries, "_boundary.py", "<= radius**2]", "<= radius]"),
    (
        check_thresholds,
        "_edges.py",
        "np.argmax(np.nan_to_num(_f_score(*counts.swapaxes(0, 1)), nan=-1), axis=1)",
        "np.zeros(len(counts), int)",
    ),
    (check_thresholds, "_edges.py", "_best_score(counts.sum(0))", "_best_score(counts).mean()"),
    # calibrators
    (check_calibrators, "temperature.py", "(probabilities) / temperature)", "(probabilities) * temperature)"),
    (check_calibrators, "temperature.py", "self.derivatives += other.derivatives", "pass"),
    (
        check_calibrators,
        "vector_scaling.py",
        "np.bincount(label, q[pixels, label], classes)",
        "np.bincount(label, minlength=classes)",
    ),
    (
        check_calibrators,
        "vector_scaling.py",
        "self.labels += other.labels",
        "self.labels += other.labels[:0]; self.logits.pop()",
    ),
    (check_calibrators, "vector_scaling.py", "RIDGE = 1e-4", "RIDGE = 1.0"),
    (check_calibrators, "isotonic.py", "means[-1] >= mean", "means[-1] < mean"),
    (check_calibrators, "isotonic.py", "_BINS * (label == index)", "_BINS * (label != index)"),
    (check_calibrators, "isotonic.py", "self.pixels += other.pixels", "pass"),
]


def faulty_metrics(folder: Path, number: int):
    """A copy of the metrics with one fault."""
    _, file, right, wrong = FAULTS[number]
    name = f"faulty_metrics_{number}"
    source = Path(segloss.metrics.__file__).parent
    shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (folder / name).glob("*.py"):
        text = path.read_text().replace("segloss.metrics", name)
        if path.name == file:
            assert text.count(right) == 1, f"{file} holds {text.count(right)} times: {right}"
            text = text.replace(right, wrong)
        path.write_text(text)
    return importlib.import_module(name)


@pytest.mark.parametrize("check", dict.fromkeys(check for check, *_ in FAULTS), ids=lambda check: check.__name__)
def test_without_a_fault_the_checks_hold(check):
    check(segloss.metrics)


@pytest.mark.parametrize("number", range(len(FAULTS)), ids=lambda number: FAULTS[number][2][:40])
def test_a_fault_is_noticed(number, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    metrics = faulty_metrics(tmp_path, number)
    with pytest.raises((AssertionError, pytest.fail.Exception, ValueError, IndexError, RuntimeError)):
        FAULTS[number][0](metrics)
    for module in [module for module in sys.modules if module.startswith(f"faulty_metrics_{number}")]:
        del sys.modules[module]


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("TOLERANCE = 1e-9", "TOLERANCE = 1e-6"),
        ("for name, value in metrics.items():", 'for name, value in {"mIoU": metrics["mIoU"]}.items():'),
        ("metrics.keys() ^ recorded.keys()", "metrics.keys() - recorded.keys()"),
        ('if hashlib.sha256(content).hexdigest() != record["evaluation"]["counts_sha256"]:', "if False:"),
    ],
)
def test_a_fault_of_the_verification_is_noticed(right, wrong, tmp_path, monkeypatch):
    import hashlib

    def refuses_what_differs(verification):
        counts = segloss.metrics.Counts(4)
        counts.update(*batch()[:3])
        counts.save(tmp_path / "counts.npz")
        digest = hashlib.sha256((tmp_path / "counts.npz").read_bytes()).hexdigest()
        metrics = segloss.metrics.summarize(counts)
        record = {"metrics": metrics, "evaluation": {"counts_sha256": digest}}
        verification.check_counts(record, tmp_path)
        for change in ({"NLL": metrics["NLL"] * (1 + 1e-8)}, {"mIoU_best": 1.0}):
            with pytest.raises(verification.RecordError):
                verification.check_counts(record | {"metrics": metrics | change}, tmp_path)
        with pytest.raises(verification.RecordError):
            verification.check_counts(record | {"evaluation": {"counts_sha256": "0"}}, tmp_path)

    refuses_what_differs(segloss.records.verification)
    text = Path(segloss.records.verification.__file__).read_text()
    assert text.count(right) == 1
    (tmp_path / "faulty_verification.py").write_text(text.replace(right, wrong))
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(pytest.fail.Exception):
        refuses_what_differs(importlib.import_module("faulty_verification"))
    del sys.modules["faulty_verification"]
