"""``segloss clean``: only weights and checkpoints of finished cells that nothing needs are removed."""

from pathlib import Path

import pytest

from segloss.grid import Cell, ConfigError, Configs
from segloss.records import cell_status
from segloss.records.clean import format_removable, removable, remove
from segloss.records.run_lock import run_lock
from tests.conftest import experiment_of, grid_of, run
from tests.written_records import write_cell

CELL = "phantom/unet-tiny/tiny/hard/{}/seed{}"
KD = "\nkd: {title: KD, target: teacher, teacher: {labels: hard, loss: ce, seeds: 1}}\n"
STUDENTS = (
    "title: Students\ndatasets: [phantom]\nmodels: [unet-tiny]\nschedule: tiny\nlabels: [kd]\nlosses: [ce]\nseeds: 1\n"
)
FILES = ("weights.pt", "checkpoint.pt", "checkpoint.previous.pt", "run_lock")


@pytest.fixture
def results(in_workplace: Path) -> Path:
    """Two finished cells of the grid tiny and two that are not, all with weights, checkpoints and more."""
    folder = in_workplace / "results"
    for loss, seed in (("ce", 0), ("lovasz", 0)):
        write_cell(folder, Cell.parse(CELL.format(loss, seed)))
    for loss in ("ce", "lovasz"):
        for seed in (0, 1):
            work = folder / CELL.format(loss, seed) / "work"
            work.mkdir(parents=True)
            for name in FILES:
                (work / name).write_bytes(b"" if name == "run_lock" else b"x" * 1000)
    return folder


def paths(results: Path) -> list[str]:
    files, _ = removable(grid_of("tiny"), Configs(), results)
    return sorted(str(entry.path.relative_to(results)) for entry in files)


def work_files(loss: str, names: tuple[str, ...] = FILES[:3]) -> list[str]:
    return [f"{CELL.format(loss, 0)}/work/{name}" for name in names]


def test_of_finished_cells_alone_weights_and_checkpoints_are_removed(results: Path) -> None:
    assert paths(results) == sorted(work_files("ce") + work_files("lovasz"))
    before = {path for path in results.rglob("*") if path.is_file()}
    files, kept = removable(grid_of("tiny"), Configs(), results)
    assert kept == []
    assert "0.0 MB in 6 files; --yes removes them" in format_removable(files, kept, removed=False)
    remove(files)
    remove(files)
    gone = before - {path for path in results.rglob("*") if path.is_file()}
    assert gone == {entry.path for entry in files}
    assert cell_status(experiment_of(CELL.format("ce", 0)), results).state == "done"
    assert format_removable([], [], removed=False) == "nothing to remove"


def test_the_weights_of_teachers_stay_whichever_grid_has_the_student(results: Path) -> None:
    with open("configs/labels.yaml", "a") as file:
        file.write(KD)
    Path("configs/grids/students.yaml").write_text(STUDENTS)
    assert paths(results) == sorted(work_files("ce", FILES[1:3]) + work_files("lovasz"))
    _, kept = removable(grid_of("tiny"), Configs(), results)
    assert kept == [CELL.format("ce", 0)]


def test_the_weights_that_another_cell_evaluates_stay(results: Path) -> None:
    Path("configs/mmseg/datasets/other.py").write_text(Path("configs/mmseg/datasets/phantom.py").read_text())
    grid = Path("configs/grids/tiny.yaml").read_text()
    Path("configs/grids/elsewhere.yaml").write_text(f"{grid}evaluate_on: [other]\n")
    assert not any("weights.pt" in path for path in paths(results))


def test_a_running_and_a_stale_cell_are_left_alone(results: Path, edit) -> None:
    with run_lock(results / CELL.format("ce", 0)):
        assert paths(results) == sorted(work_files("lovasz"))
    edit(Path("configs/mmseg/schedules/tiny.py"), "lr=1e-2", "lr=2e-2")
    assert paths(results) == []


def test_a_grid_that_cannot_be_read_stops_the_cleaning(results: Path) -> None:
    Path("configs/grids/broken.yaml").write_text("title: [")
    with pytest.raises(ConfigError, match=r"broken\.yaml"):
        paths(results)


@pytest.mark.slow
def test_the_verb_shows_first_and_removes_with_yes(results: Path) -> None:
    shown = run("segloss", "clean", "tiny", cwd=results.parent, own_process=True).stdout
    assert "--yes removes them: records, counts and tables stay" in shown
    assert all((results / path).exists() for path in work_files("ce"))
    assert "removed 0.0 MB in 6 files" in run("segloss", "clean", "tiny", "--yes", cwd=results.parent).stdout
    assert not any((results / path).exists() for path in work_files("ce"))
    assert "nothing to remove" in run("segloss", "clean", "tiny", cwd=results.parent).stdout


@pytest.mark.slow
def test_a_grid_that_keeps_needed_weights_alone_drops_the_others_as_its_cells_finish(workplace: Path) -> None:
    with (workplace / "configs/labels.yaml").open("a") as file:
        file.write(KD)
    (workplace / "configs/grids/students.yaml").write_text(STUDENTS)
    command = ("snakemake", "--cores", "1", "--config", "grid=students")
    run(*command, "keep_weights=needed", cwd=workplace)
    teacher, student = (
        {file.name for file in (workplace / "results" / cell / "work").iterdir()} & set(FILES[:3])
        for cell in (CELL.format("ce", 0), CELL.replace("hard", "kd").format("ce", 0))
    )
    assert "weights.pt" in teacher
    assert not student
    assert "Nothing to be done" in run(*command, cwd=workplace).stderr
