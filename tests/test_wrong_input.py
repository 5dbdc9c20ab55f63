"""Every argument of every verb is given each kind of wrong value: one sentence or a right result, never a traceback."""

import argparse
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segloss import cli
from tests.conftest import TINY_GRID, TINY_SCHEDULE, grid_of
from tests.written_records import write_cell

CELL = "phantom/unet-tiny/tiny/hard/ce/seed0"
LONG = "a" * 300
SKIPPED = "phantom/unet-tiny/tiny/raters/lovasz/seed0"
# Arguments without which a verb does not run.
REQUIRED = {
    "list": [],
    "prepare": ["phantom"],
    "new": ["dataset", "pictures"],
    "plan": ["tiny"],
    "train": [CELL],
    "status": ["tiny"],
    "collect": ["tiny", "--output", "reports/tiny/results.csv"],
    "report": ["tiny", "reports/tiny/results.csv"],
    "table": ["tiny"],
    "compare": ["results", "other"],
    "findings": [],
    "clean": ["tiny"],
    "dashboard": ["tiny"],
    "sync": [],
}
FILES = ("absent", "folder", "dangling", "circle", "latin1", "empty", "truncated", "binary", "below/a/file")
FOLDERS = ("wrong/absent", "wrong/latin1.csv", "wrong/dangling.csv", "wrong/circle.csv", "wrong/latin1.csv/x", LONG)
FOLDERS += ("~nobody-of-that-name/x",)
# The wrong values of an argument, by its kind; those of the second list have a right result.
GRIDS = (*(f"wrong/{name}.yaml" for name in FILES), "dmo", "tiny.yaml", "../tiny", "", ".", LONG, f"{LONG}.yaml")
GRIDS += ("~nobody-of-that-name/x.yaml", "wrong/twice.yaml", "wrong/numbers.yaml", "wrong/keys.yaml", "wrong/long.yaml")
TABLES = (*(f"wrong/{name}.csv" for name in FILES), LONG, "~nobody-of-that-name/x.csv")
COUNTS = ("0", "-1", "2.5", "nan", "x", "", "1e3")
KINDS: dict[str, tuple[str, ...]] = {
    "grid": GRIDS,
    "cell": (SKIPPED, "", "x", "../x", "tiny", f"{CELL}0000000", *(f"{CELL.replace('ce', LONG)}",)),
    "dataset": ("phantm", "camvd", "", "../x", LONG, "latin1", "-x"),
    "table": TABLES,
    "folder": FOLDERS,
    "output": ("wrong", "wrong/latin1.csv/x.csv", f"wrong/{LONG}", "wrong/circle.csv/x.csv", "~nobody-of-that-name/x"),
    "root": ("/", "/absent", "/dev/null", LONG, "~nobody-of-that-name/x"),
    "count": COUNTS,
    "seconds": ("-1", "nan", "inf", "x", ""),
    "axis": ("los", "loss.gama", "gamma", "", LONG, "seed.x"),
    "metrics": ("nonsense", "mIOU", "", LONG, "paper,nonsense"),
    "only": ("loss", "los=ce", "loss=c", "=", "loss=", LONG, ""),
    "name": ("../x", "", LONG, "phantom", "a/b", "latin1"),
    "choice": ("nonsense", ""),
    "flag": (),
}
# The kind of an argument, by its name in the parser.
ARGUMENTS = {
    "grid": "grid",
    "weights": "grid",
    "cell": "cell",
    "dataset": "dataset",
    "table": "table",
    "published": "table",
    **dict.fromkeys(("results", "data_root", "folder", "first", "second", "report"), "folder"),
    "output": "output",
    "root": "root",
    **dict.fromkeys(("cells_per_gpu", "processes", "threads"), "count"),
    "workers": "count",
    **dict.fromkeys(("checkpoint_seconds", "watch", "width"), "seconds"),
    **dict.fromkeys(("rows", "columns"), "axis"),
    "metrics": "metrics",
    "only": "only",
    "name": "name",
}


