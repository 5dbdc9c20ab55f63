"""The page in a real browser: sort, filter, open cells; no error, no network, no axe violation; widths and themes."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import which
from typing import Any

import pytest

from tests.conftest import grid_of, run
from tests.reports.made_pages import HOSTILE, LOSS, make_control_page, make_page

CHROMIUM = which("chromium") or which("chromium-browser") or which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync"]
VIEWS = [(width, theme) for theme in ("light", "dark") for width in (390, 820, 1440)]

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium; Debian: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium without a window."""
    with playwright.sync_playwright() as system:
        chromium = system.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the made grid."""
    return make_page(tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def with_controls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a made grid with controls."""
    return make_control_page(tmp_path_factory.mktemp("controls"))


@contextmanager
def opened(browser: Any, page: Path, width: int = 1440, theme: str = "light", place: str = "") -> Iterator[Any]:
    """A page as a reader opens it; afterwards it must have logged nothing and requested nothing but itself."""
    tab = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=theme)
    tab.set_default_timeout(15_000)
    logged: list[str] = []
    requested: list[str] = []
    tab.on("console", lambda message: logged.append(message.text))
    tab.on("pageerror", lambda error: logged.append(str(error)))
    tab.on("request", lambda request: requested.append(request.url))
    tab.goto(f"{page.as_uri()}{place}")
    yield tab
    tab.wait_for_timeout(100)
    assert logged == []
    assert {url.split("#")[0] for url in requested if not url.startswith("data:")} == {page.as_uri()}
    assert tab.evaluate("window.hacked") is None
    tab.close()


def column(tab: Any, name: str) -> list[str]:
    """The texts of a column of the results, by its heading."""
    headings = tab.locator("#table thead th").all_inner_texts()
    place = next(number for number, heading in enumerate(headings) if heading.strip().startswith(name))
    return [cell.strip() for cell in tab.locator(f"#table tbody tr > :nth-child({place + 1})").all_inner_texts()]


def numbers(texts: list[str]) -> list[float]:
    return [float(text.split()[0]) for text in texts if re.match(r"[\d.]+", text)]


def violations(tab: Any) -> list[str]:
    """The violations that axe-core reports, with their place."""
    tab.wait_for_timeout(300)
    response = axe.Axe().run(tab).response
    return [f"{rule['id']}: {node['html'][:160]}" for rule in response["violations"] for node in rule["nodes"]]


def test_the_table_sorts_by_mouse_and_by_keyboard(browser: Any, made: Path) -> None:
    with opened(browser, made) as tab:
        assert column(tab, "Loss")[:4] == ["CE", LOSS, "Lovász", "CE + JML"]
        heading = tab.locator("#table thead th", has_text="mIoU")
        heading.click()
        tab.wait_for_selector("#table thead th[aria-sort=ascending]")  # sorting is not done within the click
        values = numbers(column(tab, "mIoU"))
        assert len(values) == 9
        assert values == sorted(values)
        heading.get_by_role("button").focus()
        tab.keyboard.press("Enter")
        tab.wait_for_selector("#table thead th[aria-sort=descending]")
        assert numbers(column(tab, "mIoU")) == sorted(values, reverse=True)


def test_the_table_filters_and_the_chart_follows(browser: Any, made: Path) -> None:
    with opened(browser, made) as tab:
        assert "12 of 12 rows" in tab.locator("#count").inner_text()
        tab.get_by_role("combobox", name="Label scenario", exact=True).select_option("bls")
        assert set(column(tab, "Labels")) == {"BLS"}
        assert "4 of 12 rows" in tab.locator("#count").inner_text()
        tab.get_by_role("combobox", name="Loss family", exact=True).select_option("compound")
        assert column(tab, "Loss") == ["CE + JML"]
        tab.wait_for_selector("#scatters svg")
        assert "one point" in tab.locator("#scatters svg").get_attribute("aria-label")
        tab.get_by_role("combobox", name="Loss family", exact=True).select_option("")
        tab.locator("#search").fill("foc")
        assert column(tab, "Loss") == [LOSS]
        tab.locator("#search").fill("nothing like it")
        assert "No row matches" in tab.locator("#table tbody").inner_text()


