"""What Snakemake prints about a grid: a line for each cell, failures at once with their reason, errors as sentences."""

import io
import json
import os
import pty
import re
import subprocess
from pathlib import Path

import pytest
from rich.console import Console

from segloss.records import progress
from segloss.records.view import GridView
from tests.conftest import BIN, TINY_GRID, run

ONE_LOSS = TINY_GRID.replace("[hard, raters]", "[hard]").replace("[ce, lovasz]", "[ce]")
CELL = "phantom/unet-tiny/tiny/hard/{}/seed0"


def folder_of(results: Path, loss: str) -> Path:
    folder = results / CELL.format(loss)
    (folder / "work").mkdir(parents=True)
    return folder


@pytest.fixture
def view() -> GridView:
    """A view whose output is recorded."""
    view = GridView()
    view.console = Console(record=True, width=120, file=io.StringIO(), soft_wrap=True)
    view.total = 3
    return view


def test_a_cell_that_trains_has_its_iteration_speed_and_time_left(view: GridView, tmp_path: Path) -> None:
    training, queued = folder_of(tmp_path, "ce"), folder_of(tmp_path, "jml")
    progress.write(training, "training", iteration=30, iterations=120, images_per_second=41.26, seconds_left=75.0)
    view.start(CELL.format("ce"), training)
    view.start(CELL.format("jml"), queued)
    view.close()
    view.console.print(view.picture())
    text = view.console.export_text()
    assert re.search(r"hard/ce/seed0 +30/120 +41\.3 images/s +75 s left", text)
    assert re.search(r"hard/jml/seed0 +queued", text)
    assert "0/3 cells" in text


def test_a_cell_that_ends_has_one_line_with_its_metrics_or_its_reason(view: GridView, tmp_path: Path) -> None:
    done, failed = folder_of(tmp_path, "ce"), folder_of(tmp_path, "jml")
    record = {"metrics": {"mIoU": 51.234, "ECE": 3.1}, "seconds": 40.2}
    (done / "record.json").write_text(json.dumps(record))
    (failed / "failure.json").write_text(json.dumps({"reason": "the loss is NaN at iteration 7"}))
    for loss, folder in (("ce", done), ("jml", failed)):
        view.start(CELL.format(loss), folder)
    view.finish(CELL.format("ce"), done)
    view.fail(CELL.format("jml"), failed)
    lines = [line.rstrip() for line in view.console.export_text().splitlines()]
    assert "1/3  done    phantom/unet-tiny/tiny/hard/ce/seed0  mIoU 51.23  ECE 3.10  40 s" in lines
    (line,) = [line for line in lines if line.startswith("2/3  failed")]
    assert "the loss is NaN at iteration 7 (log: " in line
    assert view.live is None  # nothing is running


@pytest.mark.slow
@pytest.mark.usefixtures("forked")
def test_snakemake_shows_cells_and_their_failures(workplace: Path) -> None:
    (workplace / "configs/grids/tiny.yaml").write_text(ONE_LOSS)
    done = run("snakemake", "--cores", "2", "--config", "grid=tiny", cwd=workplace)
    cells = len(list(workplace.glob("results/**/record.json")))
    lines = re.findall(r"^ *\d+/\d+  done    \S+  mIoU [\d.]+  ECE [\d.]+  \d+ s$", done.stderr, re.MULTILINE)
    assert len(lines) == cells > 1
    assert "rule train" not in done.stderr
    again = run("snakemake", "--cores", "2", "--config", "grid=tiny", cwd=workplace)
    assert "Nothing to be done" in again.stderr
    # Records decide what is trained: another line in the workflow does not train a finished grid again.
    rules = workplace / "workflows" / "train.smk"
    rules.write_text(rules.read_text().replace("> {log:q} 2>&1", ">  {log:q} 2>&1"))
    again = run("snakemake", "--cores", "2", "--config", "grid=tiny", cwd=workplace)
    assert "Nothing to be done" in again.stderr
    options = ("--config", "grid=tiny", "results=other", "train=--device cuda")
    failed = run("snakemake", "--cores", "2", *options, cwd=workplace, check=False)
    reasons = re.findall(r"^ *\d+/\d+  failed  \S+  --device cuda needs a GPU", failed.stderr, re.MULTILINE)
    assert len(reasons) == cells
    assert "RuleException" not in failed.stderr
    # The table has the same reason.
    assert "--device cuda needs a GPU" in (workplace / "reports/tiny/table.md").read_text()


@pytest.mark.slow
@pytest.mark.usefixtures("forked")
def test_on_a_terminal_the_table_is_formatted(workplace: Path) -> None:
    (workplace / "configs/grids/tiny.yaml").write_text(ONE_LOSS.replace("seeds: 2", "seeds: 1"))
    main, side = pty.openpty()
    command = [BIN / "snakemake", "--cores", "2", "--config", "grid=tiny"]
    with subprocess.Popen(command, cwd=workplace, stdout=side, stderr=side, stdin=subprocess.DEVNULL) as process:
        os.close(side)
        text = b""
        while chunk := read(main):
            text += chunk
    assert process.returncode == 0
    shown = text.decode()
    assert "|:--|" not in shown  # the markup of Markdown
    assert re.search(r"images/s|evaluating|starting|queued", shown)
    assert "reports/tiny/index.html" in shown


def read(descriptor: int) -> bytes:
    """The next output of a terminal; empty at its end."""
    try:
        return os.read(descriptor, 65536)
    except OSError:  # Linux ends a pseudo-terminal like this
        return b""
