"""Files of configs/ that are wrong in form: each is one sentence that names the file, never a traceback."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from segloss.grid import ConfigError, Configs
from segloss.grid.mmengine_files import read_mmengine_file
from segloss.grid.yaml_files import read_yaml
from tests.conftest import ROOT, TINY_GRID, experiment_of, grid_of

CELL = "phantom/unet-tiny/tiny/hard/ce/seed0"


def sentence_of(action: Callable[[], object]) -> str:
    """The sentence of the ConfigError that an action raises."""
    with pytest.raises(ConfigError) as caught:
        action()
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 2000
    return text


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("title: Tiny\n", "title: Tiny\ntitle: Small\n", "not valid YAML: key 'title' is a duplicate"),
        ("losses: [ce, lovasz]\n", "losses: [ce]\nlosses: [lovasz]\n", "key 'losses' is a duplicate"),
        ("losses:", "loses:", "unknown key 'loses' (did you mean 'losses'?)"),
        ("seeds: 2", "seeds: 99999999", "seeds: 99999999 is greater than the maximum of 1000"),
        ("seeds: 2", "seeds: 1.0e+308", "seeds: 1e+308 is greater than the maximum of 1000"),
        ("seeds: 2", "seeds: .inf", "list of them, got inf"),
        ("seeds: 2", "seeds: .nan", "seeds: expected how many, numbered from 0; or a list of them, got nan"),
        ("seeds: 2", "seeds: 2.5", "seeds: expected how many, numbered from 0; or a list of them, got 2.5"),
        ("seeds: 2", "seeds: '2'", "seeds: expected how many, numbered from 0; or a list of them, got '2'"),
        ("seeds: 2", "seeds: true", "seeds: expected how many, numbered from 0; or a list of them, got True"),
        ("seeds: 2", "seeds: -1", "seeds: -1 is less than the minimum of 1"),
        ("seeds: 2", "seeds:", "seeds: expected how many, numbered from 0; or a list of them, got None"),
        (
            "losses: [ce, lovasz]",
            "losses: some",
            "losses: expected all, or names of lines of losses.yaml in the tables' order, got 'some'",
        ),
        ("seeds: 2", "1: 2", "key 1 is not text: quote it"),
        ("seeds: 2", "? [a, b]\n: 2", "not text: quote it"),
        ("seeds: 2", "seeds: &a [*a]", "seeds.0: "),
        ("seeds: 2", "seeds: !!python/object/apply:os.system ['true']", "could not determine a constructor"),
        ("seeds: 2", "seeds: !!binary 'AAAA'", "or a list of them, got"),
        ("seeds: 2", "seeds: " + "[" * 5000, "not valid YAML"),
        ("seeds: 2", "seeds: 2\x00", "not valid YAML"),
        ("seeds: 2", "seeds: *nowhere", "not valid YAML: found undefined alias"),
        ("seeds: 2", "\tseeds: 2", "not valid YAML"),
        ("title: Tiny", "title: 2026-11-26", "title: datetime.date(2026, 11, 26) is not of type 'string'"),
        ("datasets: [phantom]", "datasets: phantom", "datasets: 'phantom' is not of type 'array'"),
        ("datasets: [phantom]", "datasets: [no]", "datasets.0: False is not of type 'string'"),
        ("datasets: [phantom]", f"datasets: [{'a' * 260}]", "unknown data set 'aaa"),
        ("models: [unet-tiny]", f"models: [{'a' * 260}]", "unknown model 'aaa"),
        ("schedule: tiny", f"schedule: {'a' * 260}", "unknown schedule 'aaa"),
        ("labels: [hard, raters]", f"labels: [{'a' * 260}]", "unknown label scenario 'aaa"),
        ("losses: [ce, lovasz]", f"losses: [{'a' * 260}]", "unknown loss 'aaa"),
        ("schedule: tiny", "schedule: {a: b}", "schedule: {'a': 'b'} is not of type 'string'"),
    ],
)
def test_a_wrong_grid_file_is_one_sentence(in_workplace: Path, old: str, new: str, sentence: str) -> None:
    assert old in TINY_GRID
    (in_workplace / "configs/grids/tiny.yaml").write_text(TINY_GRID.replace(old, new))
    text = sentence_of(lambda: grid_of("tiny"))
    assert text.startswith("configs/grids/tiny.yaml: ")
    assert sentence in text


@pytest.mark.parametrize("content", [b"", b"[]", b"3", b"title", b"- a\n- b", b"null"])
def test_a_grid_that_is_no_mapping_is_one_sentence(in_workplace: Path, content: bytes) -> None:
    (in_workplace / "configs/grids/tiny.yaml").write_bytes(content)
    assert "is not of type 'object'" in sentence_of(lambda: grid_of("tiny"))


def test_files_in_another_encoding_and_folders_are_one_sentence(in_workplace: Path) -> None:
    latin1 = TINY_GRID.replace("Tiny", "Größe").encode("latin-1")
    for name in ("configs/grids/tiny.yaml", "configs/losses.yaml", "configs/labels.yaml"):
        file = in_workplace / name
        whole = file.read_bytes()
        file.write_bytes(latin1)
        assert "expected UTF-8, got byte 0xf6" in sentence_of(lambda: grid_of("tiny"))
        file.unlink()
        file.mkdir()
        assert re_any(sentence_of(lambda: grid_of("tiny")), "cannot be read: Is a directory", "unknown grid 'tiny'")
        file.rmdir()
        assert re_any(sentence_of(lambda: grid_of("tiny")), "cannot be read: No such file", "unknown grid 'tiny'")
        file.write_bytes(whole)
    schedule = in_workplace / "configs/mmseg/schedules/tiny.py"
    schedule.write_bytes(schedule.read_bytes() + "name = 'Größe'\n".encode("latin-1"))
    assert "tiny.py: not valid Python" in sentence_of(lambda: grid_of("tiny"))


def re_any(text: str, *parts: str) -> bool:
    return any(part in text for part in parts)


@pytest.mark.parametrize("name", ["a" * 260, "a" * 300 + ".yaml", "a\x00b", "a\x00b.yaml", "nowhere/x.yaml", ""])
def test_an_impossible_grid_name_is_one_sentence(in_workplace: Path, name: str) -> None:
    assert re_any(sentence_of(lambda: grid_of(name)), "unknown grid", "no grid file")


@pytest.mark.parametrize("axis", range(5))
def test_a_name_of_260_letters_is_no_cell(axis: int) -> None:
    names = CELL.split("/")
    names[axis] = "a" * 260
    assert "is not a cell" in sentence_of(lambda: experiment_of("/".join(names), ROOT))


def test_a_whole_number_may_be_written_as_a_float(in_workplace: Path) -> None:
    (in_workplace / "configs/grids/tiny.yaml").write_text(TINY_GRID.replace("seeds: 2", "seeds: 3.0"))
    assert {cell.seed for cell in grid_of("tiny").cells} == {0, 1, 2}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1E5", 1e5),
        ("-2e+3", -2e3),
        (".5e1", 5.0),
        ("1.", 1.0),
        ("5", 5),
        ("'1e-3'", "1e-3"),
        ("1e", "1e"),
        ("e5", "e5"),
        ("1e-3x", "1e-3x"),
        ("1.2.3", "1.2.3"),
    ],
)
def test_numbers_are_those_of_yaml_1_2(tmp_path: Path, text: str, value: object) -> None:
    file = tmp_path / "file.yaml"
    file.write_text(f"a: {text}\n")
    parsed = read_yaml(file)["a"]
    assert (type(parsed), parsed) == (type(value), value)


def test_a_small_number_reaches_the_loss_as_a_number(in_workplace: Path, edit) -> None:
    edit(in_workplace / "configs/losses.yaml", "gamma: 2.0", "gamma: 2e-1")
    (term,) = experiment_of("phantom/unet-tiny/tiny/hard/focal/seed0").loss
    assert term["gamma"] == 0.2


def test_a_duplicate_key_is_refused_at_any_depth_and_merged_keys_may_be_overridden(tmp_path: Path) -> None:
    file = tmp_path / "file.yaml"
    file.write_text("a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}\n")
    assert read_yaml(file)["b"] == {"x": 3, "y": 2}
    for text in ("a: {b: {c: 1, c: 1}}", "a: [{b: 1, b: 2}]", "a: 1\n'a': 2"):
        file.write_text(text)
        assert "is a duplicate" in sentence_of(lambda: read_yaml(file))


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("iterations = = 3", "tiny.py: not valid Python: invalid syntax"),
        ("iterations = (", "tiny.py: not valid Python: '(' was never closed"),
        ("  indented = 1", "tiny.py: not valid Python: unexpected indent"),
        ("a = 'x\x00y'", "tiny.py: not valid Python"),
        ("a = " + "(" * 3000 + ")" * 3000, "tiny.py: not valid Python"),
        ("_base_ = './nowhere.py'", "nowhere.py cannot be read: No such file or directory"),
        ("_base_ = './tiny.py'", "tiny.py: _base_ leads back to it"),
        ("_base_ = f()", "tiny.py: _base_ must be a path or a list of paths"),
        ("_base_ = 3", "tiny.py: _base_ must be a path or a list of paths, got 3"),
        ("_base_ = [3]", "tiny.py: _base_ must be a path or a list of paths, got [3]"),
        ("_base_ = '.'", "cannot be read: Is a directory"),
        ("resources = 5", "tiny.py: resources: expected a dictionary, got 5"),
        ("resources = ['gpus']", "tiny.py: resources: expected a dictionary, got ['gpus']"),
        ("resources = {'gpus': True}", "resources: gpus=True: expected a whole number from 0"),
        ("resources = {3: 1}", "resources: unknown key '3'"),
        ("checkpoint = 'bset'", "unknown checkpoint 'bset' (did you mean 'best'?)"),
        ("checkpoint = ['best']", "unknown checkpoint"),
        ("checkpoint = 'best'\nvalidation_interval = 2.5", "a whole number from 1, require each other"),
    ],
)
def test_a_wrong_schedule_is_one_sentence(in_workplace: Path, line: str, sentence: str) -> None:
    file = in_workplace / "configs/mmseg/schedules/tiny.py"
    file.write_text(f"{file.read_text()}\n{line}\n")
    text = sentence_of(lambda: grid_of("tiny"))
    assert text.startswith("configs/grids/tiny.yaml: ")
    assert sentence in text


@pytest.mark.parametrize(
    ("kind", "old", "new", "sentence"),
    [
        (
            "schedules",
            "iterations = 16",
            "iterations = '400'",
            "Expected iterations to be a whole number of at least 1",
        ),
        ("schedules", "iterations = 16", "iterations = 0", "of at least 1, got 0."),
        ("schedules", "iterations = 16", "iterations = 8 - 9", "of at least 1, got -1."),
        ("schedules", "iterations = 16", "iteration = 16", "unknown name 'iteration' (did you mean 'iterations'?)"),
        ("schedules", "batch_size = 4", "batch_size = 2.5", "Expected batch_size to be a whole number of at least 1"),
        ("schedules", "batch_size = 4", "", "tiny.py must assign batch_size; it assigns iterations, optimizer"),
        (
            "schedules",
            "batch_size = 4",
            "batch_size = 4\ncheckpoint = 'lst'",
            "unknown checkpoint 'lst' (did you mean 'last'?)",
        ),
        ("schedules", '"AdamW"', '"AdmW"', "optimizer: unknown optimiser 'AdmW' (did you mean 'AdamW'?)"),
        ("schedules", '"AdamW"', "3", "optimizer: unknown optimiser 3; known: "),
        ("schedules", 'type="PolyLR"', 'type="PlyLR"', "unknown scheduler 'PlyLR' (did you mean 'PolyLR'?)"),
        ("schedules", "param_scheduler = [", "param_scheduler = 'x'  # [", "Expected param_scheduler to be a sequence"),
        ("datasets", "crop_size = (32, 32)", "crop_size = (32, 0)", "Expected crop_size to be a sequence of length 2"),
        (
            "datasets",
            'type="RandomFlip"',
            'type="RandomFlp"',
            "train_pipeline: unknown transform 'RandomFlp' (did you mean",
        ),
        ("datasets", "test_split =", "test_splt =", "unknown name 'test_splt' (did you mean 'test_split'?)"),
        (
            "datasets",
            'val_split = "val"',
            'val_split = "vel"',
            "val_split: unknown list 'vel' (did you mean 'val'?); known: ",
        ),
        (
            "datasets",
            'test_split = "test"',
            'test_split = "tst"',
            "test_split: unknown list 'tst' (did you mean 'test'?)",
        ),
        ("datasets", "test_cfg =", "reference = 'mean'\ntest_cfg =", "Expected reference to be one of label, majority"),
        (
            "models",
            '_base_ = ["mmseg::_base_/models/fcn_unet_s5-d16.py"]\nmodel = ',
            "_model = ",
            "unet-tiny.py must assign model; it assigns _model",
        ),
    ],
)
def test_a_wrong_value_is_one_sentence_before_any_job(
    in_workplace: Path, kind: str, old: str, new: str, sentence: str
) -> None:
    name = {"schedules": "tiny", "datasets": "phantom", "models": "unet-tiny"}[kind]
    file = in_workplace / f"configs/mmseg/{kind}/{name}.py"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    assert sentence in sentence_of(lambda: grid_of("tiny"))


def test_a_variable_of_ones_own_begins_with_an_underscore(in_workplace: Path) -> None:
    file = in_workplace / "configs/mmseg/schedules/tiny.py"
    file.write_text("_rate = 1e-2\n" + file.read_text().replace("lr=1e-2", "lr=_rate"))
    assert grid_of("tiny").cells


@pytest.mark.parametrize("value", ["'phantm'", "['phantom']", "3", "f()"])
def test_a_data_set_without_a_known_source_is_one_sentence(in_workplace: Path, value: str) -> None:
    file = in_workplace / "configs/mmseg/datasets/phantom.py"
    file.write_text(f"{file.read_text()}\nsource = {value}\n")
    if value == "f()":  # no literal: the assignment before it counts, and MMEngine would refuse the file
        assert grid_of("tiny").cells
    else:
        assert "phantom.py: unknown source" in sentence_of(lambda: grid_of("tiny"))


# Of the schedule below, computed once; the same with Python 3.11, 3.12 and 3.13.
CONTENT_HASH = "b2f4b686781351ef7311a8e0f549e52aac612dbeb50111a147eb12efde75f68f"
SCHEDULE = '''
"""A schedule with the syntax whose trees differ between versions of Python."""

iterations = 16
optimizer = dict(type="AdamW", lr=1e-2, betas=(0.9, 0.999), weight_decay=-0.01)
param_scheduler = [dict(type="PolyLR", end=iterations, by_epoch=False, **{"power": 0.9})]


def scale(value, *, by=2):
    return [f"{number:.1f}" for number in range(value) if number % by]


class Extra:
    kind = None
'''


def test_the_hash_of_a_config_does_not_depend_on_the_python_version(tmp_path: Path) -> None:
    file = tmp_path / "schedule.py"
    file.write_text(SCHEDULE)
    assert read_mmengine_file(file).content_hash == CONTENT_HASH
    code = f"""
