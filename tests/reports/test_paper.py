"""Paper tables: compiled by a real TeX without an overfull box, their numbers parsed back, titles printed as typed."""

import csv
import html
import re
import shutil
import subprocess
from io import StringIO
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from markdown_it import MarkdownIt

from segloss.grid import ConfigError
from segloss.metrics.catalogue import METRICS
from segloss.records.verification import RecordError
from segloss.reports.headings import escape, heading, metric_of
from segloss.reports.latex import latex, split, table_width
from segloss.reports.markdown import text as text_of
from segloss.reports.paper import paper_tables, select_columns
from segloss.reports.table_command import make_table
from segloss.reports.table_text import markdown, to_csv
from tests.conftest import grid_of, run

HOSTILE = r"=1+1|a<script>alert(1)</script> & 5 % $x$ #1_{b}~c^d\e `f` *g* [h](i) -- '"
LOSSES = {"ce": "CE", "focal": "Focal (γ = 2)", "dice": "Dice", "jml": HOSTILE, "ce-jml": "CE + JML"}
LABELS = {"hard": "Hard", "bls": "BLS", "raters": "Raters"}
TITLES = {"losses": LOSSES, "labels": LABELS}
FAMILIES = {"ce": "distribution", "focal": "distribution", "dice": "region", "jml": "region", "ce-jml": "compound"}
NEEDS_TEX = pytest.mark.skipif(
    shutil.which("pdflatex") is None, reason="pdflatex is not installed (Debian: texlive-latex-recommended)"
)
CLASSES = {
    "two columns": r"\documentclass[twocolumn]{article}",
    "NeurIPS": r"\documentclass{article}\setlength{\textwidth}{5.5in}\setlength{\textheight}{9in}",
}


def results(datasets: int = 1, metrics: tuple[str, ...] = ("mIoU", "ECE"), seeds: int = 3) -> pd.DataFrame:
    """Random results of five losses; the last loss is skipped under BLS, and the third lacks a seed."""
    random = np.random.default_rng(0)
    rows = []
    for number in range(datasets):
        for labels in LABELS:
            for loss in LOSSES:
                point = dict(dataset=f"data{number}", model="unet_tiny", schedule="demo", labels=labels, loss=loss)
                for seed in range(seeds):
                    if (labels, loss) == ("bls", "ce-jml"):
                        rows.append({**point, "seed": seed, "status": "skipped", "reason": "it is_not defined"})
                    elif (loss, seed) == ("dice", 2):
                        rows.append({**point, "seed": seed, "status": "failed", "reason": "out of memory & more"})
                    else:
                        done = {**point, "seed": seed, "status": "done"}
                        rows += [{**done, "metric": name, "value": 100 * random.random()} for name in metrics]
    return pd.DataFrame(rows)


def tables_of(data: pd.DataFrame, *metrics: str, **options):
    return paper_tables(data, [metric_of(name) for name in metrics or ("mIoU", "ECE")], TITLES, **options)


def compile_tex(folder: Path, document_class: str, body: str) -> str:
    """The log of pdflatex, which must succeed."""
    text = f"{document_class}\n\\usepackage{{booktabs}}\n\\begin{{document}}\n{body}\n\\end{{document}}\n"
    (folder / "paper.tex").write_text(text)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    return (folder / "paper.log").read_text(errors="replace")


@NEEDS_TEX
@pytest.mark.parametrize("document_class", CLASSES.values(), ids=CLASSES)
def test_tables_compile_without_an_overfull_box(tmp_path: Path, document_class: str) -> None:
    levels = ("mIoU", "mIoU_I", "mIoU_C", "mIoU_I_q", "mIoU_C_q5", "ECE_scaled", "IoU_fg_I_one", "Dice_thresholds")
    wide = results(4, levels)
    published = pd.DataFrame([dict(dataset="data1", loss="ce", metric="mIoU", value=77.5)])
    body = [
        latex(tables_of(results())),
        latex(tables_of(wide, *levels, groups=FAMILIES, published=published)),
        latex(tables_of(wide, "mIoU", "mIoU_I", columns=["dataset", "labels"], spread="none")),
        latex(tables_of(wide, "mIoU", rows="labels", columns=["loss"])),
        latex(tables_of(wide, "mIoU", rows="dataset", columns=["loss", "labels"])),
        latex(tables_of(results(1), "mIoU", rows="labels", columns=[])),
    ]
    log = compile_tex(tmp_path, document_class, "\n".join(body))
    overfull = [float(points) for points in re.findall(r"Overfull \\hbox \(([\d.]+)pt", log)]
    assert max(overfull, default=0) <= 1
    assert "Float too large" not in log
    assert "Missing character" not in log


