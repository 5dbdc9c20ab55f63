"""The whole report from records: header, intervals, calibration, ranks, pictures; and the rate of false claims."""

import dataclasses
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from segloss import records
from segloss.grid import Cell, Grid
from segloss.metrics import calibration_error, image_counts, mean_iou
from segloss.reports import report, style, write_report
from segloss.reports.comparisons import compare_along
from segloss.reports.drawings import draw_ranks
from segloss.reports.intervals import interval_table
from segloss.reports.points import read_statistics
from segloss.reports.ranks import is_conclusive, markdown_ranks, rank, rankings
from segloss.reports.sentences import summary
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
    with pytest.raises(ValueError, match="it is damaged or contains no counts"):
        image_counts((folder / "counts.npz").read_bytes()[:-40])


@pytest.mark.slow
def test_a_report_names_what_was_evaluated_how_and_how_certainly(in_workplace: Path) -> None:
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
    assert len(text.splitlines()) < 32  # fits a screen
    assert "[details.md](details.md)" in text
    assert "Made by `snakemake --cores all --config grid=own`" in text
    details = (folder / "details.md").read_text()
    sections = [line for line in details.splitlines() if line.startswith("## ")]
    assert sections == ["## Calibration", "## Intervals", "## Differences", "## Ranks"]
    assert "| Loss | Hard: ECE ↓ | Hard: ECE, scaled ↓ |" in details
    assert "Mean rank over 4 blocks (data set, labels)" in details
    assert "Not in every block, and left out: Lovász." in details
    assert "the smallest p possible with this design" in details
    assert "The blocks come from 1 data set" in details
    bounds = pd.read_csv(folder / "intervals.csv")
    assert len(bounds) == 2 * len(table[table.status == "done"][AXES].drop_duplicates())
    assert (bounds.low <= bounds["mean"]).all()
    assert (bounds["mean"] <= bounds.high).all()
    means = table[(table.status == "done") & (table.metric == "ECE")].groupby(AXES, sort=False).value.mean()
    np.testing.assert_allclose(bounds[bounds.metric == "ECE"]["mean"], means, rtol=1e-12)
    figures = {path.name: path.stat().st_size for path in folder.glob("*-phantom-unet-tiny.*")}
    kinds = ("reliability", "calibration", "classes")
    assert set(figures) == {f"{kind}-phantom-unet-tiny.{form}" for kind in kinds for form in ("png", "pdf", "svg")}
    assert min(figures.values()) > 5_000
    assert (folder / "table.tex").read_text().count(r"\begin{table") >= 4


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
        "phantom": "test split, windows of 24x32 every 16x22 pixels, scales 0.5, 1.0, also flipped, "
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


def test_ranks_are_drawn_where_blocks_are_enough(in_workplace: Path) -> None:
    random, titles = np.random.default_rng(0), grid_of("tiny").titles
    ranked, left_out = rankings(ranked_table(8, random))
    enough = markdown_ranks(ranked, left_out, titles)
    assert "Mean rank over 8 blocks" in enough
    assert "not independent data sets" in enough
    assert "The blocks come from" not in enough
    assert "| JML | 1.00 | 1.00 |" in enough
    draw_ranks(ranked, titles["losses"], in_workplace)
    for metric in ("mIoU", "ECE"):
        assert (in_workplace / f"ranks-{metric}.png").stat().st_size > 5_000
    ranked, left_out = rankings(ranked_table(2, random))
    assert "this few blocks cannot show which losses differ" in markdown_ranks(ranked, left_out, titles)
    draw_ranks(ranked, titles["losses"], in_workplace)
    assert not list(in_workplace.glob("ranks-*"))
    assert rankings(ranked_table(1, random))[0] == {}


def test_ranks_are_conclusive_by_the_largest_possible_distance() -> None:
    frame = pd.DataFrame(np.tile([3.0, 2, 1], (3, 1)), columns=list("abc"))
    assert not is_conclusive(rank(frame.iloc[:2], True))
    assert is_conclusive(rank(pd.concat([frame] * 3, ignore_index=True), True))


