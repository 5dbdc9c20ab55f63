"""Exact over many pixels, images, threads and processes, in memory that does not grow."""

import math
import multiprocessing
from pathlib import Path

import numpy as np
import pytest
import torch
from test_counts import batch, counted

from segloss.datasets import phantom
from segloss.metrics import Counts, summarize
from segloss.metrics._accumulate import sum_over
from segloss.metrics._exact import add_exact, as_float, exact_sum


def test_a_constant_confidence_right_in_nine_of_ten_reads_its_rounding_alone_over_64_megapixels():
    confidence = torch.full((1, 1, 1000, 1000), 0.9)
    probabilities = torch.cat([1 - confidence, confidence], 1)
    labels = (torch.arange(1_000_000) % 10 > 0).long().view(1, 1000, 1000)
    megapixel = counted(probabilities, labels)
    counts = Counts(2)
    for _ in range(64):
        counts.merge(megapixel)
    assert counts.totals["confusion"].tolist() == [[0, 6_400_000], [0, 57_600_000]]
    assert summarize(counts)["ECE"] == pytest.approx(100 * abs(0.9 - np.float32(0.9).astype(float)), abs=1e-12)


@pytest.mark.slow
def test_a_calibrated_predictor_over_64_megapixels_reads_below_a_hundredth_percent():
    generator = torch.Generator().manual_seed(0)
    counts = Counts(3)
    for _ in range(64):
        probabilities = torch.randn(1, 3, 1024, 1024, generator=generator).mul_(6).softmax(1)
        draw = torch.rand(1, 1024, 1024, generator=generator, dtype=torch.float64)
        labels = (draw > probabilities[:, 0]).long() + (draw > probabilities[:, :2].double().sum(1))
        counts.update(probabilities, labels)
    metrics = summarize(counts)
    assert metrics["ECE"] < 0.01
    assert metrics["cwECE"] < 0.01
    sharpened = Counts(3)
    sharpened.update((probabilities.log() * 1.05).softmax(1), labels)
    assert summarize(sharpened)["ECE"] > 0.1


@pytest.mark.slow
def test_the_posterior_of_phantom_is_calibrated_within_its_sampling_error():
    """The pixels of an image share one drawing, so that the images, not the pixels, are the independent draws."""
    random = np.random.default_rng(0)
    true, sharpened = Counts(5), Counts(5)
    for _ in range(400):
        shapes = phantom.scene(random)
        posterior = torch.from_numpy(phantom.posterior(shapes))
        labels = torch.from_numpy(phantom.draw(shapes, int(random.integers(4)), random)).long()
        true.update(posterior[None], labels[None], truth=posterior[None])
        sharper = posterior.pow(2)
        sharpened.update((sharper / sharper.sum(0))[None], labels[None])

    def errors(counts):
        rows = counts.rows
        gaps = rows["histogram"][:, 1] - rows["confidence"]
        standard = np.sqrt((gaps**2).sum(0))  # of the sum over the images, by bin
        pixels = rows["histogram"].sum()
        return gaps.sum(0)[standard > 0] / standard[standard > 0], 100 * standard.sum() / pixels

    scores, standard_error = errors(true)
    assert np.abs(scores).max() < 4
    assert summarize(true)["ECE"] < 2 * standard_error < 1
    assert summarize(true)["KL"] == 0
    assert summarize(true)["mDice_soft"] == 100
    scores, standard_error = errors(sharpened)
    assert np.abs(scores).max() > 5
    assert summarize(sharpened)["ECE"] > 2 * standard_error


def test_exact_sums_do_not_depend_on_order_and_keep_every_digit():
    random = np.random.default_rng(0)
    values = np.concatenate([random.random(3000) * 1e6, random.random(3000) * 1e-9, np.zeros(3)])[:, None]
    total = exact_sum(values)
    assert as_float(total)[0] == pytest.approx(float(sum(map(float, values[:, 0]))), rel=1e-14)
    for part in (7, 1999):
        shuffled = random.permutation(values)
        assert np.array_equal(add_exact(exact_sum(shuffled[:part]), exact_sum(shuffled[part:])), total)


def test_sums_by_halving_do_not_depend_on_threads_nor_neighbours():
    values = torch.rand(3, 100_001, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            together, alone = sum_over(values, 1), torch.cat([sum_over(row[None], 1) for row in values])
            assert torch.equal(together, alone)
            assert together.tolist() == sum_over(values.T, 0).tolist()
            assert together.tolist() == pytest.approx([math.fsum(row) for row in values.tolist()], rel=1e-15)
    finally:
        torch.set_num_threads(before)


def test_the_number_of_threads_makes_no_difference():
    arguments = batch(images=3, classes=70, height=100, width=97)
    before, all_equal = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            all_equal.append(counted(*arguments, truth=arguments[0].roll(1, 0)))
    finally:
        torch.set_num_threads(before)
    assert all_equal[0] == all_equal[1] == all_equal[2]


def count_half(images: slice, path: Path, threads: int):
    torch.set_num_threads(threads)
    probabilities, labels, valid, names = batch(images=6, height=150, width=201)
    counted(probabilities[images], labels[images], valid[images], names[images]).save(path)


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path):
    context = multiprocessing.get_context("spawn")
    parts = [(slice(0, 6, 2), tmp_path / "even.npz", 1), (slice(1, 6, 2), tmp_path / "odd.npz", 2)]
    processes = [context.Process(target=count_half, args=part) for part in parts]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    merged = Counts.load(tmp_path / "odd.npz")
    merged.merge(Counts.load(tmp_path / "even.npz"))
    assert merged == counted(*batch(images=6, height=150, width=201))


def resident_megabytes() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident memory is read from /proc")
def test_memory_does_not_grow_with_the_images():
    probabilities, labels, valid, _ = batch(images=1, classes=19, height=128, width=128)
    counts = Counts(19)
    for image in range(1000):
        counts.update(probabilities, labels, valid, [f"{image}"])
        if image == 50:
            before = resident_megabytes()
    # 1.2 MB of probabilities an image; 3 kB of counts
    assert resident_megabytes() - before < 20
    assert sum(row.nbytes for row in counts.rows.values()) < 4e3 * 1000
