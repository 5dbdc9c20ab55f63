"""Differences between losses from the counts of their images: found where they are, not where they are not."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from segloss.grid import Cell
from segloss.integrity import RecordError
from segloss.metrics import Counts, summarize
from segloss.reports.comparisons import compare_losses, markdown

TITLES = {"losses": {"ce": "CE", "same": "Same", "better": "Better"}, "labels": {"hard": "Hard"}}
RIGHT = {"ce": 0.6, "same": 0.6, "better": 0.75}


def trained(results: Path, loss: str, seed: int, names: list[str]) -> Counts:
    """Counts of a loss that predicts a pixel rightly with its own probability, the images being the same for all."""
    labels = torch.randint(0, 3, (len(names), 12, 12), generator=torch.Generator().manual_seed(0))
    random = torch.Generator().manual_seed(hash((RIGHT[loss], seed, loss == "same")) % 2**31)
    right = torch.rand(labels.shape, generator=random) < RIGHT[loss] + 0.02 * seed
    predicted = torch.where(right, labels, (labels + 1) % 3)
    counts = Counts(3)
    counts.update(torch.nn.functional.one_hot(predicted, 3).movedim(-1, 1).float(), labels, names=names)
    folder = results / str(Cell("d", "m", "s", "hard", loss, seed))
    folder.mkdir(parents=True)
    counts.save(folder / "counts.npz")
    return counts


def table(seeds: int) -> pd.DataFrame:
    rows = [
        dict(dataset="d", model="m", schedule="s", labels="hard", loss=loss, seed=seed, status="done", metric=metric)
        for loss in RIGHT
        for seed in range(seeds)
        for metric in ("mIoU", "ECE")
    ]
    return pd.DataFrame([*rows, {**rows[0], "loss": "failed", "status": "failed"}])


def test_a_true_difference_is_found_and_no_other(tmp_path: Path) -> None:
    names = [f"image{number}" for number in range(40)]
    counts = {loss: [trained(tmp_path, loss, seed, names) for seed in range(3)] for loss in RIGHT}
    compared = compare_losses(table(3), tmp_path).set_index("loss")
    assert list(compared.index) == ["same", "better"]
    for loss in compared.index:
        means = [np.mean([summarize(one)["mIoU"] for one in counts[name]]) for name in (loss, "ce")]
        # Pseudo-values differ from the metric itself by the jackknife's bias, of order 1 / images.
        assert compared.difference[loss] == pytest.approx(means[0] - means[1], abs=0.05)
        assert compared.low[loss] < compared.difference[loss] < compared.high[loss]
    assert compared.p_holm["better"] < 0.01
    assert compared.low["better"] > 0
    assert compared.low["same"] < 0 < compared.high["same"]
    text = markdown(compared.reset_index(), TITLES)
    assert "mIoU minus that of CE" in text
    assert "over the 2 comparisons of this report" in text
    (line,) = [line for line in text.splitlines() if line.startswith("| Better |")]
    assert line.endswith(" * |")


def test_one_seed_gives_a_difference_and_no_claim(tmp_path: Path) -> None:
    for loss in RIGHT:
        trained(tmp_path, loss, 0, ["a", "b", "c"])
    compared = compare_losses(table(1), tmp_path)
    assert compared.p.isna().all()
    assert compared.p_holm.isna().all()
    assert "(one seed: no interval)" in markdown(compared, TITLES)


def test_losses_of_different_images_are_not_compared(tmp_path: Path) -> None:
    for loss in RIGHT:
        trained(tmp_path, loss, 0, ["a", "b", "other" if loss == "better" else "c"])
    with pytest.raises(RecordError, match="better and ce of d/m/s/hard were evaluated on different images"):
        compare_losses(table(1), tmp_path)


def test_a_grid_of_one_loss_compares_nothing(tmp_path: Path) -> None:
    trained(tmp_path, "ce", 0, ["a", "b"])
    only = table(1)
    assert compare_losses(only[only.loss == "ce"], tmp_path).empty
