"""Distillation: which cell is the teacher, what the losses are computed against, and the dependency between cells."""

import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from segloss import records
from segloss.engine import distillation
from segloss.engine.distillation import Teacher, TeacherError, choose_teacher
from segloss.engine.losses import training_target
from segloss.grid import ConfigError, Configs
from tests.conftest import experiment_of, grid_of, run

STUDENT = "phantom/unet-tiny/tiny/kd/ce-jml/seed0"
TEACHER = "phantom/unet-tiny/tiny/hard/ce"
KD = "\nkd: {title: KD, target: teacher, teacher: {labels: hard, loss: ce, seeds: 2}}\n"


@pytest.fixture
def kd_workplace(in_workplace: Path) -> Path:
    """A workplace with a student whose teachers are two seeds of a plain cell."""
    with open(in_workplace / "configs/labels.yaml", "a") as file:
        file.write(KD)
    (in_workplace / "configs/grids/own.yaml").write_text(
        "{title: T, datasets: [phantom], models: [unet-tiny], schedule: tiny, labels: [kd], losses: [ce-jml, lovasz],"
        " seeds: 1}"
    )
    return in_workplace


def pretend_trained(results: Path, **values: float) -> None:
    """Records of both teachers as far as ``choose_teacher`` reads them, made from one real record."""
    for name, value in values.items():
        experiment = experiment_of(f"{TEACHER}/{name}")
        cell, folder = experiment.cell, results / str(experiment)
        if cell.seed:
            shutil.copytree(results / TEACHER / "seed0", folder, dirs_exist_ok=True)
        record = json.loads((folder / "record.json").read_text())
        record |= {"cell": str(cell), "config_hash": experiment.config_hash, "settings": experiment.settings}
        record["axes"]["seed"] = cell.seed
        record["validation"]["metrics"]["mIoU"] = value
        records.write(folder, record)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("hard_weight", [0.0, 0.3, 1.0])
def test_the_students_losses_against_a_slow_reference(temperature: float, hard_weight: float) -> None:
    from mmseg.registry import MODELS

    random = np.random.default_rng(0)
    z, teacher_logits = random.normal(size=(2, 2, 3, 4, 5)) * 2
    y = random.integers(3, size=(2, 4, 5))
    valid = random.random((2, 4, 5)) > 0.2

    def softmax(values: np.ndarray) -> np.ndarray:
        exponentials = np.exp(values / temperature)
        return exponentials / exponentials.sum(1, keepdims=True)

    def per_pixel(maps: np.ndarray) -> np.ndarray:
        return np.moveaxis(maps, 1, -1)[valid]

    p, q, one_hot = softmax(z), softmax(teacher_logits), np.moveaxis(np.eye(3)[y], -1, 1)
    log_p1 = np.log(np.exp(z) / np.exp(z).sum(1, keepdims=True))
    hard_part = -(per_pixel(one_hot) * per_pixel(log_p1)).sum(1).mean()
    soft_part = -(per_pixel(q) * per_pixel(np.log(p))).sum(1).mean()
    cross_entropy = hard_weight * hard_part + (1 - hard_weight) * temperature**2 * soft_part
    p_valid, q_valid = per_pixel(p), per_pixel(q)
    difference, total = np.abs(p_valid - q_valid).sum(0), (p_valid + q_valid).sum(0)
    smooth = 1e-3
    jml = (1 - ((total - difference) / 2 + smooth) / ((total + difference) / 2 + smooth)).mean()

    teacher = Teacher(torch.nn.Identity(), hard_weight, region_hard_weight=0.0)
    labels, mask = torch.from_numpy(y), torch.from_numpy(valid)
    probabilities = torch.softmax(torch.from_numpy(teacher_logits) / temperature, 1)
    terms_of_targets = teacher.terms((labels, mask), (probabilities, mask), temperature)
    terms = [dict(loss="cross_entropy", weight=0.25), dict(loss="jaccard_metric", weight=0.75)]
    logits = torch.from_numpy(z)
    for config, expected in [
        (dict(type="SoftmaxCrossEntropyLoss"), cross_entropy),
        (dict(type="JaccardMetricLoss"), jml),
        (dict(type="CompoundLoss", terms=terms, loss_weight=2.0), 2 * (0.25 * cross_entropy + 0.75 * jml)),
    ]:
        with training_target(*terms_of_targets):
            value = MODELS.build(config)(logits, labels.masked_fill(~mask, 255))
        assert float(value) == pytest.approx(expected, rel=1e-9), config["type"]