@NEEDS_TEX
def test_the_overfull_box_of_a_table_that_is_not_split_is_found(tmp_path: Path) -> None:
    """The check above can fail: with ten times the width at hand nothing is split, and TeX reports it."""
    levels = ("mIoU", "mIoU_I", "mIoU_C")
    log = compile_tex(tmp_path, CLASSES["two columns"], latex(tables_of(results(4, levels), *levels), width=4000))
    assert max(float(points) for points in re.findall(r"Overfull \\hbox \(([\d.]+)pt", log)) > 100


@NEEDS_TEX
def test_measured_widths_are_those_of_tex(tmp_path: Path) -> None:
    (table,) = tables_of(results(1), groups=FAMILIES)
    tabular = re.search(r"\\begin\{tabular\}.*\\end\{tabular\}", latex([table], width=4000), re.S)[0]
    font = r"\fontsize{8}{9.5}\selectfont\setlength{\tabcolsep}{2.5pt}"
    log = compile_tex(tmp_path, CLASSES["two columns"], rf"{font}\setbox0\hbox{{{tabular}}}\typeout{{WIDTH \the\wd0}}")
    width = float(re.search(r"WIDTH ([\d.]+)pt", log)[1])
    assert width <= table_width(table) <= 1.08 * width


def parse_latex(text: str) -> list[list[str]]:
    """The cells of the rows between the rules, each as its LaTeX."""
    rows = []
    for body in re.findall(r"\\midrule\n(.*?)\\bottomrule", text, re.S):
        for line in body.splitlines():
            if "&" in line.replace(r"\&", ""):
                cells = re.split(r"(?<!\\)&", line.removesuffix(r" \\"))
                rows.append([cell.strip() for cell in cells])
    return rows


def test_numbers_parsed_back_are_those_of_an_independent_computation() -> None:
    data = results(2)
    done = data[data.status == "done"]
    text = latex(tables_of(data, groups=FAMILIES), width=345)
    rows = parse_latex(text)
    blocks = len(re.findall(r"\\begin\{tabular\}", text))
    assert len(rows) == blocks * len(LOSSES)
    by_title = {}
    for title, *cells in rows:
        by_title.setdefault(title, []).extend(cells)
    columns = [
        (dataset, labels, metric) for dataset in ("data0", "data1") for labels in LABELS for metric in ("mIoU", "ECE")
    ]
    means = {}
    for loss, title in LOSSES.items():
        for column, cell in zip(columns, by_title[escape(title)], strict=True):
            dataset, labels, metric = column
            keep = (done.dataset == dataset) & (done.labels == labels) & (done.metric == metric) & (done.loss == loss)
            values = done.value[keep].tolist()
            if not values:
                assert cell == r"--\textsuperscript{b}", cell
                continue
            mean = sum(values) / len(values)
            deviation = (sum((value - mean) ** 2 for value in values) / (len(values) - 1)) ** 0.5
            numbers = re.findall(r"\d+\.\d+", cell)
            assert numbers == [f"{mean:.2f}", f"{deviation:.2f}"]
            means.setdefault(column, []).append((round(mean, 2), cell))
            assert (r"\textsuperscript{a" in cell) == (loss == "dice")
    for (_, _, metric), column in means.items():
        order = sorted({mean for mean, _ in column}, reverse=metric == "mIoU")
        for mean, cell in column:
            assert (r"\textbf{" in cell) == (mean == order[0])
            assert (r"\underline{" in cell) == (mean == order[1])


def test_csv_keeps_every_digit_and_markdown_the_printed_ones() -> None:
    data = results()
    (table,) = tables_of(data)
    read = pd.read_csv(StringIO(to_csv([table]))).set_index("name")
    shown = MarkdownIt("commonmark").enable("table").render(markdown([table]))
    for (labels, loss, metric), values in data.dropna(subset="value").groupby(["labels", "loss", "metric"]).value:
        assert float(read.loc[loss, f"data0/{labels}/{metric}/mean"]) == values.mean()
        assert float(read.loc[loss, f"data0/{labels}/{metric}/sd"]) == values.std(ddof=1)
        assert f"{values.mean():.2f}" in shown


