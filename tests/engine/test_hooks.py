"""Hooks and loaders of a training, without training: model selection, the log, identities, two orders of images."""

import math
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS

from segloss import losses
from segloss.engine.data import SampleSequence
from segloss.engine.distillation import choose_teacher, training_identity
from segloss.engine.machine import Machine
from segloss.engine.model_selection import BestWeightsHook
from segloss.engine.runner import build_runner
from segloss.engine.training import TrainingFailure
from segloss.engine.training_log import LogHook
from tests.conftest import experiment_of
from tests.engine.conftest import config_of
from tests.written_records import write_cell


def made_runner(model: torch.nn.Module, iterations: int) -> SimpleNamespace:
    """The attributes of a runner that hooks read."""
    logger = SimpleNamespace(info=lambda text: None)
    loop = SimpleNamespace(max_iters=iterations, iter=iterations)
    schedule = SimpleNamespace(get_lr=lambda: {"lr": [0.1]})
    return SimpleNamespace(model=model, train_loop=loop, logger=logger, last_checkpoint=0, optim_wrapper=schedule)


def select(rule: str, values: list[float], interval: int = 1) -> tuple[BestWeightsHook, dict]:
    """The hook after validations with these values, and the weights that it selects; a weight is its iteration."""
    model, seen = torch.nn.Linear(1, 1), iter(values)
    runner = made_runner(model, iterations=len(values) * interval)
    hook = BestWeightsHook(rule, interval, lambda _: next(seen), lambda row, step: None, nullcontext)
    for index in range(len(values) * interval):
        torch.nn.init.constant_(model.weight, index + 1)
        hook.after_train_iter(runner, index)
    return hook, hook.selected(runner)


@pytest.mark.parametrize(
    ("values", "iteration"),
    [([1.0, 3.0, 2.0], 2), ([3.0, 3.0, 3.0], 1), ([1.0, 3.0, 3.0], 2), ([1.0, 2.0, 3.0], 3), ([0.0, 0.0], 1)],
)
def test_the_best_weights_are_selected_and_the_earliest_on_ties(values: list[float], iteration: int) -> None:
    hook, selected = select("best", values)
    assert selected["iteration"] == iteration
    assert float(selected["model"]["weight"]) == iteration
    assert hook.validations == [{"iteration": n, "mIoU": value} for n, value in enumerate(values, 1)]


def test_the_last_weights_are_selected_without_a_validation() -> None:
    hook, selected = select("last", [9.0, 1.0])
    assert selected["iteration"] == 2
    assert hook.validations == []


def test_a_selection_continues_from_its_state() -> None:
    hook, _ = select("best", [1.0, 3.0], interval=4)
    assert [row["iteration"] for row in hook.validations] == [4, 8]
    resumed = BestWeightsHook("best", 4, lambda _: 2.0, lambda row, step: None, nullcontext)
    resumed.load_state_dict(hook.state_dict())
    resumed.after_train_iter(made_runner(torch.nn.Linear(1, 1), 12), 11)
    assert resumed.selected(None)["iteration"] == 8


def logged(losses: list[float], interval: int = 2) -> tuple[LogHook, list]:
    rows: list = []
    hook = LogHook(lambda row, step: rows.append((step, row)), interval)
    runner = made_runner(torch.nn.Linear(1, 1), iterations=len(losses))
    hook.before_train(runner)
    for index, loss in enumerate(losses):
        hook.after_train_iter(runner, index, {"inputs": [0, 0]}, {"loss": torch.tensor(loss)})
    return hook, rows


def test_rows_hold_the_means_since_the_last_row() -> None:
    _, rows = logged([1.0, 3.0, 5.0, 7.0, 9.0])
    assert [(step, row["train/loss"]) for step, row in rows] == [(2, 2.0), (4, 6.0), (5, 9.0)]
    assert all(row["train/lr"] == 0.1 for _, row in rows)


def test_a_row_holds_the_terms_of_a_compound_loss_in_its_iteration() -> None:
    terms = [{"loss": "cross_entropy", "weight": 0.25}, {"loss": "dice", "weight": 0.75}]
    head = torch.nn.Module()
    head.loss_decode = MODELS.build(dict(type="CompoundLoss", terms=terms))
    model = torch.nn.ModuleDict({"decode_head": head, "auxiliary_head": torch.nn.Linear(1, 1)})
    hook = LogHook(lambda row, step: None, interval=2)
    runner = made_runner(model, iterations=5)
    hook.before_train(runner)
    for index in range(5):
        torch.manual_seed(index)
        logits, labels = torch.randn(2, 3, 4, 4, requires_grad=True), torch.randint(3, (2, 4, 4))
        hook.before_train_iter(runner, index)
        loss = head.loss_decode(logits, labels)
        hook.after_train_iter(runner, index, {"inputs": [0, 0]}, {"loss": loss})
    assert [row["iteration"] for row in hook.rows] == [2, 4, 5]
    last = hook.rows[-1]  # of one iteration: its loss is the sum of its terms
    names = ("cross_entropy", "dice")
    assert sum(last[f"train/decode.{name}.value"] for name in names) == pytest.approx(last["train/loss"], rel=1e-6)
    for name, weight in zip(names, (0.25, 0.75), strict=True):
        (gradient,) = torch.autograd.grad(weight * losses.get(name)(logits, labels), logits)
        assert last[f"train/decode.{name}.gradient_norm"] == pytest.approx(gradient.norm().item(), rel=1e-6)
    hook.before_train_iter(runner, 2)
    assert not head.loss_decode.report_terms  # terms are computed only in the iterations of rows


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_stops_the_training_and_names_its_iteration(loss: float) -> None:
    with pytest.raises(TrainingFailure, match=rf"the loss is {loss} at iteration 3 of 4 \(no checkpoint yet\)"):
        logged([1.0, 1.0, loss, 1.0])


