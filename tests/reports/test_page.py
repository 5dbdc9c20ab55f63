"""What the page of a grid holds: numbers, comparisons, details, pictures; the same bytes for the same records."""

import base64
import gzip
import hashlib
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from segloss import records
from segloss.datasets import DATASETS
from segloss.grid import Cell, Configs
from segloss.grid.configs import loss_terms
from segloss.grid.controls import CONTROLS, MEANING
from segloss.reports.comparisons import compare_along
from segloss.reports.intervals import interval_table
from segloss.reports.page import write_index, write_page
from segloss.reports.page.details import Pictures, curve, draw
from segloss.reports.page.differences import pairwise_differences
from segloss.reports.page.points import loss_family
from segloss.reports.page.render import ASSETS, to_json
from segloss.reports.points import read_statistics
from segloss.reports.statistics import compare
from segloss.reports.summary import AXES
from tests.conftest import ROOT, grid_of, run
from tests.reports.made_pages import HOSTILE, make_control_page, make_page
from tests.written_records import write_cell


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a made grid with finished, failed, missing and skipped cells; it lies in <root>/reports/made."""
    return make_page(tmp_path_factory.mktemp("page"))


def part(page: Path, name: str) -> Any:
    """The data of one of the page's script elements."""
    text = page.read_text(encoding="utf-8")
    content = re.search(rf'<script type="[a-z/]+" id="{name}">(.*?)</script>', text, re.DOTALL).group(1)
    return json.loads(gzip.decompress(base64.b64decode(content)) if name == "details" else content)


def table_of(page: Path) -> pd.DataFrame:
    root = page.parents[2]
    return records.collect(grid_of("made", root), root / "results")


def test_every_point_has_its_numbers_or_its_reasons(page: Path) -> None:
    points, table = part(page, "data")["points"], table_of(page)
    assert [tuple(point[axis] for axis in AXES) for point in points] == [
        ("phantom", "unet-tiny", "tiny", labels, loss)
        for labels in ("hard", "bls", "raters")
        for loss in ("ce", "focal", "lovasz", "ce-jml")
    ]
    done = table[table.status == "done"].groupby([*AXES, "metric"]).value
    for point in points:
        for metric, (mean, deviation, number) in point["values"].items():
            values = done.get_group((*(point[axis] for axis in AXES), metric))
            assert mean == pytest.approx(values.mean(), rel=1e-12)
            assert deviation == pytest.approx(values.std(ddof=1), rel=1e-9) if len(values) > 1 else deviation is None
            assert number == len(values)
    states = {(seed["status"], seed["reason"]) for point in points for seed in point["seeds"]}
    assert states == {
        ("done", None),
        ("failed", HOSTILE),
        ("missing", "not trained yet"),
        ("skipped", "lovasz_softmax is defined on hard labels only"),
    }
    assert {point["loss"]: point["family"] for point in points} == {
        "ce": "distribution-based",
        "focal": "distribution-based",
        "lovasz": "region-based",
        "ce-jml": "compound",
    }


def test_intervals_and_default_comparisons_are_those_of_the_report(page: Path) -> None:
    data, table, results = part(page, "data"), table_of(page), page.parents[2] / "results"
    points = {tuple(point[axis] for axis in AXES): point for point in data["points"]}
    for row in interval_table(read_statistics(table, results)).to_dict("records"):
        assert points[tuple(row[axis] for axis in AXES)]["intervals"][row["metric"]] == [row["low"], row["high"]]
    for axis in ("loss", "labels"):
        compared = compare_along(axis, read_statistics(table, results))
        assert len(compared) > 4
        # Where the first loss has failed the next is the baseline, and on the page every baseline has its own family.
        one_family = compared.baseline.nunique() == 1
        for row in compared.to_dict("records"):
            point = points[tuple(row[name] for name in AXES)]
            shown = data["comparisons"][axis][row["baseline"]][row["metric"]][point["compared"]]
            if np.isnan(row["p"]):
                assert shown == [pytest.approx(row["difference"], rel=1e-5), None, None]
            else:
                half = (row["high"] - row["low"]) / 2
                assert shown[:2] == pytest.approx([row["difference"], half], rel=1e-5)
                assert not one_family or shown[2] == pytest.approx(row["p_holm"], rel=1e-5)


