"""Counts are additive and exact, and refuse input that cannot be counted."""

import io
import itertools

import numpy as np
import pytest
import torch

from segloss.metrics import METRICS_VERSION, Counts, summarize


def batch(images=5, classes=4, height=37, width=29, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(images, classes, height, width, generator=generator, dtype=torch.float64)
    labels = torch.randint(classes, (images, height, width), generator=generator)
    valid = torch.rand(images, height, width, generator=generator) > 0.2
    return logits.softmax(1).to(dtype), labels, valid, [f"image{index}" for index in range(images)]


def counted(probabilities, labels, valid=None, names=None, truth=None):
    counts = Counts(probabilities.shape[1])
    counts.update(probabilities, labels, valid, names, truth=truth)
    return counts


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("named", [True, False])
def test_parts_merged_in_any_order_equal_the_whole(dtype, named):
    probabilities, labels, valid, names = batch(dtype=dtype)
    names = names if named else None
    whole = counted(probabilities, labels, valid, names)
    slices = [slice(0, 2), slice(2, 3), slice(3, 5)]
    for order in itertools.permutations(slices):
        merged = Counts(4)
        for part in order:
            merged.merge(counted(probabilities[part], labels[part], valid[part], names[part] if named else None))
        assert merged == whole
        assert summarize(merged) == summarize(whole)


def test_a_batch_of_many_slices_and_groups_of_images_equals_its_images_one_by_one():
    probabilities, labels, valid, names = batch(images=9, classes=70, height=61, width=67)
    truth = probabilities.roll(1, 0)
    whole, apart = counted(probabilities, labels, valid, names, truth), Counts(70)
    for index in range(9):
        part = slice(index, index + 1)
        apart.update(probabilities[part], labels[part], valid[part], names[part], truth=truth[part])
    assert apart == whole
    # 70 classes of 4087 pixels: more than one slice of an image
    upright = counted(*(tensor.transpose(-1, -2) for tensor in (probabilities, labels, valid)), names)
    assert summarize(upright)["ECE"] == pytest.approx(summarize(whole)["ECE"], rel=1e-12)


def test_soft_truth_and_raters_are_given_for_all_images_or_none(tmp_path):
    probabilities, labels, valid, names = batch()
    with_truth, without = (
        counted(probabilities, labels, valid, names, truth=probabilities),
        counted(probabilities, labels),
    )
    sentence = "for all images or for none, got both: soft_brier, soft_difference"
    with pytest.raises(ValueError, match=sentence):
        with_truth.update(probabilities, labels)
    with pytest.raises(ValueError, match=sentence):
        with_truth.merge(without)
    with pytest.raises(ValueError, match=sentence):
        without.merge(with_truth)
    raters = torch.stack([labels, labels], 1)
    counts = Counts(4)
    counts.update(probabilities, labels, raters=raters)
    with pytest.raises(ValueError, match="got both: rater_labelled, rater_true_positives"):
        counts.update(probabilities, labels, raters=raters[:, :1])
    with pytest.raises(ValueError, match=r"raters must be int64 \(5, 'R', 37, 29\), got torch.int64 \(5, 37, 29\)"):
        counts.update(probabilities, labels, raters=labels)
    with pytest.raises(ValueError, match=r"raters must be int64 \(5, 'R', 37, 29\), got torch.int64 \(5, 0, 37, 29\)"):
        counts.update(probabilities, labels, raters=raters[:, :0])
    with pytest.raises(ValueError, match=r"raters must be int64 \(5, 'R', 37, 29\), got torch.int64 \(5,\)"):
        counts.update(probabilities, labels, raters=labels[:, 0, 0])
    with pytest.raises(ValueError, match=r"truth must be finite, .* which sum to 100, at a valid pixel"):
        counts.update(probabilities, labels, truth=100 * probabilities)
    with pytest.raises(ValueError, match=r"truth must be float \(5, 4, 37, 29\)"):
        counts.update(probabilities, labels, truth=probabilities[:, :3])
    with pytest.raises(ValueError, match="truth must be finite"):
        counts.update(probabilities, labels, truth=2 * probabilities)
    with_truth.save(tmp_path / "counts.npz")
    assert Counts.load(tmp_path / "counts.npz") == with_truth


def test_saved_counts_come_back_equal_and_equal_counts_are_equal_bytes(tmp_path):
    probabilities, labels, valid, names = batch()
    counts = counted(probabilities, labels, valid, names)
    counts.save(tmp_path / "a.npz")
    again = Counts(4)
    for index in (3, 0, 4, 1, 2):
        part = slice(index, index + 1)
        again.update(probabilities[part], labels[part], valid[part], names[part])
    again.save(tmp_path / "b.npz")
    assert Counts.load(tmp_path / "a.npz") == counts
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npz", "b.npz"]


def test_what_stands_in_void_pixels_does_not_matter():
    probabilities, labels, valid, names = batch()
    counts = counted(probabilities, labels, valid, names)
    labels[~valid] = 255
    probabilities.movedim(1, -1)[~valid] = float("nan")
    assert counted(probabilities, labels, valid, names) == counts


def test_one_pixel_more_is_another_count():
    probabilities, labels, valid, names = batch()
    counts = counted(probabilities, labels, valid, names)
    valid[0, 0, 0] = ~valid[0, 0, 0]
    assert counted(probabilities, labels, valid, names) != counts
    assert counts != "counts"


def test_damaged_and_foreign_files_are_refused(tmp_path):
    path = tmp_path / "counts.npz"
    counts = counted(*batch())
    counts.save(path)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 255
    for broken in (whole[: len(whole) // 2], b"", b"text", flipped):
        path.write_bytes(broken)
        with pytest.raises(ValueError, match="is damaged or contains no counts"):
            Counts.load(path)
    with path.open("wb") as file:
        np.save(file, np.ones(3))
    with pytest.raises(ValueError, match="is damaged or contains no counts"):
        Counts.load(path)
    np.savez(path, something=np.ones(3))
    with pytest.raises(ValueError, match="is damaged or contains no counts"):
        Counts.load(path)
    with np.load(io.BytesIO(whole)) as archive:
        arrays = {name: archive[name] for name in archive.files}
    arrays["row_true_positives"][0, 0] += 1
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match="its contents do not match its checksum"):
        Counts.load(path)
    with pytest.raises(FileNotFoundError):
        Counts.load(tmp_path / "none.npz")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_rounded_and_averaged_probabilities_are_accepted(dtype):
    probabilities, labels, valid, _ = batch(classes=150, height=9, width=7)
    rounded = probabilities.to(dtype)
    counted(rounded, labels, valid)
    counted((rounded + rounded.flip(0)) / 2, labels, valid, truth=rounded)
    wrong = probabilities.clone()
    wrong *= 1.02
    with pytest.raises(ValueError, match="sum to 1"):
        counted(wrong.to(dtype), labels, valid)
    # one wrong pixel is detected, unless it is void
    one_wrong = rounded.clone()
    one_wrong[1, :, 3, 2] = 0
    valid[1, 3, 2] = True
    with pytest.raises(ValueError, match="which sum to 0, at a valid pixel"):
        counted(one_wrong, labels, valid)
    valid[1, 3, 2] = False
    counted(one_wrong, labels, valid)


def test_counts_of_another_version_are_refused(tmp_path, monkeypatch):
    counts = counted(*batch())
    with monkeypatch.context() as patch:
        patch.setattr("segloss.metrics.counts.METRICS_VERSION", METRICS_VERSION + 1)
        counts.save(tmp_path / "counts.npz")
    with pytest.raises(ValueError, match=f"version {METRICS_VERSION + 1} of the metrics, this is version"):
        Counts.load(tmp_path / "counts.npz")


def test_bad_input_is_refused_with_a_sentence_and_leaves_the_counts_alone():
    probabilities, labels, valid, names = batch()
    counts = counted(probabilities, labels, valid, names)
    before = counted(probabilities, labels, valid, names)
    out_of_range = labels.clone()
    out_of_range[valid] = 4
    cases = [
        ((probabilities[:, :3], labels), r"probabilities must be float \(B, 4, H, W\)"),
        ((probabilities.log(), labels), "a softmax, not logits"),
        ((10 * probabilities, labels), "a softmax, not logits"),
        ((100 * probabilities, labels), "which sum to 100, at a valid pixel"),
        ((probabilities.sqrt(), labels), "a softmax, not logits, sigmoids or percent"),
        ((0.995 * probabilities, labels), "which sum to 0.995"),
        ((0 * probabilities, labels), "which sum to 0, at a valid pixel"),
        ((torch.full_like(probabilities, torch.inf), labels), "which sum to inf"),
        ((probabilities[:0], labels[:0]), r"at least one image of at least one pixel, got \(0, 4, 37, 29\)"),
        ((probabilities[..., :0], labels[..., :0]), r"at least one pixel, got \(5, 4, 37, 0\)"),
        ((torch.full_like(probabilities, torch.nan), labels), "a softmax, not logits"),
        (
            (torch.tensor([0.6, -0.2, 0.3, 0.3])[:, None, None].expand_as(probabilities), labels),
            "at least 0 and sum to 1",
        ),
        ((probabilities, labels - 1), "labels must lie in 0..3 where valid, got -1"),
        ((probabilities, labels.int()), r"labels must be int64 \(5, 37, 29\), got torch.int32"),
        ((probabilities, out_of_range), r"labels must lie in 0..3 where valid, got 4"),
        ((probabilities, labels, valid.float()), "valid must be bool"),
        ((probabilities, labels, valid, names[:2]), "5 images, 2 names"),
        ((probabilities, labels, valid, names), "'image0' is counted twice"),
        ((probabilities, labels, valid, ["x"] * 5), "'x' is counted twice"),
    ]
    for arguments, sentence in cases:
        with pytest.raises(ValueError, match=sentence):
            counts.update(*arguments)
        assert counts == before
    for other, sentence in [
        (Counts(5), "num_classes 4 and 5"),
        (Counts(4, 10), "bins 100 and 10"),
        (Counts(4, classwise=False), "classwise True and False"),
        (before, "'image0' is counted twice"),
    ]:
        with pytest.raises(ValueError, match=sentence):
            counts.merge(other)
    with pytest.raises(ValueError, match="at least 2"):
        Counts(1)
    with pytest.raises(ValueError, match="multiple of 10"):
        Counts(2, 15)
    with pytest.raises(ValueError, match="no valid pixel"):
        summarize(Counts(4))
