"""The shipped reports are what `segloss report` makes of the shipped records, byte for byte."""

from pathlib import Path

import pytest

from segloss import records
from segloss.grid import Configs, load_grid
from segloss.reports import report
from segloss.reports.findings import findings

ROOT = Path(__file__).parents[2]
RECORDS = ROOT / "reports" / "records"
# Kept in the repository; PDF and SVG are made with them, and logs beside them.
KEPT = (".csv", ".md", ".tex", ".html", ".png")


def shipped() -> list[str]:
    """The grids whose report was made from the shipped records: the end of their table names the folder."""
    return sorted(
        path.parent.name
        for path in (ROOT / "reports").glob("*/table.md")
        if "results=reports/records" in path.read_text(encoding="utf-8")
    )


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with the configs and the shipped records, in which reports are made anew."""
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "records").symlink_to(RECORDS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("name", shipped())
def test_the_shipped_records_make_the_shipped_report(name: str, copy: Path) -> None:
    grid, folder, results = load_grid(name, Configs()), Path("reports") / name, Path("reports/records")
    folder.mkdir()
    (folder / "results.csv").write_text(records.collect(grid, results).to_csv(index=False), encoding="utf-8")
    report(grid, folder / "results.csv", results, copy / "no data")
    made = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in KEPT}
    kept = {path.name: path.read_bytes() for path in (ROOT / folder).iterdir() if path.suffix in KEPT}
    assert sorted(made) == sorted(kept)
    assert [file for file in made if made[file] != kept[file]] == []


@pytest.mark.slow
def test_the_shipped_records_make_the_findings(copy: Path) -> None:
    text = findings(Configs(), Path("reports/records"))
    assert text == (ROOT / "reports" / "README.md").read_text(encoding="utf-8")


def test_stare_is_beside_its_published_numbers() -> None:
    details = (ROOT / "reports" / "stare-cpu" / "details.md").read_text(encoding="utf-8")
    section = details.split("## Published with other models")[1].split("\n## ")[0]
    # MMSegmentation's metafile and its PR #919; Tversky without cross-entropy (82.36) is not in the grid.
    assert all(number in section for number in ("| 81.02 |", "| 82.70 |", "| 82.74 |"))
    assert "82.36" not in section
    assert "photometric distortion" in section


def test_shipped_records_are_small() -> None:
    assert len(shipped()) >= 2
    sizes = [path.stat().st_size for kind in ("record.json", "counts.npz") for path in RECORDS.rglob(kind)]
    assert sum(sizes) < 60e6
