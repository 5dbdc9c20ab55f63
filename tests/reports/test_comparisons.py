"""Differences between losses from the counts of their images: found where they are, not where they are not."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from segloss.grid import Cell
from segloss.metrics import Counts, summarize
from segloss.records.verification import RecordError
from segloss.reports.comparisons import compare_along, markdown_differences
from segloss.reports.points import read_statistics

TITLES = {"losses": {"ce": "CE", "same": "Same", "better": "Better"}, "labels": {"hard": "Hard"}}
RIGHT = {"ce": 0.6, "same": 0.6, "better": 0.75}


def trained(results: Path, loss: str, seed: int, names: list[str]) -> Counts:
    """Counts of a loss that predicts pixels correctly with its own probability, on images that all losses share."""
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
    every = compare_along("loss", read_statistics(table(3), tmp_path))
    assert set(every.metric) == {"mIoU", "ECE"}
    compared = every[every.metric == "mIoU"].set_index("loss")
    assert list(compared.index) == ["same", "better"]
    for loss in compared.index:
        means = [np.mean([summarize(entry)["mIoU"] for entry in counts[name]]) for name in (loss, "ce")]
        # Pseudo-values differ from the metric itself by the jackknife's bias, of order 1 / images.
        assert compared.difference[loss] == pytest.approx(means[0] - means[1], abs=0.05)
        assert compared.low[loss] < compared.difference[loss] < compared.high[loss]
    assert compared.p_holm["better"] < 0.01
    assert compared.low["better"] > 0
    assert compared.low["same"] < 0 < compared.high["same"]
    # A one-hot prediction has a confidence of 1: its calibration error is its share of wrong pixels.
    errors = every[every.metric == "ECE"].set_index("loss")
    for loss in errors.index:
        means = [np.mean([summarize(entry)["ECE"] for entry in counts[name]]) for name in (loss, "ce")]
        assert errors.difference[loss] == pytest.approx(means[0] - means[1], abs=1e-9)
    assert errors.high["better"] < 0
    text = markdown_differences(every, TITLES)
    assert "mIoU minus that of CE (higher is better)" in text
    assert "ECE minus that of CE (lower is better)" in text
    assert "(2 of mIoU between losses, 2 of ECE between losses)" in text
    lines = [line for line in text.splitlines() if line.startswith("| Better |")]
    assert len(lines) == 2
    assert all(line.endswith(" * |") for line in lines)
    assert compare_along("labels", read_statistics(table(3), tmp_path)).empty


def test_kinds_of_label_are_compared_under_the_same_loss(tmp_path: Path) -> None:
    """The same trainings, entered as kinds of label instead of losses: the losses' differences become the labels'."""
    names = [f"image{number}" for number in range(20)]
    for loss in RIGHT:
        for seed in range(2):
            trained(tmp_path, loss, seed, names)
    by_loss = compare_along("loss", read_statistics(table(2), tmp_path))
    rows = table(2)
    rows = rows[rows.status == "done"]
    swapped = rows.assign(labels=rows.loss, loss="only")
    for cell in rows.drop_duplicates(["loss", "seed"]).itertuples():
        old = tmp_path / str(Cell("d", "m", "s", "hard", cell.loss, cell.seed))
        new = tmp_path / str(Cell("d", "m", "s", cell.loss, "only", cell.seed))
        new.parent.mkdir(parents=True, exist_ok=True)
        old.rename(new)
    by_labels = compare_along("labels", read_statistics(swapped, tmp_path))
    assert by_labels.labels.tolist() == by_loss.loss.tolist()
    for column in ("difference", "low", "high", "p", "p_holm"):
        assert by_labels[column].tolist() == by_loss[column].tolist()
    titles = {"losses": {"only": "Only"}, "labels": TITLES["losses"]}
    text = markdown_differences(by_labels, titles)
    assert "mIoU minus that of CE (higher is better)" in text
    assert "| Labels | Only |" in text


def test_one_seed_gives_a_difference_and_no_claim(tmp_path: Path) -> None:
    for loss in RIGHT:
        trained(tmp_path, loss, 0, ["a", "b", "c"])
    compared = compare_along("loss", read_statistics(table(1), tmp_path))
    assert compared.p.isna().all()
    assert compared.p_holm.isna().all()
    assert "(one seed: no interval)" in markdown_differences(compared, TITLES)


def test_losses_of_different_images_are_not_compared(tmp_path: Path) -> None:
    for loss in RIGHT:
        trained(tmp_path, loss, 0, ["a", "b", "other" if loss == "better" else "c"])
    with pytest.raises(RecordError, match="better and ce of d/m/s/hard were evaluated on different images"):
        compare_along("loss", read_statistics(table(1), tmp_path))


def test_a_grid_of_one_loss_compares_nothing(tmp_path: Path) -> None:
    trained(tmp_path, "ce", 0, ["a", "b"])
    only = table(1)
    assert compare_along("loss", read_statistics(only[only.loss == "ce"], tmp_path)).empty