def test_a_hostile_title_is_shown_as_typed_and_runs_nowhere() -> None:
    (table,) = tables_of(results())
    page = MarkdownIt("commonmark", {"html": True}).enable("table").enable("strikethrough").render(markdown([table]))
    assert "<script" not in page
    assert "<em>" not in page
    assert "<a " not in page
    cells = re.findall(r"<td style=\"text-align:left\">(.*?)</td>", page)
    assert [html.unescape(cell) for cell in cells] == list(LOSSES.values())
    titles = [row["title"] for row in csv.DictReader(StringIO(to_csv([table])))]
    assert titles == [f"'{title}" if title.startswith("=") else title for title in LOSSES.values()]


@NEEDS_TEX
@pytest.mark.skipif(shutil.which("pdftotext") is None, reason="pdftotext is not installed (Debian: poppler-utils)")
def test_tex_prints_a_hostile_title_as_typed(tmp_path: Path) -> None:
    # Quotes are printed, but pdftotext does not recognise the glyphs of this font.
    title = HOSTILE.replace("`", "").replace("'", "") + "\n\x07 |<>--- β±↑ 日"
    setting = r"\documentclass{article}\usepackage[T1]{fontenc}\pdfpagewidth=50cm\textwidth=40cm"
    compile_tex(tmp_path, setting, r"\noindent " + escape(title))
    read = subprocess.run(["pdftotext", "-layout", "paper.pdf", "-"], cwd=tmp_path, capture_output=True, text=True)
    printed = read.stdout.split("\n")[0]
    assert printed.replace(" ", "") == re.sub(r"\s|\x07", "", title).replace("日", "[U+65E5]")


def test_every_metric_has_a_heading_that_is_its_own() -> None:
    names = [*METRICS, "ECE_scaled", "mIoU_vector", "ECE_isotonic", "IoU of sky"]
    headings = [heading(metric_of(name)) for name in names]
    assert len({plain for plain, _ in headings}) == len({tex for _, tex in headings}) == len(names)
    assert heading(metric_of("mIoU_I_q5")) == ("mIoU^I5 ↑", r"mIoU$^{\mathrm{I}_5}$ $\uparrow$")
    assert all("_" not in re.sub(r"\$.*?\$", "", tex) for _, tex in headings)


def test_columns_of_one_data_set_stay_together_where_they_fit() -> None:
    data = results(4)
    (table,) = tables_of(data[data.loss != "jml"], spread="none")
    for block in split(table, 345):
        assert table_width(select_columns(table, block)) <= 345
        for place in block:
            same = [
                other for other, column in enumerate(table.columns) if column.point[0] == table.columns[place].point[0]
            ]
            assert set(same) <= set(block)
    assert sorted(chain(*split(table, 120))) == list(range(24))
    assert split(table, 10_000) == [list(range(24))]


def test_published_numbers_stand_beside_the_measured_ones() -> None:
    published = pd.DataFrame([dict(labels="hard", loss="ce", metric="mIoU", value=77.5, source="x")])
    text = markdown(tables_of(results(), published=published))
    assert "| Hard: mIoU ↑ | Hard: publ. | Hard: ECE ↓ |" in text
    assert " | 77.50 | " in text.split("| CE |")[1].splitlines()[0]
    assert "publ.: as published" in text
    assert "publ." not in markdown(tables_of(results(), published=published[:0]))


def test_significance_and_intervals_come_from_the_tables_beside(tmp_path: Path) -> None:
    data = results()
    point = dict(dataset="data0", model="unet_tiny", schedule="demo", labels="hard", metric="mIoU")
    compared = pd.DataFrame([{**point, "loss": "focal", "against": "loss", "baseline": "ce", "p_holm": 0.04}])
    intervals = pd.DataFrame([{**point, "loss": "focal", "low": 1.25, "high": 99.5}])
    text = markdown(tables_of(data, comparisons=compared, intervals=intervals, spread="interval"))
    (line,) = [line for line in text.splitlines() if line.startswith("| Focal")]
    assert r"\*" in line
    assert "[1.25, 99.50]" in line
    assert r"\*: differs from CE (p &lt; .05, adjusted by Holm)" in text
    assert text.replace(text_of(HOSTILE), "").count(r"\*") == 2
    assert "differs" not in markdown(tables_of(data, comparisons=compared.assign(p_holm=0.06)))