def test_a_resumed_log_goes_on_with_its_rows_and_its_unfinished_one() -> None:
    hook, _ = logged([1.0, 3.0, 5.0, 7.0])
    hook.values = {"loss": [torch.tensor(2.0)]}
    rows: list = []
    resumed = LogHook(lambda row, step: rows.append(step), interval=6)
    resumed.load_state_dict(hook.state_dict())
    resumed.replay(resumed.rows, [{"iteration": 3, "mIoU": 30.0}])
    assert rows == [2, 3, 4]
    resumed.before_train(made_runner(torch.nn.Linear(1, 1), 6))
    resumed.after_train_iter(made_runner(torch.nn.Linear(1, 1), 6), 5, {"inputs": [0]}, {"loss": torch.tensor(4.0)})
    assert resumed.rows[-1]["train/loss"] == 3.0


def test_earlier_rows_and_validations_are_logged_again_in_the_order_of_their_iterations() -> None:
    logged_again: list = []
    hook = LogHook(lambda row, step: logged_again.append((step, row)), interval=2)
    rows = [{"iteration": 2, "train/loss": 2.0}, {"iteration": 4, "train/loss": 6.0}]
    hook.replay(rows, [{"iteration": 3, "mIoU": 10.0}, {"iteration": 4, "mIoU": 20.0}])
    assert logged_again == [
        (2, {"train/loss": 2.0}),
        (3, {"val/mIoU": 10.0}),
        (4, {"train/loss": 6.0}),
        (4, {"val/mIoU": 20.0}),
    ]


def test_other_settings_labels_teachers_and_pretrained_weights_are_other_trainings() -> None:
    teacher, pretrained = {"weights_sha256": "t"}, {"sha256": "p"}
    trainings = [
        ("a", "d", None, None),
        ("b", "d", None, None),
        ("a", "e", None, None),
        ("a", "d", teacher, None),
        ("a", "d", {"weights_sha256": "u"}, None),
        ("a", "d", None, pretrained),
        ("a", "d", teacher, pretrained),
    ]
    assert len({training_identity(*training) for training in trainings}) == len(trainings)
    assert training_identity("a", "d", None, None) == training_identity("a", "d", None, None)


def test_labelled_and_unlabelled_images_come_in_orders_and_augmentations_of_their_own(in_workplace: Path) -> None:
    cell = "phantom/unet-tiny/tiny/mt-8th/ce-jml/seed0"
    machine = Machine("cpu", 1, 0, 30)
    init_default_scope("mmseg")
    runner = build_runner(config_of(cell), in_workplace / "work", machine, 0, [], experiment_of(cell))
    loaders = runner.train_dataloader
    labelled, unlabelled = loaders.labelled.dataset, loaders.unlabelled.dataset
    draws = [[images[n]["data_samples"].metainfo["draw"] for n in range(4)] for images in (labelled, unlabelled)]
    assert not set(draws[0]) & set(draws[1])
    # With equally many images the orders differ, too.
    sequences = (labelled, SampleSequence(labelled.dataset, unlabelled.seed, 20))
    orders = [[images[n]["data_samples"].name for n in range(20)] for images in sequences]
    assert orders[0] != orders[1]


def test_the_seed_with_the_best_validation_teaches_and_the_lowest_on_ties(in_workplace: Path) -> None:
    with open(in_workplace / "configs/labels.yaml", "a") as file:
        file.write("\nkd: {title: KD, target: teacher, teacher: {labels: hard, loss: ce, seeds: 3}}\n")
    student = experiment_of("phantom/unet-tiny/tiny/kd/ce-jml/seed0")
    for number, values in enumerate(([40.0, 50.0, 45.0], [50.0, 40.0, 50.0])):
        results = in_workplace / f"results{number}"
        for teacher, value in zip(student.teachers, values, strict=True):
            write_cell(results, teacher.cell, validation__metrics__mIoU=value)
            weights = results / str(teacher) / "work/weights.pt"
            weights.parent.mkdir()
            weights.write_bytes(str(teacher).encode())
        entry = choose_teacher(student, results)
        assert entry["cell"].endswith(("hard/ce/seed1", "hard/ce/seed0")[number])
        assert list(entry["candidates"].values()) == values