def test_what_cannot_be_taught_is_reported_before_the_first_job(in_workplace: Path) -> None:
    labels = in_workplace / "configs/labels.yaml"
    plain = labels.read_text()
    for line, sentence in [
        ("kd: {title: KD, target: teacher}", "kd: the target teacher needs a teacher"),
        ("kd: {title: KD, target: hard, teacher: {labels: ls, loss: ce, seeds: 1}}", "the target hard has no teacher"),
        (
            "kd: {title: KD, target: teacher, teacher: {labels: l, loss: ce, seeds: 1}}",
            "teacher: unknown label scenario 'l'",
        ),
        ("kd: {title: KD, target: teacher, teacher: {labels: ls, loss: cee, seeds: 1}}", "teacher: unknown loss 'cee'"),
        (
            "kd: {title: KD, target: teacher, teacher: {labels: kd, loss: ce, seeds: 1}}",
            "would need a teacher itself",
        ),
        ("kd: {title: KD, target: teacher, teacher: {labels: ls, loss: ce, seed: 1}}", "unknown key 'seed' (did you m"),
        ("kd: {title: KD, target: hard, labelled: {fraction: 1.5}}", "1.5 is greater than the maximum of 1"),
        ("kd: {title: KD, target: hard, labelled: {list: ../x}}", "'../x' does not match"),
    ]:
        labels.write_text(f"{plain}\n{line}\n")
        with pytest.raises(ConfigError) as caught:
            _ = Configs().labels
        assert sentence in str(caught.value)


def test_a_student_waits_for_its_teachers_settings(kd_workplace: Path, edit) -> None:
    grid = grid_of("own")
    assert [str(cell) for cell in grid.cells] == [STUDENT]
    assert list(grid.skipped.values()) == ["lovasz_softmax is defined on hard labels only"]
    assert [str(teacher) for teacher in grid.experiments[0].teachers] == [f"{TEACHER}/seed0", f"{TEACHER}/seed1"]
    before = experiment_of(STUDENT).config_hash
    edit(kd_workplace / "configs/losses.yaml", "{title: CE, loss: cross_entropy}", "{title: CE, loss: focal}")
    assert experiment_of(STUDENT).config_hash != before


@pytest.mark.slow
@pytest.mark.usefixtures("forked")
def test_the_best_seed_on_validation_teaches(kd_workplace: Path) -> None:
    student, results = experiment_of(STUDENT), kd_workplace / "results"
    with pytest.raises(TeacherError, match=f"needs its teacher first: segloss train {TEACHER}/seed0"):
        choose_teacher(student, results)
    done = run("segloss", "train", STUDENT, cwd=kd_workplace, check=False)
    assert done.returncode == 1
    assert f"needs its teacher first: segloss train {TEACHER}/seed0" in done.stderr

    run("segloss", "train", f"{TEACHER}/seed0", cwd=kd_workplace)
    for values, best in [
        (dict(seed1=50.0, seed0=40.0), "seed1"),
        (dict(seed1=40.0, seed0=50.0), "seed0"),
        (dict(seed1=50.0, seed0=50.0), "seed0"),
    ]:
        pretend_trained(results, **values)
        chosen = choose_teacher(student, results)
        assert chosen["cell"] == f"{TEACHER}/{best}"
        assert chosen["candidates"] == {f"{TEACHER}/{name}": values[name] for name in ("seed0", "seed1")}

    model = distillation.load_model(results / TEACHER / "seed0")
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    (results / TEACHER / "seed0/work/weights.pt").unlink()
    with pytest.raises(TeacherError, match=r"weights.pt is missing: delete .*record.json to train that cell again"):
        choose_teacher(student, results)


