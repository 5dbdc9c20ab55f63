"""Controls: a real grid with them up to its table, against frequencies, IoU, ECE and KL computed from the files."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from segloss.engine.controls import control
from segloss.grid import ConfigError
from segloss.grid.controls import CONTROLS
from segloss.metrics import Counts, summarize
from segloss.reports.controls import with_controls
from segloss.reports.summary import summarise
from tests.conftest import experiment_of, grid_of, run

CELL = "phantom/control/none/hard/{}/seed0"
VOID = 255


def labels_of(folder: Path, split: str) -> list[tuple[str, np.ndarray]]:
    """Names and label maps of a split of phantom, read without segloss."""
    names = [Path(line.split()[0]).stem for line in (folder / f"{split}.txt").read_text().splitlines()]
    return [(name, np.array(Image.open(folder / "labels" / f"{name}.png"))) for name in names]


def constant_metrics(shares: np.ndarray, folder: Path) -> dict[str, float]:
    """aAcc, mIoU, ECE and KL of the same probabilities at every pixel of the test images, from their definitions."""
    maps = labels_of(folder, "test")
    pixels = np.concatenate([labels[labels != VOID] for _, labels in maps])
    posterior = np.concatenate(
        [np.load(folder / "posterior" / f"{name}.npz")["posterior"][:, labels != VOID] for name, labels in maps], 1
    ).astype(float)
    predicted = int(shares.argmax())
    accuracy = (pixels == predicted).mean()
    # Every pixel has the predicted class: its IoU is its share, and that of every other class is 0.
    iou = [accuracy if index == predicted else 0.0 for index in range(5)]
    entropy = np.where(posterior > 0, posterior * np.log(np.where(posterior > 0, posterior, 1)), 0).sum(0)
    return {
        "aAcc": 100 * accuracy,
        "mIoU": 100 * np.mean(iou),
        "ECE": 100 * abs(accuracy - shares.max()),
        "KL": (entropy - (posterior * np.log(np.maximum(shares, 1e-30))[:, None]).sum(0)).mean(),
    }


def times(workplace: Path) -> dict[str, int]:
    """When each cell's record was written."""
    results = workplace / "results"
    return {str(path.parent.relative_to(results)): path.stat().st_mtime_ns for path in results.rglob("record.json")}


def records_of(workplace: Path) -> dict[str, dict]:
    """The records of phantom's controls by name."""
    results = workplace / "results"
    return {name: json.loads((results / CELL.format(name) / "record.json").read_text()) for name in CONTROLS}


@pytest.mark.slow
@pytest.mark.usefixtures("forked")
def test_their_metrics_are_those_of_the_files(workplace: Path, phantom: Path) -> None:
    """Class shares of the training labels, not of the evaluated ones; the posterior of each pixel itself."""
    for name in CONTROLS:
        run("segloss", "train", CELL.format(name), cwd=workplace)
    records = records_of(workplace)
    folder = phantom / "phantom"
    training = np.concatenate([labels[labels != VOID] for _, labels in labels_of(folder, "train")])
    shares = np.bincount(training, minlength=5) / len(training)
    for name, probabilities in (("class-frequencies", shares), ("majority-class", np.eye(5)[shares.argmax()])):
        metrics = records[name]["metrics"]
        expected = constant_metrics(probabilities, folder)
        if name == "majority-class":  # infinite but for the floor of logarithms
            del expected["KL"]
        assert {key: metrics[key] for key in expected} == pytest.approx(expected, rel=1e-5)
    truth = records["true-posterior"]["metrics"]
    assert truth["KL"] == pytest.approx(0, abs=1e-6)
    assert truth["mDice_soft"] == pytest.approx(100, abs=1e-4)
    likelihood = [
        np.take_along_axis(np.load(folder / "posterior" / f"{name}.npz")["posterior"], labels[None] % VOID, 0)[0][
            labels != VOID
        ]
        for name, labels in labels_of(folder, "test")
    ]
    assert truth["NLL"] == pytest.approx(-np.log(np.concatenate(likelihood).astype(float)).mean(), rel=1e-4)


