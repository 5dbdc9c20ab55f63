"""Figures: the same bytes in every process, titles as typed, and the argument's formulas are those of the losses."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from segloss.losses import CATALOGUE
from segloss.reports.diagrams import cliques
from segloss.reports.pixel_loss import draw_argument, jaccard_metric_loss, product_form
from segloss.reports.style import COLOURS, FORMATS, drawing, legend_below, line_styles, panels, write_figure

DRAW = """
import sys
from pathlib import Path
import numpy as np
import pandas as pd
from segloss.reports import curves, diagrams, ranks
scores = {loss: [index, index + 3 * (index % 2), 2 * index] for index, loss in enumerate("abcdef")}
ranking = ranks.rank(pd.DataFrame(scores), higher_is_better=True, resamples=100)
titles = {"losses": {loss: f"loss {loss}" for loss in scores}, "labels": {"hard": "Hard"}}
folder = Path(sys.argv[1])
diagrams.critical_difference(folder / "ranks.png", ranking, "mIoU", titles["losses"])
bins = {"hard": {loss: np.tile(np.arange(1.0, 11), (3, 1)) for loss in scores}}
diagrams.reliability(folder / "reliability.png", bins, titles)
curve = np.array([[1.0, 2.0], [2.0, 1.0]])
curves.draw_curves(folder / "curves.png", {"hard": {loss: [(curve, curve)] * 2 for loss in scores}}, titles)
"""


@pytest.mark.slow
def test_figures_are_the_same_bytes_in_every_process(tmp_path: Path) -> None:
    contents = []
    for seed in ("1", "2"):
        folder = tmp_path / seed
        folder.mkdir()
        command = [sys.executable, "-W", "ignore", "-c", DRAW, str(folder)]
        subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": seed}, check=True)
        contents.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert contents[0] == contents[1]
    assert set(contents[0]) == {f"{name}.{form}" for name in ("ranks", "reliability", "curves") for form in FORMATS}
    for name, content in contents[0].items():
        assert b"CreationDate" not in content, name
        assert b"dc:date" not in content, name


def test_cliques_by_hand() -> None:
    assert cliques([1.0, 1.5, 3.0, 4.0], 2) == [(1.0, 3.0), (3.0, 4.0)]
    assert cliques([1, 2, 3], 0.5) == []
    assert cliques([1, 2, 3], 1) == [(1, 2), (2, 3)]
    assert cliques([1, 2, 3], 2) == [(1, 3)]
    assert cliques([1, 1.2, 4, 4.4], 1) == [(1, 1.2), (4, 4.4)]


def test_line_styles_differ_in_colour_and_in_grey() -> None:
    styles = line_styles(map(str, range(56)))
    assert len({tuple(style.values()) for style in styles.values()}) == 56
    greys = [Image.new("RGB", (1, 1), colour).convert("L").getpixel((0, 0)) for colour in COLOURS]
    for first in range(8):
        for second in range(first):
            grey = abs(greys[first] - greys[second]) > 20
            form = [styles[str(place)] for place in (first, second)]
            assert grey or form[0]["linestyle"] != form[1]["linestyle"] or form[0]["marker"] != form[1]["marker"]


@pytest.mark.parametrize("title", ["_hidden", "$x$", "a $ b", "\\frac{", "two\nlines", "<script>", "%#&{}~^"])
def test_a_title_is_drawn_as_typed(tmp_path: Path, title: str) -> None:
    with drawing() as pyplot:
        pyplot.rcParams["svg.fonttype"] = "none"  # text as text, to be read back
        figure, axes = panels(pyplot, 1, 2.0)
        (line,) = axes[0, 0].plot([0, 1])
        legend_below(figure, {"a": line}, {"a": title})
        write_figure(figure, tmp_path / "x.svg", ["svg"])
    import html

    shown = html.unescape((tmp_path / "x.svg").read_text()).replace("\N{WORD JOINER}", "")
    assert f">{' '.join(title.split())}</text>" in shown


def test_the_argument_is_that_of_the_losses(tmp_path: Path) -> None:
    """One pixel of two classes: the mean over both classes is symmetric, so that class 1 alone is compared."""
    x = np.linspace(0.01, 0.99, 25)
    for y in (1.0, 0.75, 0.25):
        for value, loss in zip(x, jaccard_metric_loss(x, y), strict=True):
            logits = torch.tensor([[np.log(1 - value)], [np.log(value)]], dtype=torch.float64)[None]
            target = torch.tensor([[1 - y], [y]], dtype=torch.float64)[None]
            both = [CATALOGUE["jaccard_metric"](logits, target, smooth=0.0, classes="all").item()]
            other = jaccard_metric_loss(np.array(1 - value), 1 - y)
            assert (loss + other) / 2 == pytest.approx(both[0], abs=1e-9)
    assert x[jaccard_metric_loss(x, 0.75).argmin()] == pytest.approx(0.75, abs=0.03)
    assert product_form(x, 0.25).argmin() == len(x) - 1
    draw_argument(tmp_path / "pixel.png")
    assert (tmp_path / "pixel.pdf").stat().st_size > 5_000