def simulated(folder: Path, skill: dict[str, float], random: np.random.Generator) -> pd.DataFrame:
    """Counts of losses of known skill on the same images, each with three seeds that vary at random; their table."""
    images, classes, pixels = 30, 3, 400
    difficulty = 0.08 * random.standard_normal((images, 1))
    rows = []
    for loss, right in skill.items():
        for seed in range(3):
            cell = Cell("d", "m", "s", "hard", loss, seed)
            share = np.clip(right + difficulty + 0.01 * random.standard_normal(), 0, 1)
            hits = random.binomial(pixels, np.broadcast_to(share, (images, classes)))
            # The wrong pixels of a class are predicted as the next class.
            predicted = hits + np.roll(pixels - hits, 1, axis=1)
            histogram = np.zeros((images, 2, 10), np.int64)
            histogram[:, 0, 8], histogram[:, 1, 8] = (classes * pixels - hits.sum(1)), hits.sum(1)
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


@pytest.mark.slow
def test_tables_of_synthetic_records_find_true_differences_and_keep_the_error_rate(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    skill = {"ce": 0.7, "same": 0.7, "other": 0.7, "better": 0.78, "worse": 0.62}
    false, detected, covered = [], [], []
    for number in range(60):
        table = simulated(tmp_path / str(number), skill, random)
        compared = compare_along("loss", read_statistics(table, tmp_path / str(number)))
        compared = compared[compared.metric == "mIoU"].set_index("loss")
        claimed = compared.p_holm < 0.05
        false.append(claimed[["same", "other"]].any())
        detected += [claimed["better"] and compared.low["better"] > 0, claimed["worse"] and compared.high["worse"] < 0]
        covered.append(compared.low["same"] < 0 < compared.high["same"])
    # At a rate of .05 more than 7 of 60 are seen in 1 of 100 simulations.
    assert sum(false) <= 7
    assert np.mean(detected) > 0.95
    assert np.mean(covered) > 0.88
    bounds = interval_table(read_statistics(table, tmp_path / "59")).set_index(["loss", "metric"])
    assert bounds["mean"]["worse", "mIoU"] < bounds.low["ce", "mIoU"] < bounds.high["ce", "mIoU"]
    assert bounds.high["ce", "mIoU"] < bounds["mean"]["better", "mIoU"]


@pytest.fixture
def small(in_workplace: Path) -> tuple[Grid, Path]:
    """A grid of one loss and two seeds with its records, and its results.csv."""
    grid = grid_of("tiny")
    for cell in grid.cells:
        write_cell(in_workplace / "results", cell)
    path = in_workplace / "reports/tiny/results.csv"
    path.parent.mkdir(parents=True)
    path.write_text(records.collect(grid, Path("results")).to_csv(index=False))
    return grid, path


def test_a_report_reads_each_file_of_counts_once(small: tuple[Grid, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    grid, path = small
    opened: list[str] = []
    load = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda self: opened.append(self.name) or load(self))
    report(grid, path, Path("results"), Path("data"))
    assert opened.count("counts.npz") == len(grid.cells)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda path: path.unlink(), r"results.csv must be a results.csv, it cannot be read .*: collect it first"),
        (lambda path: path.write_bytes(b"\xff\xfe\x00"), r"results.csv must be a results.csv, it cannot be read"),
        (lambda path: (path.unlink(), path.mkdir()), r"results.csv must be a results.csv, it cannot be read"),
        (lambda path: path.write_text(path.read_text().replace("mIoU", "mIuO", 1)), "differs from the records"),
    ],
    ids=["missing", "not UTF-8", "a folder", "changed"],
)
def test_a_damaged_table_ends_in_one_sentence(small: tuple[Grid, Path], damage: Callable, sentence: str) -> None:
    grid, path = small
    damage(path)
    with pytest.raises(records.RecordError, match=sentence):
        report(grid, path, Path("results"), Path("data"))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no archive at all"])