# Values that are right all the same: results before the first training, data that another machine has, one table.
RIGHT = {
    *((verb, "results", "wrong/absent") for verb in ("plan", "status", "table", "clean", "sync")),
    *((verb, "data_root", "wrong/absent") for verb in ("prepare", "plan", "status", "collect", "clean")),
    ("table", "columns", ""),
}
# Values with which the verb would train or write.
NOT_TRIED = {("train", "results", "wrong/absent"), ("train", "data_root", "wrong/absent"), ("train", "workers", "0")}
NOT_TRIED |= {("dashboard", "results", "wrong/absent"), ("report", "data_root", "wrong/absent")}


def arguments_of(verb: str) -> list[argparse.Action]:
    """The arguments of a verb, from the parser itself: a new one without a kind fails the test below."""
    parser = cli.build_parser()
    (verbs,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return [action for action in verbs.choices[verb]._actions if action.dest != "help"]


def kind_of(action: argparse.Action) -> str:
    if action.choices:
        return "choice"
    return "flag" if action.nargs == 0 else ARGUMENTS[action.dest]


def command(verb: str, action: argparse.Action, value: str) -> list[str]:
    """The words of a verb with one wrong value in the place of that argument."""
    if action.option_strings:
        words = list(REQUIRED[verb])
        if action.option_strings[0] in words:
            words = words[: words.index(action.option_strings[0])]
        return [verb, *words, f"{action.option_strings[0]}={value}"]
    words = list(REQUIRED[verb])
    positional = [other.dest for other in arguments_of(verb) if not other.option_strings]
    words[positional.index(action.dest) : positional.index(action.dest) + 1] = [value]
    return [verb, *words]


CASES = [
    pytest.param(verb, action, value, id=f"{verb}-{action.dest}-{value[:40]}")
    for verb in cli.VERBS
    for action in arguments_of(verb)
    for value in KINDS[kind_of(action)]
    if (verb, action.dest, value) not in NOT_TRIED
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, phantom: Path) -> Path:
    """A checkout whose grid ``tiny`` has all records, with wrong files and folders of each kind."""
    from benchmarks.faults.place import copy_workflow

    folder = tmp_path_factory.mktemp("place")
    copy_workflow(folder)
    (folder / "data").mkdir()
    (folder / "data" / "phantom").symlink_to(phantom / "phantom")
    (folder / "configs/mmseg/schedules/tiny.py").write_text(TINY_SCHEDULE)
    (folder / "configs/grids/tiny.yaml").write_text(TINY_GRID)
    make_wrong(folder / "wrong")
    (folder / "configs/datasets/latin1.yaml").write_bytes("folder: größe".encode("latin-1"))
    make_pictures(folder / "pictures")
    before = Path.cwd()
    os.chdir(folder)
    try:
        grid = grid_of("tiny")
        for cell in grid.cells:
            write_cell(folder / "results", cell)
        shutil.copytree(folder / "results", folder / "other")
        from segloss import records

        (folder / "reports/tiny").mkdir(parents=True)
        table = records.collect(grid, Path("results"))
        (folder / "reports/tiny/results.csv").write_text(table.to_csv(index=False))
    finally:
        os.chdir(before)
    return folder


def make_wrong(folder: Path) -> None:
    """Files of both kinds, each wrong in its own way."""
    folder.mkdir()
    for ending in ("yaml", "csv"):
        (folder / f"folder.{ending}").mkdir()
        (folder / f"dangling.{ending}").symlink_to("nowhere")
        (folder / f"circle.{ending}").symlink_to(f"circle.{ending}")
        (folder / f"latin1.{ending}").write_bytes("title: Größe".encode("latin-1"))
        (folder / f"empty.{ending}").write_bytes(b"")
        (folder / f"truncated.{ending}").write_bytes(b'title: "Ti')
        (folder / f"binary.{ending}").write_bytes(bytes(range(256)))
    (folder / "twice.yaml").write_text(TINY_GRID + "title: Twice\n")
    (folder / "numbers.yaml").write_text(TINY_GRID.replace("[ce, lovasz]", "[1, 2.5, null]"))
    (folder / "keys.yaml").write_text(TINY_GRID + "1: 2\n")
    (folder / "long.yaml").write_text(TINY_GRID.replace("[ce, lovasz]", f"[{LONG}]"))


def make_pictures(folder: Path) -> None:
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for number in range(6):
        pixels = np.random.default_rng(number).integers(256, size=(64, 64, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"images/{number}.jpg")
        Image.fromarray((pixels[..., 0] > 127).astype(np.uint8)).save(folder / f"masks/{number}.png")


@pytest.fixture
def segloss(place: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture) -> Callable[..., str]:
    """Run a verb in this process and return its sentence; "" if it has a result."""
    monkeypatch.chdir(place)
    monkeypatch.delenv("SEGLOSS_TRAIN", raising=False)
    monkeypatch.setenv("SEGLOSS_DATA", "data")
    monkeypatch.setenv("WANDB_MODE", "offline")

    def run(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["segloss", *words])
        monkeypatch.chdir(place)
        capfd.readouterr()
        try:
            cli.main()
        except SystemExit as stop:
            text = stop.code if isinstance(stop.code, str) else capfd.readouterr().err.strip()
        else:
            return ""
        last = text.splitlines()[-1] if text.startswith("usage: ") else text
        assert last.startswith("segloss"), text
        assert "\n" not in last, text
        assert "[Errno" not in last
        assert len(last) < 3000, text
        return last

    return run


@pytest.mark.parametrize(("verb", "action", "value"), CASES)
def test_a_wrong_value_is_one_sentence(segloss, place, verb: str, action: argparse.Action, value: str) -> None:
    before = listed(place)
    sentence = segloss(*command(verb, action, value))
    assert bool(sentence) == ((verb, action.dest, value) not in RIGHT), sentence
    assert listed(place) == before


def listed(folder: Path) -> set[Path]:
    """The files outside results, reports and data, where fingerprints are cached."""
    return {
        path for path in folder.rglob("*") if path.relative_to(folder).parts[0] not in ("results", "reports", "data")
    }


DAMAGES: dict[str, bytes | None] = {
    "absent": None,
    "empty": b"",
    "latin1": "title: 'Größe'\n".encode("latin-1"),
    "binary": bytes(range(256)),
    "list": b"[]",
    "number": b"3",
    "words": b"{title: [}",
    "nested": b'{"a": ' * 3000,
}
LINKS = ("folder", "dangling", "circle", "half")
CONFIGS = (
    "configs/losses.yaml",
    "configs/labels.yaml",
    "configs/grids/tiny.yaml",
    "configs/grids/demo.yaml",
    "configs/datasets/own.yaml",
    "configs/mmseg/datasets/phantom.py",
    "configs/mmseg/models/unet-tiny.py",
    "configs/mmseg/schedules/tiny.py",
)
RESULTS = tuple(
    f"results/{CELL}/{name}" for name in ("record.json", "counts.npz", "failure.json", "work/progress.json")
)
TABLE = "reports/tiny/results.csv"
USED = ["losses.yaml", "labels.yaml", "tiny.yaml", "phantom.py", "unet-tiny.py", "tiny.py"]
# The verbs that read a file, and whether a damage of it must be refused; None: depends on the damage.
VERBS_OF: dict[str, tuple[tuple[list[str], bool | None], ...]] = {
    **{
        file: (
            (["list"], None),
            (["plan", "tiny"], True),
            *([] if "grids" in file else [(["train", CELL.replace("hard", "raters")], True)]),
        )
        for file in CONFIGS
        if Path(file).name in USED
    },
    **dict.fromkeys(
        (file for file in CONFIGS if Path(file).name not in USED), ((["list"], None), (["plan", "tiny"], False))
    ),
    **dict.fromkeys(
        RESULTS,
        (
            (["plan", "tiny"], False),
            (["status", "tiny", "--cells"], False),
            (["collect", "tiny", "--partial", "--output", "reports/damaged.csv"], False),
            (["table", "tiny", "--metrics", "classes"], None),
            (["compare", "results", "other"], None),
        ),
    ),
    TABLE: ((["report", "tiny", TABLE], True), (["table", "tiny"], True), (["dashboard", "tiny"], True)),
}


@contextmanager
def damaged(file: Path, damage: str) -> Iterator[None]:
    """A file damaged in one way, and restored at the end."""
    file.parent.mkdir(parents=True, exist_ok=True)
    whole = file.read_bytes() if file.exists() else None
    file.unlink(missing_ok=True)
    if damage == "folder":
        file.mkdir()
    elif damage in ("dangling", "circle"):
        file.symlink_to("nowhere" if damage == "dangling" else file.name)
    elif damage == "half":
        file.write_bytes((whole or b"a: [1, 2, 3]")[: len(whole or b"a: [1, 2, 3]") // 2])
    elif (content := DAMAGES[damage]) is not None:
        file.write_bytes(content)
    try:
        yield
    finally:
        if damage == "folder":
            file.rmdir()
        file.unlink(missing_ok=True)
        if whole is not None:
            file.write_bytes(whole)


@pytest.mark.parametrize("damage", [*DAMAGES, *LINKS])
@pytest.mark.parametrize("file", VERBS_OF)
def test_a_damaged_file_is_a_sentence_or_a_state(segloss, place: Path, file: str, damage: str) -> None:
    before = listed(place)
    with damaged(place / file, damage):
        for words, refused in VERBS_OF[file]:
            sentence = segloss(*words)
            assert refused in (None, bool(sentence)), (words, sentence)
    (place / "reports/damaged.csv").unlink(missing_ok=True)
    assert listed(place) == before


def test_a_gpu_that_is_not_there_is_one_sentence(segloss) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    assert "--device cuda needs a GPU that torch can use" in segloss("train", CELL, "--device", "cuda")


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        (
            "SEGLOSS_TRAIN",
            "--threads 'x",
            'SEGLOSS_TRAIN="--threads \'x" is not a list of options: No closing quotation',
        ),
        ("SEGLOSS_TRAIN", "--threads x", "argument --threads: expected a whole number of at least 1, got 'x'"),
        ("SEGLOSS_CELLS_PER_GPU", "two", "argument --cells-per-gpu: expected a whole number of at least 1, got 'two'"),
        ("SEGLOSS_CELLS_PER_GPU", "99", "99 cells on one GPU: expected 1 to 16"),
        ("SEGLOSS_DATA", "~nobody-of-that-name/x", "names the home folder of an unknown user"),
        ("SEGLOSS_DATA", "wrong/latin1.csv", "SEGLOSS_DATA=wrong/latin1.csv must be a folder, but"),
    ],
)
def test_a_wrong_variable_is_one_sentence(segloss, monkeypatch, name: str, value: str, sentence: str) -> None:
    monkeypatch.setenv(name, value)
    assert sentence in segloss("train", CELL)


def test_a_working_directory_that_is_gone_is_one_sentence(segloss, tmp_path: Path, monkeypatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()

    def leave() -> list[str]:
        os.chdir(gone)
        gone.rmdir()
        return ["plan", "tiny"]

    monkeypatch.setattr(cli, "command_line", leave)
    assert "the working directory no longer exists" in segloss("plan", "tiny")


def test_a_folder_compared_with_itself_has_no_difference(segloss) -> None:
    assert segloss("compare", "results", "results") == ""


def test_the_nearest_name_is_suggested(segloss) -> None:
    for words, near in (
        (["plan", "tny"], "tiny"),
        (["train", CELL.replace("/ce/", "/cee/")], "ce"),
        (["train", CELL.replace("hard", "hrd")], "hard"),
        (["train", CELL.replace("unet-tiny", "unet-tny")], "unet-tiny"),
        (["train", CELL.replace("phantom", "phantm")], "phantom"),
        (["train", CELL.replace("/tiny/", "/tny/")], "tiny"),
        (["prepare", "phantm"], "phantom"),
        (["table", "tiny", "--metrics", "mIuU"], "mIoU"),
        (["table", "tiny", "--only", "loss=lovas"], "lovasz"),
    ):
        assert f"did you mean {near!r}?" in segloss(*words)


def test_a_file_in_the_way_of_a_cell_is_one_sentence(segloss, place: Path) -> None:
    with damaged(place / "elsewhere" / CELL, "half"):
        assert segloss("train", CELL, "--results", "elsewhere").endswith(f"{CELL}/work: Not a directory")
    shutil.rmtree(place / "elsewhere")