import sys
sys.path.insert(0, {str(ROOT / "src")!r})
import types
segloss = types.ModuleType("segloss")
segloss.__path__ = [{str(ROOT / "src/segloss")!r}]
grid = types.ModuleType("segloss.grid")
grid.__path__ = [{str(ROOT / "src/segloss/grid")!r}]
errors = types.ModuleType("segloss.grid.errors")
errors.ConfigError = ValueError
sys.modules |= {{"segloss": segloss, "segloss.grid": grid, "segloss.grid.errors": errors}}
from pathlib import Path
from segloss.grid.mmengine_files import read_mmengine_file
print(read_mmengine_file(Path({str(file)!r})).content_hash)
"""
    for version in sorted((Path.home() / ".pyenv/versions").glob("3.1[1-9].*")):
        done = subprocess.run([version / "bin/python", "-c", code], capture_output=True, text=True, check=False)
        assert done.stdout.strip() == CONTENT_HASH, (version.name, done.stderr[-500:])


def test_the_hash_changes_with_every_value_and_with_no_comment(tmp_path: Path) -> None:
    def content_hash(text: str) -> str:
        (tmp_path / "schedule.py").write_text(text)
        return read_mmengine_file(tmp_path / "schedule.py").content_hash

    before = content_hash(SCHEDULE)
    assert content_hash(SCHEDULE.replace("iterations = 16", "iterations  =  (16)  # a comment")) == before
    assert content_hash(SCHEDULE + "resources = {'gpus': 2}\n") == before
    changes = [("16", "17"), ("1e-2", "1e-3"), ("(0.9, 0.999)", "[0.9, 0.999]"), ("-0.01", "0.01"), ("None", "False")]
    changes += [("iterations = 16", "iterations = 16.0"), ("iterations = 16", "iterations = True"), ("by=2", "by=3")]
    changes += [("False", "True"), ("'AdamW'", "'SGD'"), (":.1f", ":.2f"), ("**{", "**{'begin': 0, ")]
    hashes = {content_hash(SCHEDULE.replace(*change)) for change in changes if change[0] in SCHEDULE}
    assert before not in hashes
    assert len(hashes) == len([change for change in changes if change[0] in SCHEDULE])


def test_the_identity_of_a_cell_is_the_recorded_one() -> None:
    """A change of this constant makes every record stale: it must be on purpose."""
    experiment = experiment_of("phantom/unet-tiny/demo/hard/ce/seed0", ROOT)
    assert experiment.config_hash == "fc15600beabde5c1b00befb5e83cdbd3d475e6274be5067efae592e308d9573d"


def test_two_checkouts_live_in_one_process(in_workplace: Path, edit) -> None:
    edit(in_workplace / "configs/losses.yaml", "gamma: 2.0", "gamma: 3.0")
    cell = "phantom/unet-tiny/demo/hard/focal/seed0"
    here, there = experiment_of(cell, in_workplace), experiment_of(cell, ROOT)
    assert (here.loss[0]["gamma"], there.loss[0]["gamma"]) == (3.0, 2.0)
    assert here.config_hash != there.config_hash
    sentence = r"no configs/ in .*: run this in a checkout of segloss or name it with --root"
    with pytest.raises(ConfigError, match=sentence):
        Configs(in_workplace / "data")


def test_an_exchange_that_is_switched_off_needs_a_number_of_processes(in_workplace: Path, edit) -> None:
    """With one process there is nothing to exchange, and the cell would be that of another line under a new name."""
    edit(in_workplace / "configs/losses.yaml", "loss: lovasz_softmax}", "loss: lovasz_softmax, exchange: false}")
    text = sentence_of(lambda: Configs().losses)
    assert "lovasz: exchange: false needs the number of processes, for example processes: 2" in text


@pytest.mark.parametrize("schedule", ["demo@15", "demo@1"])
def test_a_training_that_ends_before_its_schedule_begins_is_one_sentence(in_workplace: Path, schedule: str) -> None:
    text = sentence_of(lambda: experiment_of(CELL.replace("/tiny/", f"/{schedule}/")))
    length = schedule.removeprefix("demo@")
    assert f"end must be above begin, got begin=15 and end={length}" in text
    assert experiment_of(CELL.replace("/tiny/", "/demo@16/")).iterations == 16


def test_a_schedule_that_is_shorter_than_its_warm_up_is_one_sentence(in_workplace: Path, edit) -> None:
    edit(in_workplace / "configs/mmseg/schedules/demo.py", "iterations = 400", "iterations = 10")
    assert "got begin=15 and end=10" in sentence_of(lambda: experiment_of(CELL.replace("/tiny/", "/demo/")))