@pytest.mark.slow
@pytest.mark.usefixtures("forked")
def test_teachers_first_students_alone_and_blocked_students(kd_workplace: Path, edit) -> None:
    command = ("snakemake", "--cores", "1", "--config", "grid=own")
    run(*command, cwd=kd_workplace)
    record = json.loads((kd_workplace / "results" / STUDENT / "record.json").read_text())
    scores = record["teacher"]["candidates"]
    assert record["teacher"]["cell"] == max(scores, key=scores.get)
    assert set(scores) == {f"{TEACHER}/seed0", f"{TEACHER}/seed1"}
    assert 0 < record["teacher"]["seconds"] < record["training"]["seconds"]
    trained = [kd_workplace / "results" / name / "record.json" for name in scores]
    before = [path.stat().st_mtime_ns for path in trained]

    # Deleting the student keeps the teachers.
    shutil.rmtree(kd_workplace / "results" / STUDENT)
    run(*command, cwd=kd_workplace)
    assert (kd_workplace / "results" / STUDENT / "record.json").exists()
    assert [path.stat().st_mtime_ns for path in trained] == before

    # If a setting of the teacher changes, its students are planned again.
    assert "Nothing to be done" in run(*command, "-n", cwd=kd_workplace).stdout
    edit(kd_workplace / "configs/losses.yaml", "{title: CE, loss: cross_entropy}", "{title: CE, loss: focal}")
    planned = run(*command, "-n", "--verbose", cwd=kd_workplace)
    for name in (*scores, STUDENT):
        assert f"results/{name}/record.json" in planned.stdout

    # A teacher that fails blocks its students, and the table shows it.
    schedule = kd_workplace / "configs/mmseg/schedules/tiny.py"
    schedule.write_text(schedule.read_text().replace("lr=1e-2", "lr=float('inf')"))
    shutil.rmtree(kd_workplace / "results")
    done = run(*command, cwd=kd_workplace, check=False)
    assert done.returncode != 0
    table = (kd_workplace / "reports/own/table.md").read_text()
    assert "blocked" in table
    assert f"its teacher {TEACHER}/seed0 failed: the loss is" in table


@pytest.mark.slow
@pytest.mark.usefixtures("forked")
def test_a_student_killed_and_resumed_is_the_same(kd_workplace: Path) -> None:
    from tests.engine.test_cell import assert_same, counts, start, wait_for_iteration

    results = kd_workplace / "results"
    for number in (0, 1):
        run("segloss", "train", f"{TEACHER}/seed{number}", cwd=kd_workplace)
    run("segloss", "train", STUDENT, cwd=kd_workplace)
    undisturbed = counts(results, STUDENT)
    shutil.rmtree(results / STUDENT)
    process = start(kd_workplace, "results", STUDENT)
    wait_for_iteration(process, 9)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    run("segloss", "train", STUDENT, cwd=kd_workplace)
    assert_same(counts(results, STUDENT), undisturbed)
    record = json.loads((results / STUDENT / "record.json").read_text())
    assert record["training"]["started_at_iteration"] >= 8

    # With another teacher the student is another training, though no setting has changed.
    weights = results / record["teacher"]["cell"] / "work/weights.pt"
    state = torch.load(weights, weights_only=True)
    for value in state["model"].values():
        if value.is_floating_point():
            value.add_(0.05)
    torch.save(state, weights)
    run("segloss", "train", STUDENT, cwd=kd_workplace)
    record = json.loads((results / STUDENT / "record.json").read_text())
    assert record["training"]["started_at_iteration"] == 0
    assert any(value.tobytes() != undisturbed[name].tobytes() for name, value in counts(results, STUDENT).items())