@pytest.mark.slow
@pytest.mark.usefixtures("forked")
def test_a_grid_with_controls_to_its_table(workplace: Path) -> None:
    grid_file = workplace / "configs/grids/tiny.yaml"
    smaller = grid_file.read_text().replace("[ce, lovasz]", "[ce]").replace("seeds: 2", "seeds: 1")
    grid_file.write_text(smaller + "controls: true\n")
    command = ("snakemake", "--cores", "2", "--config", "grid=tiny")
    run(*command, cwd=workplace)
    records = records_of(workplace)
    report = workplace / "reports/tiny"
    table = (report / "table.md").read_text()
    for name, title in CONTROLS.items():
        shown = [f"{records[name]['metrics'][metric]:.2f}" for metric in ("mIoU", "ECE")]
        # No bold, no spread, and the same under both label scenarios.
        assert f"| {title} | {' | '.join(shown * 2)} |" in table
    assert "are excluded from tests, ranks and marks" in table
    assert len(re.findall(r"\| \*\*\d|\*\* \|", table)) > 0
    for name in ("intervals.csv", "comparisons.csv"):
        assert not set(CONTROLS) & set(pd.read_csv(report / name).loss)
    tex = (report / "table.tex").read_text()
    assert r"\emph{Controls}" in tex
    assert all(tex.count(f"{title} & ") >= 4 for title in CONTROLS.values())
    rows = pd.read_csv(report / "results.csv")
    assert set(rows[rows.model == "control"].loss) == set(CONTROLS)
    assert run("segloss", "status", "tiny", cwd=workplace).stdout.splitlines()[1].endswith("5/5: 5 done")

    # A control whose counts are lost is computed again, as any cell is, and nothing else is.
    before, records_before = (report / "results.csv").read_bytes(), times(workplace)
    (workplace / "results" / CELL.format("majority-class") / "counts.npz").unlink()
    run(*command, cwd=workplace)
    changed = {cell for cell, time in times(workplace).items() if time != records_before[cell]}
    assert changed == {CELL.format("majority-class")}
    assert (report / "results.csv").read_bytes() == before


def test_controls_are_requested_and_are_those_that_the_data_allow(in_workplace: Path) -> None:
    file = in_workplace / "configs/grids/tiny.yaml"
    plain = grid_of("tiny")
    assert plain.controls == ()
    assert "majority-class" not in plain.titles["losses"]
    file.write_text(file.read_text() + "controls: true\n")
    grid = grid_of("tiny")
    assert [str(entry.cell) for entry in grid.controls] == [CELL.format(name) for name in CONTROLS]
    assert grid.experiments == plain.experiments
    file.write_text(file.read_text().replace("[phantom]", "[camvid-cpu]").replace("[hard, raters]", "[hard]"))
    assert [entry.control for entry in grid_of("tiny").controls] == ["class-frequencies", "majority-class"]
    assert experiment_of("camvid-cpu/control/none/hard/true-posterior/seed0").not_applicable == (
        "the posterior of camvid is not known"
    )
    with pytest.raises(ConfigError, match="unknown control 'chance'; known: class-frequencies"):
        experiment_of(CELL.format("chance"))
    with pytest.raises(ConfigError, match="is not a control: expected phantom/control/none/hard/majority-class/seed0"):
        experiment_of("phantom/control/none/hard/majority-class/seed1")


def test_a_loss_cannot_have_the_name_of_a_control(in_workplace: Path) -> None:
    file = in_workplace / "configs/losses.yaml"
    file.write_text(file.read_text() + "majority-class: {title: M, loss: cross_entropy}\n")
    with pytest.raises(ConfigError, match=r"majority-class is the name of a control: choose another"):
        grid_of("tiny")


def test_frequencies_are_the_shares_and_the_majority_the_first_of_the_largest() -> None:
    class Sample:
        gt_sem_seg = torch.zeros(2, 3)

    frequencies = control("class-frequencies", [1, 4, 0, 4, 1]).probabilities(Sample)
    assert frequencies.shape == (5, 2, 3)
    assert torch.equal(frequencies[:, 1, 2], torch.tensor([0.1, 0.4, 0, 0.4, 0.1]))
    majority = control("majority-class", [1, 4, 0, 4, 1]).probabilities(Sample)
    assert majority[:, 0, 0].tolist() == [0, 1, 0, 0, 0]
    counts = Counts(5)
    counts.update(majority[None], torch.ones(1, 2, 3, dtype=torch.int64))
    assert summarize(counts)["mIoU"] == 100


def test_the_best_mark_goes_to_a_loss_even_where_a_control_is_better() -> None:
    axes = dict(dataset="phantom", schedule="tiny", status="done", metric="mIoU", seed=0, reason=None)
    rows = [
        {**axes, "model": model, "labels": labels, "loss": loss, "value": value}
        for model, labels, loss, value in (
            ("unet", "hard", "ce", 50.0),
            ("unet", "hard", "jml", 60.0),
            ("unet", "bls", "ce", 55.0),
            ("control", "hard", "true-posterior", 80.0),
        )
    ]
    entries = summarise(with_controls(pd.DataFrame(rows)))
    marks = {key[3:5]: (entry.mean, entry.place, entry.n) for key, entry in entries.items() if key[5] == "mIoU"}
    assert marks == {
        ("hard", "ce"): (50.0, 2, 1),
        ("hard", "jml"): (60.0, 1, 1),
        ("bls", "ce"): (55.0, 1, 1),
        ("hard", "true-posterior"): (80.0, None, 0),
        ("bls", "true-posterior"): (80.0, None, 0),
    }