@pytest.fixture
def own_grid(in_workplace: Path):
    (in_workplace / "configs/grids/own.yaml").write_text(
        "{title: Own, datasets: [phantom], models: [unet-tiny], schedule: tiny, labels: [hard, bls, ls],"
        " losses: [ce, tversky, ctl, jml], seeds: 2}"
    )
    grid = grid_of("own")
    rows = [
        {**vars(cell), "status": "done", "metric": name, "value": float(number), "reason": ""}
        for number, cell in enumerate(grid.cells)
        for name in ("mIoU", "ECE")
    ]
    path = in_workplace / "results.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    return grid, path


def test_the_command_makes_tables_of_a_grid(own_grid: tuple) -> None:
    grid, path = own_grid
    text = make_table(grid, path, Path("results"), form="markdown", only={"labels": ["hard"]})
    assert "| Loss | mIoU ↑ | ECE ↓ |" in text
    assert "label scenario Hard" in text
    ablation = make_table(grid, path, Path("results"), form="markdown", rows="labels.epsilon", columns=["loss"])
    assert [line.split("|")[1].strip() for line in ablation.splitlines()[4:6]] == [
        "BLS, epsilon = 0.5",
        "LS, epsilon = 0.1",
    ]
    assert r"\emph{Region-based}" in make_table(grid, path, Path("results"))


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        (dict(form="html"), ConfigError, "expected one of latex, markdown, csv as format, got 'html'"),
        (dict(rows="colour"), ConfigError, "expected an axis of a table, got 'colour'; there are dataset, model"),
        (dict(columns=["loss"]), ConfigError, "each axis can be used once, got loss, loss"),
        (dict(metrics=["mIuO"]), ConfigError, "there is no metric 'mIuO'"),
        (dict(spread="se"), ConfigError, "expected one of sd, interval, none as spread, got 'se'"),
        (dict(spread="interval"), RecordError, "needs .*intervals.csv: make the report first"),
        (
            dict(only={"loss": ["cee"]}),
            ConfigError,
            r"unknown loss of the results 'cee' \(did you mean 'ce'\?\); known: ce, ctl, jml, tversky",
        ),
        (dict(only={"losses": ["ce"]}), ConfigError, "unknown axis 'losses'"),
        (dict(rows="loss.colour"), ConfigError, "no loss of the grid own sets the option 'colour'"),
        (dict(published=Path("absent.csv")), RecordError, "absent.csv must be a CSV file, it cannot be read"),
    ],
)
def test_wrong_options_end_in_one_sentence(own_grid: tuple, options: dict, error: type, sentence: str) -> None:
    grid, path = own_grid
    with pytest.raises(error, match=sentence):
        make_table(grid, path, Path("results"), **options)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"", b"a,b\n1,2\n", b'"'])
def test_a_damaged_table_ends_in_one_sentence(own_grid: tuple, content: bytes) -> None:
    grid, path = own_grid
    path.write_bytes(content)
    with pytest.raises(RecordError, match=r"results.csv must (be|have)"):
        make_table(grid, path, Path("results"))


@pytest.mark.slow
def test_the_commands_as_they_are_typed(own_grid: tuple) -> None:
    _, path = own_grid
    line = "segloss table own --rows loss --columns dataset,labels --metrics mIoU,ECE --style paper --format markdown"
    text = run(*line.split(), "--table", str(path), "--only", "labels=hard,ls", "--published", cwd=Path.cwd()).stdout
    assert "| Loss | Hard: mIoU ↑ | Hard: ECE ↓ | LS: mIoU ↑ | LS: ECE ↓ |" in text
    run(*line.split(), "--table", str(path), "--output", "x.md", cwd=Path.cwd())
    assert Path("x.md").read_text().startswith("mIoU, ECE (%) for data set phantom")
    for command, sentence in (
        (line, "reports/own/results.csv must be a results.csv, it cannot be read"),
        (f"{line} --table {path} --only labels", "unknown labels of the results ''"),
        (f"{line} --table {path} --published absent.csv", "absent.csv must be a CSV file"),
        ("segloss compare results absent", "expected a results folder, got"),
    ):
        done = run(*command.split(), cwd=Path.cwd(), check=False)
        assert done.returncode == 1
        assert sentence in done.stderr
        assert "Traceback" not in done.stderr
