"""Real cells: repeated or killed and resumed, the same to the bit, with and without W&B; failures leave a reason."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import BIN, TINY_SCHEDULE, experiment_of, run

CELL = "phantom/unet-tiny/tiny/random-rater/ce-jml/seed0"
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("forked")]


def counts(folder: Path, cell: str = CELL) -> dict[str, np.ndarray]:
    with np.load(folder / cell / "counts.npz") as file:
        return dict(file)


def assert_same(actual: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert actual.keys() == expected.keys()
    for name in actual:
        assert actual[name].dtype == expected[name].dtype
        assert actual[name].tobytes() == expected[name].tobytes(), name


def trained(workplace: Path, results: str, *options: str, cell: str = CELL, **variables: str) -> dict[str, np.ndarray]:
    run("segloss", "train", cell, "--results", results, *options, cwd=workplace, **variables)
    return counts(workplace / results, cell)


def start(workplace: Path, results: str, cell: str = CELL) -> subprocess.Popen:
    """A cell that saves after every iteration, running in the background."""
    command = [str(BIN / "segloss"), "train", cell, "--results", results, "--checkpoint-seconds", "0"]
    environment = {**os.environ, "WANDB_MODE": "offline", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, cwd=workplace, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def wait_for_iteration(process: subprocess.Popen, iteration: int) -> None:
    for line in process.stdout:
        if f"iteration {iteration}/" in line:
            return
    raise AssertionError(f"the cell ended before iteration {iteration}")


def losses(workplace: Path, results: str) -> list[tuple[int, float]]:
    """Iterations and training losses of a record."""
    rows = json.loads((workplace / results / CELL / "record.json").read_text())["training"]["rows"]
    return [(row["iteration"], row["train/loss"]) for row in rows]


def iterations_done_at_start(workplace: Path, results: str) -> int:
    return json.loads((workplace / results / CELL / "record.json").read_text())["training"]["started_at_iteration"]


def test_repeated_killed_resumed_untracked_and_with_workers_it_is_the_same_cell(workplace: Path) -> None:
    undisturbed = trained(workplace, "undisturbed", WANDB_MODE="offline")
    assert_same(trained(workplace, "again", WANDB_MODE="offline"), undisturbed)
    assert_same(trained(workplace, "untracked", WANDB_MODE="disabled"), undisturbed)
    assert_same(trained(workplace, "workers", "--workers", "2"), undisturbed)

    process = start(workplace, "killed")
    wait_for_iteration(process, 7)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (workplace / "killed" / CELL / "counts.npz").exists()
    assert_same(trained(workplace, "killed"), undisturbed)
    # An iteration's line is printed just before its checkpoint is saved.
    assert 6 <= iterations_done_at_start(workplace, "killed") < 16
    assert losses(workplace, "killed") == losses(workplace, "undisturbed")
    assert [iteration for iteration, _ in losses(workplace, "killed")] == list(range(1, 17))

    process = start(workplace, "terminated")
    wait_for_iteration(process, 3)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert not (workplace / "terminated" / CELL / "failure.json").exists()
    assert_same(trained(workplace, "terminated"), undisturbed)
    assert 3 <= iterations_done_at_start(workplace, "terminated") < 16

    # A finished training whose outputs are lost is evaluated again, not trained again: its weights are kept.
    (workplace / "terminated" / CELL / "counts.npz").unlink()
    assert not (workplace / "terminated" / CELL / "work" / "checkpoint.pt").exists()
    assert_same(trained(workplace, "terminated"), undisturbed)
    assert iterations_done_at_start(workplace, "terminated") == 16
    assert losses(workplace, "terminated") == losses(workplace, "undisturbed")

    other_seed = trained(workplace, "undisturbed", cell=CELL.replace("seed0", "seed1"))
    assert any(array.tobytes() != other_seed[name].tobytes() for name, array in undisturbed.items())


def test_a_state_of_other_settings_or_a_broken_one_is_not_resumed(workplace: Path, edit) -> None:
    trained(workplace, "results")
    checkpoint = workplace / "results" / CELL / "work" / "weights.pt"
    whole = checkpoint.read_bytes()
    checkpoint.write_bytes(whole[: len(whole) // 2])
    trained(workplace, "results")
    assert iterations_done_at_start(workplace, "results") == 0
    edit(workplace / "configs/mmseg/schedules/tiny.py", "lr=1e-2", "lr=2e-2")
    trained(workplace, "results")
    assert iterations_done_at_start(workplace, "results") == 0


def test_the_record_documents_what_was_done(workplace: Path, in_workplace: Path) -> None:
    from segloss import records

    cell = "phantom/unet-tiny/tiny/hard/jml/seed0"
    trained(workplace, "results", cell=cell)
    record = records.read(workplace / "results" / cell / "record.json")
    assert record["config_hash"] == experiment_of(cell).config_hash
    assert record["config"]["model"]["decode_head"]["loss_decode"]["type"] == "JaccardMetricLoss"
    assert record["config"]["model"]["type"] == "EncoderDecoder"
    assert record["config"]["test_dataset"]["folder"] == "phantom"
    assert str(workplace) not in json.dumps(record["config"])  # records are published
    assert {"python", "torch", "mmsegmentation", "mmengine", "numpy", "segloss"} <= set(record["versions"])
    assert record["seconds"] > record["training"]["seconds"] > 0
    assert 2**27 < record["peak_memory_bytes"] < 2 * 2**30
    assert record["training"]["rows"][-1]["iteration"] == 16
    assert record["data"]["images"] == 64
    assert 0 <= record["metrics"]["mIoU"] <= 100
    # Unrounded, whereas MMSegmentation's own metric is rounded to two digits.
    assert round(record["metrics"]["mIoU"], 2) != record["metrics"]["mIoU"]


def test_a_cell_that_fails_leaves_its_reason_and_a_later_success_takes_it_away(workplace: Path, edit) -> None:
    schedule = workplace / "configs/mmseg/schedules/tiny.py"
    schedule.write_text(TINY_SCHEDULE.replace("lr=1e-2", "lr=float('inf')"))
    done = run("segloss", "train", CELL, cwd=workplace, check=False)
    assert done.returncode == 1
    failure = json.loads((workplace / "results" / CELL / "failure.json").read_text())
    assert failure["reason"] == "the loss is nan at iteration 2 of 16 (no checkpoint yet)"
    assert "TrainingFailure" in failure["traceback"]
    schedule.write_text(TINY_SCHEDULE)
    run("segloss", "train", CELL, cwd=workplace)
    assert not (workplace / "results" / CELL / "failure.json").exists()


@pytest.mark.parametrize(
    ("cell", "sentence"),
    [
        (
            "phantom/unet-tiny/tiny/raters/lovasz/seed0",
            "is not applicable: lovasz_softmax is defined on hard labels only",
        ),
        ("phantom/unet-tiny/tiny/hard/jmll/seed0", "segloss: unknown loss 'jmll' (did you mean 'jml'?)"),
        ("camvid-cpu/unet-tiny/tiny/hard/jml/seed0", "/nowhere/camvid; with network access: segloss prepare camvid"),
        ("../../x/hard/jml/seed0", "segloss: '../../x/hard/jml/seed0' is not a cell"),
    ],
)
def test_what_cannot_be_trained_is_one_sentence(workplace: Path, cell: str, sentence: str) -> None:
    done = run("segloss", "train", cell, "--data-root", "nowhere", cwd=workplace, check=False)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_a_model_of_the_zoo_trains(workplace: Path) -> None:
    name = "cgnet_fcn_4xb4-60k_cityscapes-680x680"
    cell = f"phantom/{name}/tiny/bls/ce-jml/seed0"
    trained(workplace, "results", cell=cell)
    record = json.loads((workplace / "results" / cell / "record.json").read_text())
    assert record["config"]["model"]["backbone"]["type"] == "CGNet"
    assert record["config"]["model"]["decode_head"]["loss_decode"]["type"] == "CompoundLoss"
    assert record["config"]["model"]["decode_head"]["num_classes"] == 5


def test_ctrl_c_saves_and_stops_at_once(workplace: Path) -> None:
    process = start(workplace, "interrupted")
    wait_for_iteration(process, 2)
    process.send_signal(signal.SIGINT)
    started = time.monotonic()
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT
    assert time.monotonic() - started < 20


def record_of(workplace: Path, results: str) -> dict:
    return json.loads((workplace / results / CELL / "record.json").read_text())


def test_the_best_weights_on_validation_are_those_of_an_undisturbed_training(workplace: Path) -> None:
    trained(workplace, "last")
    schedule = workplace / "configs/mmseg/schedules/tiny.py"
    schedule.write_text(TINY_SCHEDULE + '\ncheckpoint = "best"\nvalidation_interval = 3\n')
    undisturbed = trained(workplace, "undisturbed")
    process = start(workplace, "killed")
    wait_for_iteration(process, 8)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert_same(trained(workplace, "killed"), undisturbed)

    record, resumed, last = (record_of(workplace, results) for results in ("undisturbed", "killed", "last"))
    assert resumed["training"]["started_at_iteration"] > 0
    chosen = record["training"]["checkpoint"]
    assert resumed["training"]["checkpoint"] == chosen
    # The last iteration is validated too; of equal values the first is chosen.
    assert [row["iteration"] for row in chosen["validations"]] == [3, 6, 9, 12, 15, 16]
    best = max(chosen["validations"], key=lambda row: row["mIoU"])
    assert chosen["iteration"] == best["iteration"]
    assert record["validation"]["metrics"]["mIoU"] == best["mIoU"] == resumed["validation"]["metrics"]["mIoU"]
    # Validation does not change the training.
    assert losses(workplace, "undisturbed") == losses(workplace, "last")
    assert chosen["validations"][-1]["mIoU"] == last["validation"]["metrics"]["mIoU"]
    assert last["training"]["checkpoint"] == {"rule": "last", "iteration": 16, "validations": []}
