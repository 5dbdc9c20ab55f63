"""Grids, cells and names: what is accepted, what is refused with which sentence, and which cells a change affects."""

import re
import time
from pathlib import Path

import pytest
import yaml

from segloss.grid import Cell, ConfigError, Configs
from segloss.grid.errors import unknown
from segloss.grid.options import signatures
from segloss.grid.resources import DEFAULTS
from tests.conftest import ROOT, experiment_of, grid_of

HEAD = dict(
    title="T", datasets=["phantom"], models=["unet-tiny"], schedule="tiny", labels=["hard"], losses=["ce"], seeds=1
)


def written(folder: Path, **changes: object) -> str:
    """A grid file with these changes; None removes a key."""
    content = {key: value for key, value in {**HEAD, **changes}.items() if value is not None}
    (folder / "configs/grids/own.yaml").write_text(yaml.safe_dump(content))
    return "own"


def test_a_cell_is_its_name() -> None:
    cell = Cell("phantom", "unet-tiny", "demo", "hard", "ce-jml", 3)
    assert str(cell) == "phantom/unet-tiny/demo/hard/ce-jml/seed3"
    assert Cell.parse(str(cell)) == cell


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a/b/c/d/seed0",
        "a/b/c/d/e/f/seed0",
        "a/b/c/d/e/seed-1",
        "a/b/c/d/e/seed01",
        "../b/c/d/e/seed0",
        "a/b/../d/e/seed0",
        "a/b/.c/d/e/seed0",
        "a/b/c d/d/e/seed0",
    ],
)
def test_what_is_no_cell_is_refused(name: str) -> None:
    sentence = "is not a cell: expected <dataset>/<model>/<schedule>/<labels>/<loss>/seed<k>"
    with pytest.raises(ConfigError, match=sentence):
        Cell.parse(name)


def test_a_grid_is_the_product_of_its_axes_without_the_cells_that_make_no_sense(in_workplace: Path) -> None:
    grid = grid_of("tiny")
    assert [str(cell).split("tiny/", 2)[-1] for cell in grid.cells] == [
        "hard/ce/seed0",
        "hard/ce/seed1",
        "hard/lovasz/seed0",
        "hard/lovasz/seed1",
        "raters/ce/seed0",
        "raters/ce/seed1",
    ]
    assert {cell.labels: reason for cell, reason in grid.skipped.items()} == {
        "raters": "lovasz_softmax is defined on hard labels only"
    }


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "configs/grids").glob("*.yaml")))
def test_every_grid_of_the_repository_is_valid(name: str) -> None:
    grid = grid_of(name, ROOT)
    assert grid.cells
    assert grid.title
    assert all(experiment.not_applicable is None for experiment in grid.experiments)
    assert len({experiment.config_hash for experiment in grid.experiments}) == len(grid.cells)
    for experiment in grid.experiments:
        assert experiment.resources.keys() == DEFAULTS.keys()
        assert all(teacher.not_applicable is None for teacher in experiment.teachers)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (dict(losses=["jmll"]), r"unknown loss 'jmll' \(did you mean 'jml'\?\); known: .*bce-dice, .*jml"),
        (dict(labels=["hrd"]), r"unknown label scenario 'hrd' \(did you mean 'hard'\?\); known: bls, .*hard, .*raters"),
        (dict(datasets=["cityscape"]), r"unknown data set 'cityscape'.*; known: .*camvid, .*phantom"),
        (
            dict(models=["unet"]),
            r"unknown model 'unet'.*; known: .*unet-tiny.* or a config of MMSegmentation's zoo as",
        ),
        (dict(models=["mmseg::unet/unett"]), r"unknown model 'unett'.*zoo"),
        (dict(schedule="slow"), r"unknown schedule 'slow'.*; known: .*demo"),
        (dict(lossses=["ce"]), r"unknown key 'lossses' \(did you mean 'losses'\?\); known: .*datasets, .*losses"),
        (dict(seeds=None), r"'seeds' is a required property"),
        (dict(seeds=0), r"seeds: 0 is less than the minimum of 1"),
        (dict(losses=[]), r"losses: \[\] (should be non-empty|is too short)"),
        (dict(losses=["ce", "ce"]), r"losses: .*non-unique"),
        (dict(labels=["raters"], losses=["lovasz"]), r"no cell is left: lovasz_softmax is defined on hard labels only"),
    ],
)
def test_a_wrong_grid_is_refused_in_one_sentence(in_workplace: Path, changes: dict, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence) as caught:
        grid_of(written(in_workplace, **changes))
    assert str(caught.value).startswith("configs/grids/own.yaml: ")
    assert "\n" not in str(caught.value)