def test_damaged_predictions_end_in_one_sentence(small: tuple[Grid, Path], content: bytes) -> None:
    grid, path = small
    (Path("results") / str(grid.cells[0]) / "predictions.npz").write_bytes(content)
    with pytest.raises(records.RecordError, match=r"predictions.npz must hold predicted class maps, but it is damaged"):
        report(grid, path, Path("results"), Path("data"))


def test_predictions_of_another_shape_end_in_one_sentence(small: tuple[Grid, Path]) -> None:
    grid, path = small
    place = Path("results") / str(grid.cells[0]) / "predictions.npz"
    for shape in ((3,), (4, 4)):
        np.savez(place, test_0000=np.zeros(shape, np.uint8))
        with pytest.raises(records.RecordError, match=r"predictions.npz must hold predicted class maps"):
            report(grid, path, Path("results"), Path("data"))


def test_the_command_of_a_report_is_typed_for_its_folders(small: tuple[Grid, Path], tmp_path: Path) -> None:
    grid, path = small
    (tmp_path / "my results").mkdir()
    shutil.copytree("results", tmp_path / "my results", dirs_exist_ok=True)
    place = tmp_path / "R&D" / "tiny" / "results.csv"
    place.parent.mkdir(parents=True)
    shutil.copy(path, place)
    text = report(grid, place, tmp_path / "my results", Path("data"))
    command = text.split("Made by `")[1].split("`")[0]
    assert shlex.split(command) == [
        *("snakemake", "--cores", "all", "--config", "grid=tiny"),
        "results=my results",
        "reports=R&D",
    ]


def test_hostile_and_equal_titles_lose_no_report(small: tuple[Grid, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    grid, path = small
    monkeypatch.setattr(style, "FORMATS", ("svg",))
    for title in ("_$x$ $ \\frac{ | <script>alert(1)</script>\n&#~^%", "=1+1", ""):
        titles = {kind: dict.fromkeys(names, title) for kind, names in grid.titles.items()}
        text = report(dataclasses.replace(grid, title=title, titles=titles), path, Path("results"), Path("data"))
        assert "<script>" not in text
        assert (path.parent / "reliability-phantom-unet-tiny.svg").exists()


@pytest.mark.slow
def test_a_report_is_the_same_bytes_again(small: tuple[Grid, Path]) -> None:
    grid, path = small
    report(grid, path, Path("results"), Path("data"))
    before = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    for file in path.parent.glob("*.*"):
        if file != path:
            file.unlink()
    report(grid, path, Path("results"), Path("data"))
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == before
    assert len(before) > 10


def test_summary_sentences_by_hand() -> None:
    titles = {"losses": {"ce": "CE", "dice": "Dice", "jml": "JML"}, "labels": {"hard": "Hard", "bls": "BLS"}}
    rows = [
        dict(dataset="d", model="m", schedule="s", labels=labels, loss=loss, against="loss", baseline="ce")
        | dict(metric=metric, difference=difference, p=p, p_holm=p)
        for labels, loss, metric, difference, p in (
            ("hard", "dice", "mIoU", 5.0, 0.001),
            ("bls", "dice", "mIoU", 4.0, 0.01),
            ("hard", "jml", "mIoU", 3.0, 0.2),
            ("bls", "jml", "mIoU", -3.0, 0.04),
            ("hard", "dice", "ECE", 2.0, 0.3),
        )
    ]
    assert summary(pd.DataFrame(rows), titles) == (
        "- mIoU: Dice beats CE under both label scenarios (higher mIoU); JML is worse than CE under BLS (lower mIoU). "
        "One other difference is not significant.\n"
        "- ECE: no difference from CE is significant (1 tested).\n"
    )
    one_seed = pd.DataFrame(rows).assign(p=np.nan, p_holm=np.nan)
    assert summary(one_seed, titles).startswith("With one seed")