@pytest.mark.parametrize("seeds", [(2, 2, 2), (3, 2, 5, 1), (1, 1)])
def test_pairwise_differences_are_those_of_compare(seeds: tuple[int, ...]) -> None:
    random = np.random.default_rng(0)
    images = random.standard_normal((30, 1))
    values = [place + images + random.standard_normal((30, number)) for place, number in enumerate(seeds)]
    values.append(values[0].copy())
    difference, half, p = pairwise_differences(values)
    for i, first in enumerate(values):
        for j, second in enumerate(values):
            single = compare(first, second)
            assert difference[i, j] == pytest.approx(single.difference, abs=1e-12)
            if single.p is None:
                assert np.isnan([half[i, j], p[i, j]]).all()
            else:
                assert half[i, j] == pytest.approx((single.high - single.low) / 2, rel=1e-9)
                assert p[i, j] == pytest.approx(single.p, rel=1e-9)


def test_points_without_any_variance_differ_surely_or_not_at_all() -> None:
    difference, half, p = pairwise_differences([np.ones((4, 2)), np.ones((4, 2)), np.zeros((4, 2))])
    assert difference[0].tolist() == [0, 0, 1]
    assert half[0].tolist() == [0, 0, 0]
    assert p[0].tolist() == [1, 1, 0]


def test_details_hold_record_curves_classes_and_bins(page: Path) -> None:
    details, points = part(page, "details"), part(page, "data")["points"]
    results = page.parents[2] / "results"
    for point, seeds in zip(points, details["points"], strict=True):
        assert [seed["seed"] for seed in seeds] == [seed["seed"] for seed in point["seeds"]]
        for seed in seeds:
            if "record" not in seed:
                continue
            cell = Cell(*(point[axis] for axis in AXES), seed["seed"])
            record = records.read(results / str(cell) / "record.json")
            rows = record["training"].pop("rows")
            assert seed["record"]["training"].pop("rows") == f"{len(rows)} rows, in the file"
            assert seed["record"] == record
            assert seed["curves"]["train/loss"] == [
                [row["iteration"], pytest.approx(row["train/loss"], rel=1e-4)] for row in rows
            ]
            hits, labelled, predicted = np.array(seed["classes"])
            scores = hits / (labelled + predicted - hits)
            assert 100 * scores.mean() == pytest.approx(record["metrics"]["mIoU"], rel=1e-12)
    for seeds, bins in zip(details["points"], details["bins"], strict=True):
        finished = [np.array(seed["classes"]) for seed in seeds if "record" in seed]
        if bins is None:
            assert not finished
            continue
        pixels, correct, confidence = np.array(bins)
        assert pixels.sum() == sum(classes[1].sum() for classes in finished)
        assert correct.sum() == sum(classes[0].sum() for classes in finished)
        assert ((confidence >= 0) & (confidence <= pixels)).all()
    failed = [seed for seeds in details["points"] for seed in seeds if seed.get("traceback")]
    assert [seed["traceback"] for seed in failed] == [f"Traceback: {HOSTILE}"]


def test_a_long_curve_is_reduced_to_means() -> None:
    rows = [{"iteration": number, "loss": float(number)} for number in range(1, 241)]
    assert curve(rows, "loss", points=60)[:2] == [[4, 2.5], [8, 6.5]]
    assert len(curve(rows, "loss", points=60)) == 60
    assert curve(rows, "absent") == []


@pytest.mark.slow
def test_the_same_records_give_the_same_bytes_in_every_process(page: Path) -> None:
    root = page.parents[2]
    code = (
        "from pathlib import Path; from segloss import records; from segloss.grid import Configs, load_grid;"
        "from segloss.reports.page import write_page; grid = load_grid('made', Configs(Path()));"
        "write_page(grid, records.collect(grid, Path('results')), Path('results'), Path('again'))"
    )
    run("python", "-c", code, cwd=root, PYTHONHASHSEED="7", PYTHONPATH=str(Path(records.__file__).parents[2]))
    assert (root / "again/index.html").read_bytes() == page.read_bytes()


def test_each_file_of_counts_is_read_once(page: Path, tmp_path: Path) -> None:
    root, opened, active = page.parents[2], [], True
    grid, table = grid_of("made", root), table_of(page)
    provenance = records.provenance(grid, root / "results")
    sys.addaudithook(lambda event, arguments: opened.append(str(arguments[0])) if active and event == "open" else None)
    write_page(grid, table, root / "results", tmp_path, provenance=provenance)
    active = False
    counts = [name for name in opened if name.endswith("counts.npz")]
    assert len(counts) == len(set(counts)) == len(table[table.status == "done"].drop_duplicates([*AXES, "seed"]))