def test_spread_metrics_and_baseline_can_be_chosen(browser: Any, made: Path) -> None:
    with opened(browser, made) as tab:
        assert re.fullmatch(r"[\d.]+ ± [\d.]+", column(tab, "mIoU")[1])
        tab.get_by_role("combobox", name="Spread", exact=True).select_option("interval")
        assert re.fullmatch(r"[\d.]+ \[[\d.]+, [\d.]+\]", column(tab, "mIoU")[1])
        assert column(tab, "minus CE")[4] == "–"  # the baseline itself
        tab.get_by_role("combobox", name="Compare with", exact=True).select_option("loss:focal")
        differences = column(tab, f"minus {LOSS}")
        assert [place for place, text in enumerate(differences) if text == "–"] == [0, 1, 5, 6, 9, 10]
        tab.get_by_role("combobox", name="Compare with", exact=True).select_option("labels:hard")
        assert column(tab, "minus Hard")[:4] == ["–"] * 4
        tab.get_by_role("combobox", name="Metric", exact=True).select_option("NLL")
        assert re.fullmatch(r"\d\.\d{4} ± [\d.]+", column(tab, "NLL")[1])
        assert "-log of the probability" in tab.locator("#meaning").inner_text()


def test_every_number_leads_to_its_cells(browser: Any, made: Path) -> None:
    with opened(browser, made) as tab:
        link = tab.locator("#table tbody tr", has_text="BLS").filter(has_text="CE + JML").locator("a").first
        shown = link.inner_text()
        link.click()
        dialog = tab.get_by_role("dialog", name="CE + JML, BLS")
        dialog.get_by_text("Seed 0: record").wait_for()
        row = dialog.locator("tr", has=tab.get_by_role("rowheader", name="mIoU ↑", exact=True))
        mean, first, second = row.locator("td").all_inner_texts()
        assert mean.startswith(shown)
        assert (float(first) + float(second)) / 2 == pytest.approx(float(shown), abs=0.011)
        for heading in ("Metrics", "Reliability", "Training loss", "Validation mIoU", "Classes", "Records"):
            assert dialog.get_by_role("heading", name=heading, exact=True).count() == 1
        assert dialog.locator("svg").count() == 3
        assert dialog.get_by_role("img", name="errors of image image0, seed 0").count() == 1
        dialog.get_by_text("Seed 1: record").click()
        assert '"cell": "phantom/unet-tiny/tiny/bls/ce-jml/seed1"' in dialog.locator("pre:visible").inner_text()
        dialog.get_by_text("Seed 1: configuration").click()
        assert dialog.locator("pre:visible").count() == 2
        tab.keyboard.press("Escape")
        assert tab.get_by_role("dialog").count() == 0
        assert tab.evaluate("document.activeElement.textContent") == shown
    with opened(browser, made, place="#phantom/unet-tiny/tiny/raters/ce") as tab:
        assert tab.get_by_role("dialog", name="CE, Raters").is_visible()


def test_a_failed_cell_shows_its_reason_as_it_was_written(browser: Any, made: Path) -> None:
    with opened(browser, made) as tab:
        assert tab.get_by_role("heading", level=1).inner_text() == HOSTILE
        tab.locator("#filter-state").select_option("failed")
        assert tab.locator("#absent-table tbody tr").count() == 1
        assert HOSTILE in tab.locator("#absent-table tbody tr").inner_text()
        tab.locator("#filter-state").select_option("")
        tab.locator("#search-absent").fill("hard labels only")
        assert set(tab.locator("#absent-table tbody tr > :nth-child(2)").all_inner_texts()) == {"skipped"}
        tab.locator("#search-absent").fill("onerror")
        tab.locator("#absent-table tbody a").click()
        dialog = tab.get_by_role("dialog")
        assert f"Seed 0 failed: {HOSTILE}" in dialog.inner_text()
        dialog.get_by_text("Seed 0: traceback").click()
        assert dialog.locator("pre:visible").inner_text() == f"Traceback: {HOSTILE}"


def test_controls_are_set_apart_sorted_with_the_rest_and_shown_for_every_model(
    browser: Any, with_controls: Path
) -> None:
    with opened(browser, with_controls) as tab:
        names = ["True posterior", "Class frequencies", "Majority class"]
        assert column(tab, "Loss")[4:] == names
        assert tab.locator("#table tbody tr.control").count() == 3
        assert column(tab, "Labels")[4:] == ["all"] * 3
        assert column(tab, "Seeds")[4:] == ["control"] * 3
        assert column(tab, "minus CE")[4:] == ["–"] * 3
        assert column(tab, "mIoU")[-1] == "failed"
        assert tab.get_by_role("link", name="Cells without a result").is_visible()
        assert re.fullmatch(r"[\d.]+", column(tab, "mIoU")[4])  # no spread
        assert tab.locator("#table tr.control td.best").count() == 0
        assert "are excluded from tests, ranks and marks" in tab.locator("#legend").inner_text()
        tab.wait_for_selector("#scatters svg")
        assert "4 points" in tab.locator("#scatters svg").get_attribute("aria-label")
        assert violations(tab) == []
        tab.locator("#table thead th", has_text="mIoU").click()
        tab.wait_for_selector("#table thead th[aria-sort=ascending]")
        assert numbers(column(tab, "mIoU")) == sorted(numbers(column(tab, "mIoU")))
        assert len(numbers(column(tab, "mIoU"))) == 6
        labels = tab.get_by_role("combobox", name="Label scenario", exact=True)
        labels.select_option("bls")
        assert sorted(set(column(tab, "Loss"))) == sorted([*names, "CE", "Focal"])
        family = tab.get_by_role("combobox", name="Loss family", exact=True)
        family.select_option("control")
        assert sorted(column(tab, "Loss")) == sorted(names)
        tab.locator("#table tbody tr.control", has_text="Class frequencies").locator("a").first.click()
        dialog = tab.get_by_role("dialog", name="Class frequencies")
        dialog.get_by_text("Seed 0: record").wait_for()
        assert violations(tab) == []


