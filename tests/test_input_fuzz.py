"""Thousands of mutated configs, records, counts, tables and option values: a right result or one sentence."""

import copy
import hashlib
import io
import json
import math
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from segloss import losses, records
from segloss.grid import Cell, ConfigError, Configs, load_grid, resolve
from segloss.grid.options import NO_SETTINGS, check_options, signatures
from segloss.metrics.counts import _sha256
from segloss.options import is_setting
from segloss.records import RecordError
from segloss.records.results import read_table
from segloss.records.verification import _sealed, check_counts, check_record, record_text
from segloss.reports import report
from segloss.reports.table_command import make_table
from tests.conftest import grid_of, in_memory
from tests.written_records import write_cell

pytestmark = pytest.mark.slow
WORDS = (
    "null",
    "true",
    "-1",
    "0",
    "[]",
    "{}",
    '"*"',
    "1e400",
    ".nan",
    "!!x",
    "*a",
    "65536",
    '"\\0"',
    "../..",
    "1e-3",
    "ce",
)
VALUES: tuple[Any, ...] = (None, True, False, -1, 0, 1, 3, 10**30, 0.5, -0.0, math.nan, math.inf, "", "x", "all", "ce")
VALUES += ([], [0.5], [1, 2, 3], [1.0] * 5, ["x"], {}, {"a": 1}, "1", "é\0", [[]], 10**400, (1, 1), 1e308, -1e308)
GRID = """title: Fuzz
datasets: [phantom]
models: [unet-tiny]
schedule: tiny
labels: [hard, ls, teacher]
losses: [ce, both, ldam]
seeds: [0, 2]
pretrained: none
"""
LOSSES = """ce: {title: CE, loss: cross_entropy}
ldam: {title: LDAM, loss: ldam, scale: 10.0, reweighting: 0.9999, defer: {reweighting: 0.8}}
both: {title: Both, auxiliary_share: 0.5, terms: [{loss: cross_entropy, weight: 0.25}, {loss: jaccard_metric, weight: 1,
  classes: all, ramp: {weight: [0.0, 1.0]}}]}
"""
LABELS = """hard: {title: Hard, target: hard}
ls: {title: LS, target: uniform_smoothing, epsilon: 0.1, labelled: {fraction: 0.25, seed: 1}}
teacher: {title: KD, target: teacher, teacher: {labels: hard, loss: ce, seeds: 1, hard_weight: 0.5}}
"""
CELL = "phantom/unet-tiny/tiny/hard/ce/seed0"
CONFIGS: dict[Path, Configs] = {}
COUNTS = {"configs": 2500, "records": 3500, "counts": 3000, "tables": 1600, "losses": 4000, "labels": 1000}
FILES = {"configs/grids/tiny.yaml": GRID, "configs/losses.yaml": LOSSES, "configs/labels.yaml": LABELS}


def mutated(text: str, draw: random.Random, words: tuple[str, ...] = WORDS) -> str:
    """A text with some of its words replaced, or its characters changed, removed or repeated."""
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        kind = draw.random()
        if kind < 0.6:
            token = draw.choice(list(re.finditer(r"[^\s,:\[\]{}()=]+", text)) or [re.match("", text)])
            text = text[: token.start()] + draw.choice(words) + text[token.end() :]
        elif text:
            place, length = draw.randrange(len(text)), draw.choice((1, 1, 5, 100))
            middle = "" if kind < 0.75 else text[place : place + length] * 2 if kind < 0.9 else chr(draw.randrange(300))
            text = text[:place] + middle + text[place + length :]
    return text


def one_sentence(error: Exception) -> None:
    text = str(error)
    assert text
    assert "\n" not in text, text
    assert len(text) < 4000, text[:4000]


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory: thousands of files are written."""
    yield from in_memory(tmp_path)


def test_configs(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    for name, text in FILES.items():
        Path(name).write_text(text)
    python = ("configs/mmseg/schedules/tiny.py", "configs/mmseg/datasets/phantom.py")
    whole = FILES | {name: Path(name).read_text() for name in python}
    before, draw, refused = sorted(map(str, workplace.rglob("*"))), random.Random(1), 0
    identity = [experiment.config_hash for experiment in grid_of("tiny").experiments]
    for _ in range(COUNTS["configs"]):
        name = draw.choice(sorted(whole))
        text = mutated(whole[name], draw)
        Path(name).write_bytes(text.encode("utf-8" if draw.random() < 0.97 else "utf-16"))
        try:
            grid = load_grid("tiny", Configs())
            assert grid.experiments or grid.skipped
        except ConfigError as error:
            one_sentence(error)
            refused += 1
        Path(name).write_text(whole[name])
    assert refused > COUNTS["configs"] / 2
    assert [experiment.config_hash for experiment in grid_of("tiny").experiments] == identity
    assert sorted(map(str, workplace.rglob("*"))) == before


@pytest.fixture
def finished(in_workplace: Path) -> Path:
    """The folder of a finished cell."""
    for cell in grid_of("tiny").cells:
        write_cell(in_workplace / "results", cell)
    return in_workplace / "results" / CELL


def places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """The path of every entry of nested dictionaries and lists."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in items:
        yield (*path, key)
        yield from places(entry, (*path, key))


