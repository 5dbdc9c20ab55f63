"""The whole report from records: header, intervals, calibration, ranks, pictures; and what it claims by chance."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from segloss import records
from segloss.grid import Cell, Grid
from segloss.metrics import calibration_error, image_counts, mean_iou
from segloss.reports import report_ranks, write_report
from segloss.reports.comparisons import compare_along
from segloss.reports.intervals import intervals
from segloss.reports.ranks import rank, tells
from segloss.reports.summary import AXES
from tests.conftest import grid_of
from tests.written_records import write_cell


def test_scores_without_torch_are_those_of_the_metrics(in_workplace: Path) -> None:
    cell = grid_of("tiny").cells[0]
    write_cell(in_workplace / "results", cell)
    folder = in_workplace / "results" / str(cell)
    metrics = records.read(folder / "record.json")["metrics"]
    counts = image_counts(folder / "counts.npz")
    assert mean_iou(counts.overlap.sum(0)) == pytest.approx(metrics["mIoU"], rel=1e-13)
    assert calibration_error(counts.calibration.sum(0)) == pytest.approx(metrics["ECE"], rel=1e-12)
    assert counts.names == [f"image{number}" for number in range(4)]
    with pytest.raises(ValueError, match="it is damaged or holds no counts"):
        image_counts((folder / "counts.npz").read_bytes()[:-40])


def test_a_report_says_what_was_evaluated_how_and_how_surely(in_workplace: Path) -> None:
    (in_workplace / "configs/grids/own.yaml").write_text(
        "{title: Own, datasets: [phantom], models: [unet-tiny], schedule: tiny, labels: [hard, bls, ls, raters],"
        " losses: [ce, focal, lovasz, jml], seeds: 2}"
    )
    grid, results = grid_of("own"), in_workplace / "results"
    for cell in grid.cells:
        write_cell(results, cell)
    table = records.collect(grid, results)
    folder = in_workplace / "reports/own"
    text = write_report(grid, table, results, in_workplace / "data", folder)
    assert text == (folder / "table.md").read_text()
    header = "Seeds: 2. Weights evaluated: last (of 16 iterations). Evaluation: phantom: test split, whole images."
    assert text.splitlines()[2] == header
    sections = [line for line in text.splitlines() if line.startswith("## ")]
    assert sections == ["## Calibration", "## Intervals", "## Differences", "## Ranks"]
    assert "| Loss | Hard: ECE ↓ | Hard: ECE, scaled ↓ |" in text
    assert "Mean rank over 4 blocks (data set, labels)" in text
    assert "Not in every block, and left out: Lovász." in text
    assert "this design allows no p below" in text
    assert "The blocks are of 1 data set" in text
    bounds = pd.read_csv(folder / "intervals.csv")
    assert len(bounds) == 2 * len(table[table.status == "done"][AXES].drop_duplicates())
    assert (bounds.low <= bounds["mean"]).all()
    assert (bounds["mean"] <= bounds.high).all()
    means = table[(table.status == "done") & (table.metric == "ECE")].groupby(AXES, sort=False).value.mean()
    np.testing.assert_allclose(bounds[bounds.metric == "ECE"]["mean"], means, rtol=1e-12)
    assert (folder / "reliability-phantom-unet-tiny.png").stat().st_size > 10_000


def test_the_header_names_windows_views_and_the_choice_of_weights(in_workplace: Path) -> None:
    experiment = grid_of("tiny").experiments[0]
    protocol = dict(mode="slide", crop_size=[24, 32], stride=[16, 22], scales=[0.5, 1.0], flip=True, size_divisor=1)
    checkpoint = {"rule": "best", "iteration": 6, "validations": [{"iteration": 6, "mIoU": 30.0}]}
    write_cell(
        in_workplace / "results",
        experiment.cell,
        evaluation__protocol=protocol,
        evaluation__reference="majority",
        training__checkpoint=checkpoint,
        config={"validation_interval": 3},
    )
    made = records.provenance(Grid("own", "Own", (experiment,), {}, {}, "own"), in_workplace / "results")
    assert made["weights"] == ["best validation mIoU (every 3 of 16 iterations)"]
    assert made["protocols"] == {
        "phantom": "test split, windows of 24x32 every 16x22 pixels, scales 0.5, 1.0, mirrored too, "
        "probabilities averaged, against the majority of raters"
    }


def ranked_table(blocks: int, random: np.random.Generator) -> pd.DataFrame:
    """Results of four losses, the first always the best and the last the worst."""
    rows = [
        dict(dataset=f"d{block}", model="m", schedule="s", labels="hard", loss=loss, seed=seed, status="done")
        | dict(metric=metric, value=sign * (10 * place + random.random()))
        for block in range(blocks)
        for seed in range(2)
        for place, loss in enumerate(("jml", "ce", "focal", "dice"))
        for metric, sign in (("mIoU", -1), ("ECE", 1))
    ]
    return pd.DataFrame(rows)


def test_a_picture_of_ranks_is_drawn_where_blocks_are_enough(in_workplace: Path) -> None:
    random, grid = np.random.default_rng(0), grid_of("tiny")
    enough = "".join(report_ranks(grid, ranked_table(8, random), in_workplace))
    assert "Mean rank over 8 blocks" in enough
    assert "no independent data sets" in enough
    assert "The blocks are of" not in enough
    assert "| JML | 1.00 | 1.00 |" in enough
    for metric in ("mIoU", "ECE"):
        assert (in_workplace / f"ranks-{metric}.png").stat().st_size > 5_000
    few = "".join(report_ranks(grid, ranked_table(2, random), in_workplace))
    assert "so few blocks cannot show which losses differ" in few
    assert not (in_workplace / "ranks-mIoU.png").exists()
    assert report_ranks(grid, ranked_table(1, random), in_workplace) == []


def test_whether_ranks_can_tell_is_decided_by_the_largest_possible_distance() -> None:
    frame = pd.DataFrame(np.tile([3.0, 2, 1], (3, 1)), columns=list("abc"))
    assert not tells(rank(frame.iloc[:2], True))
    assert tells(rank(pd.concat([frame] * 3, ignore_index=True), True))


def simulated(folder: Path, skill: dict[str, float], random: np.random.Generator) -> pd.DataFrame:
    """Counts of losses of known skill on the same images, each with three seeds of their own luck; their table."""
    images, classes, pixels = 30, 3, 400
    difficulty = 0.08 * random.standard_normal((images, 1))
    rows = []
    for loss, right in skill.items():
        for seed in range(3):
            cell = Cell("d", "m", "s", "hard", loss, seed)
            share = np.clip(right + difficulty + 0.01 * random.standard_normal(), 0, 1)
            hits = random.binomial(pixels, np.broadcast_to(share, (images, classes)))
            # What is wrong of one class is predicted to be the next.
            predicted = hits + np.roll(pixels - hits, 1, axis=1)
            histogram = np.zeros((images, 2, 100), np.int64)
            histogram[:, 0, 80], histogram[:, 1, 80] = (classes * pixels - hits.sum(1)), hits.sum(1)
            place = folder / str(cell)
            place.mkdir(parents=True)
            np.savez(
                place / "counts.npz",
                names=[f"{number:02}" for number in range(images)],
                row_true_positives=hits,
                row_labelled=np.full_like(hits, pixels),
                row_predicted=predicted,
                row_histogram=histogram,
                row_confidence=0.805 * histogram.sum(1),
            )
            rows.append({**vars(cell), "status": "done", "metric": "mIoU"})
    return pd.DataFrame(rows)


def test_tables_of_synthetic_records_find_true_differences_and_keep_the_error_rate(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    skill = {"ce": 0.7, "same": 0.7, "other": 0.7, "better": 0.78, "worse": 0.62}
    false, found, covered = [], [], []
    for number in range(60):
        table = simulated(tmp_path / str(number), skill, random)
        compared = compare_along("loss", table, tmp_path / str(number))
        compared = compared[compared.metric == "mIoU"].set_index("loss")
        claimed = compared.p_holm < 0.05
        false.append(claimed[["same", "other"]].any())
        found += [claimed["better"] and compared.low["better"] > 0, claimed["worse"] and compared.high["worse"] < 0]
        covered.append(compared.low["same"] < 0 < compared.high["same"])
    # At a rate of .05 more than 7 of 60 are seen in 1 of 100 simulations.
    assert sum(false) <= 7
    assert np.mean(found) > 0.95
    assert np.mean(covered) > 0.88
    bounds = intervals(table, tmp_path / "59").set_index(["loss", "metric"])
    assert bounds["mean"]["worse", "mIoU"] < bounds.low["ce", "mIoU"] < bounds.high["ce", "mIoU"]
    assert bounds.high["ce", "mIoU"] < bounds["mean"]["better", "mIoU"]