@pytest.mark.parametrize(("width", "theme"), VIEWS)
def test_axe_finds_nothing_and_nothing_overflows(browser: Any, made: Path, width: int, theme: str) -> None:
    with opened(browser, made, width, theme) as tab:
        tab.wait_for_selector("#scatters svg")
        assert violations(tab) == []
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        tab.locator("#table tbody tr").nth(1).locator("a").first.click()
        tab.wait_for_selector("#cell svg")
        tab.get_by_text("Seed 1: record").first.click()
        assert violations(tab) == []
    with opened(browser, made.parents[1] / "index.html", width, theme) as tab:
        assert violations(tab) == []
        assert tab.evaluate("document.documentElement.scrollWidth") <= width


def test_the_theme_can_be_chosen(browser: Any, made: Path) -> None:
    with opened(browser, made, theme="light") as tab:
        button = tab.get_by_role("button", name="Dark theme")
        before = tab.evaluate("getComputedStyle(document.body).backgroundColor")
        button.click()
        assert button.get_attribute("aria-pressed") == "true"
        assert tab.evaluate("getComputedStyle(document.body).backgroundColor") != before


def test_the_keyboard_reaches_the_results_first(browser: Any, made: Path) -> None:
    with opened(browser, made) as tab:
        tab.keyboard.press("Tab")
        assert tab.evaluate("document.activeElement.textContent") == "Skip to the results"
        tab.keyboard.press("Enter")
        assert tab.evaluate("document.activeElement.id") == "results"


def test_violations_and_requests_are_seen(browser: Any, tmp_path: Path) -> None:
    page, rules = tmp_path / "bad.html", []
    page.write_text("<html><body><img src='other.png'><p style='color:#ccc'>pale</p></body></html>")

    def visit() -> None:
        with opened(browser, page) as tab:
            rules.extend(line.split(":")[0] for line in violations(tab))

    with pytest.raises(AssertionError, match=r"other\.png|ERR_FILE_NOT_FOUND"):
        visit()
    assert {"color-contrast", "html-has-lang", "image-alt"} <= set(rules)


def images_of_a_cell(browser: Any, page: Path, row: str) -> list[str]:
    """The kinds of images that a page shows beside the cells of a row."""
    with opened(browser, page, place=f"#{row}") as tab:
        tab.wait_for_selector("#cell svg")
        assert violations(tab) == []
        return [image.get_attribute("alt").split(" of image")[0] for image in tab.locator("#cell img").all()]


def test_the_page_of_a_real_training(browser: Any, workplace: Path) -> None:
    from segloss import records
    from segloss.reports.page import write_page

    lines = "title: Real\ndatasets: [phantom]\nmodels: [unet-tiny]\nschedule: tiny\n"
    (workplace / "configs/grids/tiny.yaml").write_text(f"{lines}labels: [hard]\nlosses: [ce]\nseeds: 1\n")
    run("segloss", "train", "phantom/unet-tiny/tiny/hard/ce/seed0", cwd=workplace, WANDB_MODE="disabled")
    grid = grid_of("tiny", workplace)
    table = records.collect(grid, workplace / "results")
    page = write_page(grid, table, workplace / "results", workplace / "reports/tiny")
    shown = images_of_a_cell(browser, page, "phantom/unet-tiny/tiny/hard/ce")
    assert [shown.count(kind) for kind in ("image", "label", "prediction", "errors")] == [4, 4, 4, 4]


@pytest.mark.xdist_group("camvid")
def test_the_page_of_a_real_data_set_shows_no_photographs(browser: Any, camvid_grid: Path) -> None:
    shown = images_of_a_cell(browser, camvid_grid / "reports/tiny/index.html", "camvid-cpu/unet-small/tiny/bls/ce-jml")
    assert [shown.count(kind) for kind in ("image", "label", "prediction", "errors")] == [0, 4, 4, 4]