def change_entry(record: dict[str, Any], draw: random.Random) -> tuple:
    """Change, remove or add an entry; returns its path."""
    path = draw.choice([*places(record), *[("metrics", name) for name in record["metrics"]]])
    part = record
    for key in path[:-1]:
        part = part[key]
    kind = draw.random()
    if kind < 0.7:
        part[path[-1]] = draw.choice(VALUES)
    elif kind < 0.85:
        del part[path[-1]]
    elif isinstance(part, dict):
        part[draw.choice(("x", "é", "metrics", ""))] = draw.choice(VALUES)
    return path


def state_of(folder: Path) -> str:
    """The state of the cell, and where it is done the checks of its record and its counts as ``collect`` does them."""
    status = records.cell_status(resolve(Cell.parse(CELL), CONFIGS[folder]), folder.parents[5])
    if status.record is not None:
        check_record(status.record, folder / "record.json")
        check_counts(status.record, folder)
        for _, value in records.measured(status.record):
            assert math.isfinite(value)
    assert "\n" not in status.reason
    return status.state


def test_records(finished: Path) -> None:
    """A record that is changed is stale; with a new checksum a changed metric is refused, and all else has a state."""
    CONFIGS[finished] = Configs()
    path, draw, seen = finished / "record.json", random.Random(2), {"refused": 0, "stale": 0, "done": 0}
    whole = path.read_bytes()
    for _ in range(COUNTS["records"]):
        record, sealed = json.loads(whole), draw.random() < 0.6
        if draw.random() < 0.7:
            place = change_entry(record, draw)
            if sealed:
                text = json.dumps({key: value for key, value in record.items() if key != "sha256"}, indent=1)
                content = _sealed(text.removesuffix("\n}")).encode()  # record_text refuses infinity
            else:
                content = json.dumps(record, indent=1).encode()
        else:
            place, sealed, content = (), False, bytearray(whole)
            for _ in range(draw.choice((1, 1, 4))):
                content[draw.randrange(len(content))] = draw.randrange(256)
            del content[len(content) if draw.random() < 0.8 else draw.randrange(len(content)) :]
        path.write_bytes(content)
        try:
            state = state_of(finished)
        except RecordError as error:
            one_sentence(error)
            state = "refused"
        seen[state] += 1
        try:
            changed = json.dumps(json.loads(content)) != json.dumps(json.loads(whole))
        except (ValueError, RecursionError):
            changed = True
        if changed and not sealed:
            assert state == "stale", (place, state)
        if sealed and place[:1] == ("metrics",) and record.get("metrics") != json.loads(whole)["metrics"]:
            assert state != "done", place
    assert min(seen.values()) > COUNTS["records"] / 50, seen


def sealed_counts(arrays: dict[str, np.ndarray]) -> bytes:
    file = io.BytesIO()
    arrays = {name: value for name, value in arrays.items() if name != "sha256"}
    np.savez_compressed(file, **arrays, sha256=np.array(_sha256(arrays)))
    return file.getvalue()


def change_array(arrays: dict[str, np.ndarray], draw: random.Random) -> None:
    """Change an array's value, type or shape, or remove it or add another."""
    name = draw.choice(sorted(arrays))
    value, kind = arrays[name], draw.random()
    if kind < 0.4 and value.size and value.dtype.kind in "iuf":
        flat = value.reshape(-1).copy()
        flat[draw.randrange(flat.size)] = draw.choice((0, 1, 2, 7, 100, 10**6))
        arrays[name] = flat.reshape(value.shape)
    elif kind < 0.55 and value.dtype.kind != "U":
        arrays[name] = value.astype(draw.choice(("f4", "i1", "U3", "f8", "c8", "bool")), casting="unsafe")
    elif kind < 0.75:
        arrays[name] = draw.choice(
            (value.reshape(-1), value[None], value[..., None], value.reshape(-1)[:1], np.zeros_like(value))
        )
    elif kind < 0.9:
        del arrays[name]
    else:
        arrays[draw.choice(("row_x", "total_x", "x", "names", "bins"))] = np.array(draw.choice((1, 1.5, -1)))