def test_an_unknown_grid_names_the_known_ones(in_workplace: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"unknown grid 'dmeo' \(did you mean 'demo'\?\); known: .*camvid, camvid-cpu, .*demo"
    ):
        grid_of("dmeo")
    with pytest.raises(ConfigError, match=r"unknown grid '\.\./demo'"):
        grid_of("../demo")


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (
            "loss: focal, gamma",
            "loss: focal, gama",
            r"losses.yaml: focal: unknown option of focal 'gama' \(did you mean 'gamma'\?\)",
        ),
        (
            "{title: Dice, loss: dice}",
            "{title: Dice, loss: dise}",
            r"losses.yaml: dice: unknown loss 'dise' \(did you mean 'dice'\?\)",
        ),
        ("defer: {reweighting: 0.8}", "defer: {rewaiting: 0.8}", r"ldam-drw: unknown option of ldam to defer 'rewai"),
        ("defer: {reweighting: 0.8}", "defer: {reweighting: 2}", r"ldam-drw.defer.reweighting: 2 is greater than"),
        ("weight: [0.0, 1.0]", "wait: [0.0, 1.0]", r"boundary: ramp: unknown number 'wait' .*; known: weight"),
        ("weight: [0.0, 1.0]", "weight: [0.5, 0.5]", r"ramp: weight must begin before it ends, got \[0.5, 0.5\]"),
        ("weight: [0.0, 1.0]", "weight: [0.0, 2]", r"boundary.terms.1.ramp.weight.1: 2 is greater than"),
        ("{title: Dice, loss: dice}", "{title: Dice, loss: dice, ramp: {weight: [0, 1]}}", r"unknown number 'weight'"),
        ("k: 0.1}", "k: 0.1, ramp: {k: [0, 1]}}", r"topk: ramp: Expected k to be .*, got 0.0"),
        ("{title: Dice, loss: dice}", "{title: Dice}", r"losses.yaml: dice: .*not valid"),
        ("{title: Dice, loss: dice}", "{title: Dice, loss: dice", r"losses.yaml: not valid YAML"),
    ],
)
def test_a_wrong_loss_line_is_refused_before_any_job(
    in_workplace: Path, edit, old: str, new: str, sentence: str
) -> None:
    edit(in_workplace / "configs/losses.yaml", old, new)
    with pytest.raises(ConfigError, match=sentence):
        grid_of("tiny")


def test_a_wrong_label_option_is_refused(in_workplace: Path, edit) -> None:
    edit(in_workplace / "configs/labels.yaml", "epsilon: 0.1", "epsilonn: 0.1")
    with pytest.raises(ConfigError, match=r"labels.yaml: ls: unknown option of uniform_smoothing 'epsilonn'"):
        grid_of("tiny")


def test_a_model_of_the_zoo_is_found_by_its_name(in_workplace: Path) -> None:
    name = "fcn_r50-d8_4xb2-40k_cityscapes-512x1024"
    (experiment,) = grid_of(written(in_workplace, models=[f"mmseg::fcn/{name}"])).experiments
    assert experiment.cell.model == name
    assert experiment.files["models"].name == f"{name}.py"
    assert experiment.settings["model"] != grid_of(written(in_workplace)).experiments[0].settings["model"]


def test_what_the_source_declares_is_what_is_registered() -> None:
    from segloss import labels, losses

    for room, module in (("losses", losses), ("labels", labels)):
        declared = signatures(room)
        assert set(declared) == set(module.CATALOGUE)
        for name, function in module.CATALOGUE.items():
            assert declared[name].get("soft_targets", True) == function.soft_targets
    assert {name: line["source"] for name, line in signatures("labels").items()} == {
        name: function.source for name, function in labels.CATALOGUE.items()
    }


def test_only_what_decides_a_result_changes_its_hash(in_workplace: Path, edit) -> None:
    def hashes() -> dict[str, str]:
        return {str(experiment): experiment.config_hash for experiment in grid_of("demo").experiments}

    def changed(path: str, old: str, new: str) -> set[str]:
        before = hashes()
        edit(in_workplace / path, old, new)
        after = hashes()
        return {name for name in before if before[name] != after[name]}

    everything = set(hashes())
    assert changed("configs/losses.yaml", "title: CE,", "title: Cross-entropy,") == set()
    assert changed("configs/mmseg/schedules/demo.py", "batch_size = 8", "batch_size = 8  # a comment") == set()
    focal = changed("configs/losses.yaml", "gamma: 2.0", "gamma: 3.0")
    assert focal == {name for name in everything if "/focal/" in name}
    assert focal
    assert changed("configs/labels.yaml", "kernel_size: 3", "kernel_size: 5") == {
        name for name in everything if "/bls/" in name
    }
    assert changed("configs/mmseg/schedules/demo.py", "iterations = 400", "iterations = 401") == everything