def test_text_from_records_is_escaped(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert HOSTILE not in text
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text  # the title, in the head and the heading
    assert part(page, "data")["grid"]["title"] == HOSTILE
    assert to_json("</script><!--\u2028&") == r'"\u003c/script\u003e\u003c!--\u2028\u0026"'
    assert json.loads(to_json(HOSTILE)) == HOSTILE


def test_scripts_are_those_the_policy_names_and_nothing_is_fetched(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    policy = re.search(r'http-equiv="Content-Security-Policy" content="(.*?)"', text).group(1)
    assert policy.startswith("default-src &#39;none&#39;; script-src &#39;sha256-")
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    assert len(scripts) == 4
    assert re.findall(r"sha256-([^&]+)&#39;", policy) == hashes
    body = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    assert not re.findall(r"<(?:img|link|iframe)\b|<[^>]*\bsrc=|@import|url\(", body)


def test_photographs_are_shown_only_where_their_terms_allow_it() -> None:
    maps = {"a": np.zeros((6, 4), np.uint8), "label/a": np.full((6, 4), 1, np.uint8)}
    maps |= {"confidence/a": np.full((6, 4), 200, np.uint8), "image/a": np.zeros((6, 4, 3), np.uint8)}
    assert list(draw(maps, "a", DATASETS["phantom"])) == ["image", "label", "prediction", "confidence", "error"]
    assert list(draw(maps, "a", DATASETS["camvid"])) == ["label", "prediction", "confidence", "error"]
    assert list(draw({"a": maps["a"]}, "a", DATASETS["phantom"])) == ["prediction"]
    assert [name for name, dataset in DATASETS.items() if dataset.redistributable] == ["phantom", "bubil"]


def test_errors_are_right_wrong_or_void() -> None:
    from io import BytesIO

    from PIL import Image

    maps = {"a": np.array([[0, 1, 2]], np.uint8), "label/a": np.array([[0, 2, 255]], np.uint8)}
    with Image.open(BytesIO(draw(maps, "a", DATASETS["phantom"])["error"])) as image:
        assert np.array(image.convert("RGB"))[0].tolist() == [[226, 226, 226], [213, 94, 0], [255, 255, 255]]


def test_pictures_stop_where_their_bytes_run_out(tmp_path: Path) -> None:
    cell = Cell("phantom", "unet-tiny", "tiny", "hard", "ce", 0)
    (tmp_path / str(cell)).mkdir(parents=True)
    random = np.random.default_rng(0)
    maps = {f"image{number}": random.integers(0, 5, (64, 64)).astype(np.uint8) for number in range(4)}
    np.savez(tmp_path / str(cell) / "predictions.npz", **maps)
    names = [shown["name"] for shown in Pictures(1).of_cell(tmp_path, cell, "phantom")]
    assert names == ["image0", "image1", "image2", "image3"]
    assert len(Pictures(1, limit=5_000).of_cell(tmp_path, cell, "phantom")) == 2
    assert Pictures(1, limit=10).of_cell(tmp_path, cell, "phantom") == []
    assert Pictures(1).of_cell(tmp_path / "nowhere", cell, "phantom") == []
    twice = Pictures(1)
    assert twice.of_cell(tmp_path, cell, "phantom") == twice.of_cell(tmp_path, cell, "phantom")
    assert len(twice.encoded()) == 4


def test_published_numbers_stand_beside_the_measured_ones(page: Path, tmp_path: Path) -> None:
    root = page.parents[2]
    axes = {"dataset": "phantom", "model": "unet-tiny", "labels": "hard", "loss": "ce"}
    published = [{**axes, "metric": "mIoU", "value": 70.5, "source": "A & B, 2020"}]
    grid = grid_of("made", root)
    written = write_page(grid, table_of(page), root / "results", tmp_path, published=published)
    points = part(written, "data")["points"]
    assert points[0]["published"] == {"mIoU": [70.5, "A & B, 2020"]}
    assert not any(point["published"] for point in points[1:])


def test_controls_are_rows_of_their_own_that_nothing_is_compared_with(tmp_path: Path) -> None:
    page = make_control_page(tmp_path)
    data, summary, details = (part(page, name) for name in ("data", "summary", "details"))
    trained = [point for point in data["points"] if not point.get("control")]
    controls = data["points"][len(trained) :]
    assert len(trained) == 4
    assert [point["loss"] for point in controls] == list(CONTROLS)
    assert all(point["control"] and point["compared"] is None and point["family"] == "control" for point in controls)
    assert [point["seeds"][0]["status"] for point in controls] == ["done", "done", "failed"]
    for point in controls[:2]:
        path = tmp_path / "results" / "/".join(point[axis] for axis in AXES) / "seed0/record.json"
        metrics = records.read(path)["metrics"]
        assert {name: point["values"][name] for name in metrics} == {
            name: [value, None, 1] for name, value in metrics.items()
        }
    assert data["controls"] == MEANING
    assert set(data["titles"]["loss"].values()) >= set(CONTROLS.values())
    # Neither the grid in numbers nor the comparisons include them.
    assert (summary["cells"], summary["models"], len(summary["losses"])) == (8, ["unet-tiny"], 2)
    assert list(data["comparisons"]["loss"]) == ["ce", "focal"]
    assert all(len(entries) == 4 for entries in data["comparisons"]["loss"]["ce"].values())
    assert [len(seeds) for seeds in details["points"]] == [2] * 4 + [1] * 3
    assert [bins is None for bins in details["bins"]] == [False] * 6 + [True]


def test_a_grid_without_any_result_has_a_page(in_workplace: Path) -> None:
    grid = grid_of("tiny")
    page = write_page(grid, records.collect(grid, in_workplace / "results"), in_workplace / "results", in_workplace)
    assert part(page, "summary")["states"] == {"missing": 6, "skipped": 2}
    assert part(page, "data")["metrics"] == []


def test_other_images_cannot_be_compared(in_workplace: Path) -> None:
    grid, results = grid_of("tiny"), in_workplace / "results"
    for cell in grid.cells:
        write_cell(results, cell)
    table = records.collect(grid, results)
    odd = results / str(grid.cells[-1])
    with np.load(odd / "counts.npz") as file:
        arrays = dict(file)
    arrays["names"] = np.array([f"other{number}" for number in range(4)])
    np.savez(odd / "counts.npz", **arrays)
    with pytest.raises(records.RecordError, match="were evaluated on different images"):
        write_page(grid, table, results, in_workplace)


def test_the_index_lists_every_page(page: Path, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "index.html").write_bytes(page.read_bytes())
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign/index.html").write_text("<html>another page</html>")
    index = write_index(tmp_path)
    text = index.read_text(encoding="utf-8")
    assert re.findall(r'href="([a-z]+)/index.html"', text) == ["one", "two"]
    assert "2 grids" in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "<script>alert" not in text
    first = index.read_bytes()
    write_index(tmp_path)
    assert index.read_bytes() == first


def test_families_of_losses() -> None:
    losses = Configs(ROOT).losses
    families = {name: loss_family(loss_terms(line)) for name, line in losses.items()}
    pixelwise = {name for name, family in families.items() if family == "distribution-based"}
    names = ("ce", "wce", "paper-ce", "focal", "asym-focal", "ldam", "ldam-drw", "poly-ce", "poly-focal")
    assert pixelwise == {*names, "ecp", "mbls", "nacl", "topk", "ohem"}
    assert families["focal-tversky"] == families["jml-ic"] == "region-based"
    assert families["unified-focal"] == families["lmf"] == families["boundary"] == "compound"
    assert loss_family([{"loss": "hausdorff"}]) == "boundary-based"
    assert loss_family([{"loss": "cross_entropy"}]) == "distribution-based"
    assert loss_family([{"loss": "dice"}]) == "region-based"
    assert loss_family([{"loss": "bce_dice"}]) == loss_family([{"loss": "dice"}, {"loss": "focal"}]) == "compound"


def test_the_vendored_library_is_the_published_one() -> None:
    listed = re.search(r"\| `([0-9a-f]{64})` \|", (ASSETS / "README.md").read_text(encoding="utf-8")).group(1)
    assert hashlib.sha256((ASSETS / "dataTables.min.js").read_bytes()).hexdigest() == listed
    assert "MIT License" in (ASSETS / "dataTables.LICENSE.txt").read_text(encoding="utf-8")