@pytest.mark.filterwarnings("ignore")  # those of numpy about deliberate casts
def test_counts(finished: Path) -> None:
    """Counts that are changed make a cell stale; with new checksums they are refused or give the recorded metrics."""
    CONFIGS[finished] = Configs()
    path, record_path, draw = finished / "counts.npz", finished / "record.json", random.Random(3)
    whole, record = path.read_bytes(), json.loads(record_path.read_bytes())
    with np.load(io.BytesIO(whole)) as file:
        arrays = dict(file)
    seen = {"refused": 0, "stale": 0, "done": 0}
    for _ in range(COUNTS["counts"]):
        changed, sealed = copy.copy(arrays), draw.random() < 0.6
        if draw.random() < 0.6:
            for _ in range(draw.choice((1, 1, 3))):
                change_array(changed, draw)
            content = sealed_counts(changed)
        else:
            content = bytearray(whole)
            content[draw.randrange(len(content))] = draw.randrange(256)
            content = bytes(content[: len(content) if draw.random() < 0.8 else draw.randrange(len(content))])
        path.write_bytes(content)
        again = record | {
            "evaluation": record["evaluation"] | {"counts_sha256": records_sha256(content, sealed, record)}
        }
        record_path.write_text(record_text(again))
        try:
            state = state_of(finished)
        except RecordError as error:
            one_sentence(error)
            state = "refused"
        seen[state] += 1
        assert state == "stale" or sealed or content == whole
    assert min(seen.values()) > 0, seen


def records_sha256(content: bytes, sealed: bool, record: dict[str, Any]) -> str:
    return hashlib.sha256(content).hexdigest() if sealed else record["evaluation"]["counts_sha256"]


def test_tables(finished: Path) -> None:
    """A results.csv that is changed is refused by ``report``, and gives ``table`` a table or a sentence."""
    grid, results = grid_of("tiny"), finished.parents[5]
    whole = records.collect(grid, results).to_csv(index=False)
    path, draw = results.parent / "reports/tiny/results.csv", random.Random(4)
    path.parent.mkdir(parents=True)
    made = 0
    for number in range(COUNTS["tables"]):
        text = mutated(whole, draw, (*WORDS, "nan", "inf", "done", "mIoU", '"', "é"))
        path.write_text(text)
        try:
            read_table(path, grid)
            if number % 20 == 0:
                make_table(grid, path, results, form=draw.choice(("latex", "markdown", "csv")))
            made += 1
        except (RecordError, ConfigError) as error:
            one_sentence(error)
        if text != whole and number % 50 == 0:
            with pytest.raises(RecordError, match=r"differs from the records|cannot be read"):
                report(grid, path, results, Path("data"))
    assert 0 < made < COUNTS["tables"]
    assert sorted(file.name for file in path.parent.iterdir()) == ["results.csv"]


def settings_of(room: str) -> list[tuple[str, str]]:
    """Every function of a room with every option that a line of YAML can set."""
    return [
        (name, option)
        for name, function in signatures(room).items()
        for option, kind in function["options"].items()
        if option not in {*NO_SETTINGS, *function.get("needs", ())} and is_setting(kind)
    ]


LOGITS = torch.linspace(-3, 3, 2 * 5 * 16).reshape(2, 5, 4, 4)
TARGET = (torch.arange(32) % 5).reshape(2, 4, 4)


@pytest.mark.parametrize("room", ["losses", "labels"])
def test_option_values(room: str) -> None:
    """A value that the check of configs/ accepts gives a finite loss; one that it refuses the loss refuses, too."""
    draw, options = random.Random(5), settings_of(room)
    accepted = 0
    for _ in range(COUNTS[room]):
        name, option = draw.choice(options)
        value = draw.choice(VALUES) if draw.random() < 0.7 else draw.uniform(-2, 2)
        try:
            check_options(room, name, {option: value}, "here")
        except ConfigError as error:
            one_sentence(error)
            refused = True
        else:
            refused = False
            accepted += 1
        if room == "labels":
            continue
        measured = {"class_counts": [9, 4, 3, 0, 5]} if losses.CATALOGUE[name].takes_class_counts else {}
        try:
            result = losses.get(name)(LOGITS, TARGET, **measured, **{option: value})
        except ValueError as error:
            one_sentence(error)
        else:
            assert not refused, (name, option, value)
            overflows = isinstance(value, int | float) and abs(value) > 1e18  # of a weight, which float32 cannot hold
            assert result.isfinite() or overflows, (name, option, value)
    assert COUNTS[room] / 20 < accepted < COUNTS[room] / 1.2


def test_twenty_thousand_cases_in_all() -> None:
    """With those of tests/datasets/test_fuzz.py (1500 files, 400 descriptions) and test_loss_fuzz.py (2500 calls)."""
    assert sum(COUNTS.values()) + 1500 + 400 + 2500 >= 20_000