def test_a_base_counts_as_part_of_a_config(in_workplace: Path, edit) -> None:
    before = Configs().mmengine_file("datasets", "camvid-cpu").content_hash
    edit(in_workplace / "configs/mmseg/datasets/camvid.py", 'test_split = "test"', 'test_split = "val"')
    assert Configs().mmengine_file("datasets", "camvid-cpu").content_hash != before


def test_seeds_are_stable_and_all_different(in_workplace: Path) -> None:
    assert experiment_of("phantom/unet-tiny/demo/hard/ce/seed0").random_seed == 922240450
    experiments = grid_of("demo").experiments
    assert len({experiment.random_seed for experiment in experiments}) == len(experiments)


def test_a_cell_resolved_after_another_seed_equals_one_resolved_alone(in_workplace: Path) -> None:
    """With teachers, folds, and weights trained on another data set, which are those of the same seed."""
    mmseg = in_workplace / "configs/mmseg/datasets"
    (mmseg / "other.py").write_text((mmseg / "phantom.py").read_text())
    written(in_workplace, evaluate_on=["other"], seeds=3)
    for name in ("own", "distill-cpu", "raters-stare"):
        experiments = grid_of(name).experiments
        assert len({experiment.cell.seed for experiment in experiments}) > 1
        for experiment in experiments:
            alone = experiment_of(str(experiment))
            assert experiment == alone
            assert experiment.config_hash == alone.config_hash


def test_five_thousand_cells_are_planned_in_seconds(in_workplace: Path) -> None:
    started = time.monotonic()
    losses = ["ce", "jml", "dice", "focal", "lovasz"]
    assert len(grid_of(written(in_workplace, losses=losses, seeds=1000)).cells) == 5000
    assert time.monotonic() - started < 10


def test_errors_are_sentences_for_people() -> None:
    assert re.fullmatch(r"unknown loss 'x'; known: none", str(unknown("loss", "x", [])))


def test_a_soft_mean_teacher_needs_a_loss_of_soft_targets(in_workplace: Path) -> None:
    with open(in_workplace / "configs/labels.yaml", "a") as file:
        file.write("\nmt: {title: MT, target: hard, labelled: {fraction: 0.5}, mean_teacher: {soft: true}}\n")
    lovasz = experiment_of("phantom/unet-tiny/tiny/mt/lovasz/seed0").not_applicable
    assert lovasz == "lovasz_softmax is defined on hard labels only"
    assert experiment_of("phantom/unet-tiny/tiny/mt/jml/seed0").not_applicable is None
    assert experiment_of("phantom/unet-tiny/tiny/hard/lovasz/seed0").not_applicable is None
    assert experiment_of("phantom/unet-tiny/tiny/mt-8th/lovasz/seed0").not_applicable is None  # its labels are hard


def test_scenarios_with_raters_need_a_data_set_with_raters(in_workplace: Path) -> None:
    for labels in ("raters", "majority", "random-rater", "staple", "dice-raters"):
        assert experiment_of(f"camvid/unet-tiny/tiny/{labels}/ce/seed0").not_applicable == "camvid has one annotator"
        assert experiment_of(f"phantom/unet-tiny/tiny/{labels}/ce/seed0").not_applicable is None


def test_a_file_overrides_its_base(in_workplace: Path) -> None:
    schedules = in_workplace / "configs/mmseg/schedules"
    (schedules / "base.py").write_text("iterations = 3\nbatch_size = 2\n")
    (schedules / "own.py").write_text('_base_ = "./base.py"\niterations = 5\n')
    literals = Configs().mmengine_file("schedules", "own").literals
    assert (literals["iterations"], literals["batch_size"]) == (5, 2)


def test_a_teacher_needs_validation_images(in_workplace: Path) -> None:
    with open(in_workplace / "configs/labels.yaml", "a") as file:
        file.write("\nkd: {title: KD, target: teacher, teacher: {labels: hard, loss: ce, seeds: 1}}\n")
    reason = experiment_of("stare/unet-tiny/tiny/kd/ce/seed0").not_applicable
    assert reason.startswith("teachers are chosen on validation images, and stare has none: its literature")
    assert experiment_of("phantom/unet-tiny/tiny/kd/ce/seed0").not_applicable is None
