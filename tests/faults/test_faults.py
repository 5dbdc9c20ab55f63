"""Deliberate faults in grid, records, runtime, engine and workflow: each must turn a named test red.

Each changes one line of a copy of the package; ``tests/losses/test_loss_faults.py`` does the same for the losses.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import segloss

PACKAGE = Path(segloss.__file__).parent

CHECKPOINTS = "tests/engine/test_checkpoints.py"
EVALUATION = "tests/engine/test_evaluation.py"
FORKSERVER = "tests/runtime/test_forkserver.py"
GRID = "tests/grid/test_grid.py"
HOOKS = "tests/engine/test_hooks.py"
RECORDS = "tests/records/test_records.py"
RESOURCES = "tests/grid/test_resources.py"
RUN_LOCK = "tests/records/test_run_lock.py"
SEMI = "tests/engine/test_semi_supervised.py"
STATES = "tests/records/test_states.py"
STRICT = "tests/grid/test_strict_files.py"

# File, right, wrong, the test that must fail (``path::name``).
FAULTS = [
    # Evaluation
    (
        "metrics/temperature.py",
        "return rescale(probabilities, self.temperature)",
        "return rescale(probabilities, 1 / self.temperature)",
        f"{EVALUATION}::test_the_scaled_metrics_are_those_of_the_logits_divided_by_the_temperature",
    ),
    (
        "engine/evaluation.py",
        "calibrate(probabilities), labels",
        "probabilities, labels",
        f"{EVALUATION}::test_the_scaled_metrics_are_those_of_the_logits_divided_by_the_temperature",
    ),
    (
        "engine/evaluation.py",
        "fit.update(probabilities[some], labels[some], valid[some])",
        "fit.update(probabilities[some], labels[some].roll(1), valid[some])",
        f"{EVALUATION}::test_the_fitted_calibrators_of_an_overconfident_model_improve_it",
    ),
    (
        "engine/evaluation.py",
        "    model.train(training)\n",
        "",
        f"{EVALUATION}::test_validation_leaves_the_model_in_its_mode_and_agrees_with_all_metrics",
    ),
    (
        "engine/evaluation.py",
        'if reference == "majority":',
        "if False:",
        "tests/engine/test_soft_truth.py::test_the_soft_truth_of_raters_is_their_mean_and_the_hard_one_the_majority",
    ),
    (
        "engine/inference.py",
        "round(scale * length)",
        "int(scale * length)",
        "tests/engine/test_inference.py::test_probabilities_are_the_means_of_a_slow_reference",
    ),
    # Training
    (
        "engine/runner.py",
        "config.seed + 2**31",
        "config.seed",
        f"{HOOKS}::test_labelled_and_unlabelled_images_come_in_orders_and_augmentations_of_their_own",
    ),
    (
        "engine/distillation.py",
        "[config_hash, training_data, *weights]",
        "[config_hash, *weights]",
        f"{HOOKS}::test_other_settings_labels_teachers_and_pretrained_weights_are_other_trainings",
    ),
    (
        "engine/distillation.py",
        "max(candidates, key=candidates.get)",
        "min(candidates, key=candidates.get)",
        f"{HOOKS}::test_the_seed_with_the_best_validation_teaches_and_the_lowest_on_ties",
    ),
    (
        "engine/distillation.py",
        "* temperature**2",
        "* temperature",
        "tests/engine/test_distillation.py::test_the_students_losses_against_a_slow_reference",
    ),
    (
        "engine/model_selection.py",
        "self.best is None or value > max(",
        "self.best is None or value >= max(",
        f"{HOOKS}::test_the_best_weights_are_selected_and_the_earliest_on_ties",
    ),
    (
        "engine/model_selection.py",
        "tensor.detach().cpu().clone()",
        "tensor.detach().cpu()",
        f"{HOOKS}::test_the_best_weights_are_selected_and_the_earliest_on_ties",
    ),
    (
        "engine/training_log.py",
        "if not math.isfinite(loss):",
        "if math.isnan(loss):",
        f"{HOOKS}::test_a_loss_that_is_not_finite_stops_the_training_and_names_its_iteration",
    ),
    (
        "engine/training_log.py",
        'return {"rows": self.rows, "values": self.values}',
        'return {"rows": self.rows, "values": {}}',
        f"{HOOKS}::test_a_resumed_log_goes_on_with_its_rows_and_its_unfinished_one",
    ),
    (
        "engine/checkpoints.py",
        "damaged = archive.testzip()",
        "damaged = None",
        f"{CHECKPOINTS}::test_any_damage_falls_back_to_the_state_before",
    ),
    (
        "engine/checkpoints.py",
        'state is not None and state.get("config_hash") == config_hash',
        "state is not None",
        f"{CHECKPOINTS}::test_a_state_of_other_settings_is_never_used",
    ),
    (
        "engine/checkpoints.py",
        "        os.replace(path, previous(path))\n",
        "        pass\n",
        f"{CHECKPOINTS}::test_the_newest_state_is_used_and_the_one_before_kept",
    ),
    (
        "engine/checkpoints.py",
        'map_location="cpu", weights_only=True',
        'map_location="cpu", weights_only=False',
        f"{CHECKPOINTS}::test_nothing_in_a_state_is_executed",
    ),
    (
        "engine/data.py",
        "SeedSequence((self.seed, number, place))",
        "SeedSequence((self.seed, 0, place))",
        "tests/engine/test_data.py::test_augmentation_differs_between_visits_of_one_image",
    ),
    (
        "engine/semi_supervised.py",
        "min(1 - 1 / (self.steps + 1), self.momentum)",
        "self.momentum",
        f"{SEMI}::test_the_average_follows_its_definition",
    ),
    (
        "engine/semi_supervised.py",
        "math.exp(-5 * (1 - self.progress / self.ramp_up) ** 2)",
        "math.exp(-5 * (1 - self.progress / self.ramp_up))",
        f"{SEMI}::test_the_weight_grows",
    ),
    (
        "engine/semi_supervised.py",
        "old[number - 1, ..., top:bottom, left:right]",
        "old[number, ..., top:bottom, left:right]",
        f"{SEMI}::test_cutmix_by_hand",
    ),
    (
        "engine/class_counts.py",
        "write_json(remembered, counts)",
        "None",
        "tests/engine/test_config.py::test_class_counts_are_measured_once_and_check_the_labels",
    ),
    # Grid
    (
        "grid/applicability.py",
        'or scenario.get("mean_teacher", {}).get("soft")',
        "",
        f"{GRID}::test_a_soft_mean_teacher_needs_a_loss_of_soft_targets",
    ),
    (
        "grid/applicability.py",
        'target.get("source") == "raters" and not find(source).raters',
        "False",
        f"{GRID}::test_scenarios_with_raters_need_a_data_set_with_raters",
    ),
    (
        "grid/resolution.py",
        'for kind, file in files.items()},\n        "labels": scenario,',
        "for kind, file in files.items()},",
        f"{GRID}::test_only_what_decides_a_result_changes_its_hash",
    ),
    (
        "grid/resolution.py",
        '{"teachers": [teacher.settings for teacher in teachers]}',
        "{}",
        "tests/engine/test_distillation.py::test_a_student_waits_for_its_teachers_settings",
    ),
    (
        "grid/resolution.py",
        "if first.trained:",
        "if False:",
        f"{GRID}::test_a_cell_resolved_after_another_seed_equals_one_resolved_alone",
    ),
    (
        "grid/cells.py",
        "hashlib.sha256(str(cell).encode())",
        "hashlib.sha256(str(cell)[:-1].encode())",
        f"{GRID}::test_seeds_are_stable_and_all_different",
    ),
    (
        "grid/mmengine_files.py",
        "        values.update(literals(tree))\n",
        "        values = literals(tree) | values\n",
        f"{GRID}::test_a_file_overrides_its_base",
    ),
    (
        "grid/mmengine_files.py",
        "if value not in (None, [])",
        "if True",
        f"{STRICT}::test_the_hash_of_a_config_does_not_depend_on_the_python_version",
    ),
    (
        "grid/mmengine_files.py",
        'NOT_HASHED = ("resources",)',
        "NOT_HASHED = ()",
        f"{RESOURCES}::test_resources_are_no_part_of_a_cell",
    ),
    (
        "grid/resources.py",
        "max(values, default=DEFAULTS[key])",
        "min(values, default=DEFAULTS[key])",
        f"{RESOURCES}::test_the_largest_request_counts_and_else_the_default",
    ),
    (
        "grid/yaml_files.py",
        '"a duplicate" if key in seen else None',
        "None",
        f"{STRICT}::test_a_duplicate_key_is_refused_at_any_depth_and_merged_keys_may_be_overridden",
    ),
    (
        "grid/yaml_files.py",
        '_StrictLoader.add_implicit_resolver("tag:yaml.org,2002:float", FLOAT, list("-+0123456789."))',
        "",
        f"{STRICT}::test_numbers_are_those_of_yaml_1_2",
    ),
    # Records
    (
        "records/states.py",
        "if config_hash != experiment.config_hash:",
        "if False:",
        f"{STATES}::test_other_settings_make_a_cell_stale_and_other_comments_do_not",
    ),
    (
        "records/states.py",
        "if recorded[name] != value]",
        "if False]",
        f"{STATES}::test_other_data_make_a_cell_stale_and_unknown_data_do_not",
    ),
    (
        "records/states.py",
        "return counts_problem(folder, counts)",
        "return None",
        f"{STATES}::test_lost_counts_make_a_cell_stale",
    ),
    (
        "records/states.py",
        "if cell != str(experiment.cell):",
        "if False:",
        f"{RECORDS}::test_a_record_copied_into_another_cells_folder_is_stale_and_forged_refused",
    ),
    (
        "records/states.py",
        "if not has_record and (reason",
        "if (reason",
        f"{STATES}::test_a_failed_teacher_blocks_its_student_until_it_has_a_record",
    ),
    (
        "records/verification.py",
        'json.dumps(record["settings"]["labels"].get("labelled"))',
        "None",
        f"{STATES}::test_training_data_may_differ_between_label_scenarios_alone",
    ),
    (
        "records/verification.py",
        "TOLERANCE = 1e-9",
        "TOLERANCE = 1e-5",
        f"{STATES}::test_a_metric_that_is_off_by_a_millionth_is_refused_and_rounding_is_not",
    ),
    (
        "records/verification.py",
        "text != _sealed(text.rpartition(SEAL)[0])",
        "False",
        f"{RECORDS}::test_a_changed_value_is_stale_and_with_a_new_checksum_refused",
    ),
    (
        "records/verification.py",
        'if record["cell"] in cells:',
        "if False:",
        f"{RECORDS}::test_two_records_of_one_cell_are_refused",
    ),
    (
        "records/verification.py",
        "if value != reference:",
        'if what != "metrics version" and value != reference:',
        f"{RECORDS}::test_what_cannot_be_compared_is_refused_and_both_are_named",
    ),
    (
        "records/run_lock.py",
        "        finally:\n            file.truncate(0)\n",
        "        finally:\n            pass\n",
        f"{RUN_LOCK}::test_a_killed_cell_a_running_one_and_one_that_never_started_are_distinguished",
    ),
    (
        "files.py",
        "            os.fsync(file.fileno())\n",
        "",
        f"{STATES}::test_counts_records_and_predictions_survive_a_power_loss",
    ),
    (
        "files.py",
        "        os.fsync(folder)\n",
        "        pass\n",
        f"{STATES}::test_a_record_is_flushed_before_it_has_its_name",
    ),
    (
        "metrics/counts.py",
        "write_atomic(Path(path), lambda file: np.savez_compressed(file, **arrays, sha256=checksum))",
        "np.savez_compressed(path, **arrays, sha256=checksum)",
        f"{STATES}::test_counts_records_and_predictions_survive_a_power_loss",
    ),
    # Runtime and workflow
    (
        "runtime/forkserver.py",
        "return current == self.imported",
        "return True",
        f"{FORKSERVER}::test_a_server_forks_no_cell_once_the_code_has_changed",
    ),
    (
        "runtime/forkserver.py",
        "NUMBER.pack(os.waitstatus_to_exitcode(status))",
        "NUMBER.pack(0)",
        f"{FORKSERVER}::test_exit_statuses_and_signals_pass_both_ways_and_nobody_waits_for_a_server_that_ends",
    ),
    (
        "runtime/leases.py",
        "slot * (WHOLE // share)",
        "0",
        "tests/runtime/test_leases.py::test_shares_of_different_sizes_keep_to_each_other",
    ),
    (
        "workflow.py",
        "            dag.forcefiles.add(record)\n",
        "            pass\n",
        f"{STATES}::test_a_stale_cell_and_a_stale_teacher_are_forced",
    ),
    (
        "workflow.py",
        "experiments = {entry.cell: entry for entry in all_experiments(grid)}",
        "experiments = {entry.cell: entry for entry in grid.experiments}",
        f"{STATES}::test_a_stale_cell_and_a_stale_teacher_are_forced",
    ),
    (
        "workflow.py",
        'map(shlex.quote, (self.grid.argument, self.results, f"{self.report}/results.csv"))',
        '(self.grid.argument, self.results, f"{self.report}/results.csv")',
        f"{STATES}::test_the_partial_report_is_one_quoted_command",
    ),
    (
        "workflow.py",
        r'NOT_IN_PATHS = re.compile(r"[{}*?\[\]\x00-\x1f]")',
        'NOT_IN_PATHS = re.compile(r"[{}]")',
        "tests/test_paths.py::test_wildcards_and_control_characters_are_refused",
    ),
]


@pytest.fixture(scope="module")
def pytest_on(
    tmp_path_factory: pytest.TempPathFactory, phantom: Path
) -> Iterator[Callable[[Path, list[str]], tuple[int, str]]]:
    """Run tests against the package in a folder; returns pytest's exit status and the end of its output."""
    log = tmp_path_factory.mktemp("faults") / "log"
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("nursery.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "SEGLOSS_TEST_PHANTOM": str(phantom)},
    )
    assert process.stdout.readline() == "ready\n"

    def run(package: Path, tests: list[str]) -> tuple[int, str]:
        process.stdin.write(json.dumps({"package": str(package), "tests": tests, "log": str(log)}) + "\n")
        process.stdin.flush()
        return int(process.stdout.readline()), log.read_text(errors="replace")[-3000:]

    yield run
    process.communicate()


def copy_package(folder: Path) -> Path:
    """A copy of the package with its byte code; Python recompiles a module whose modification time has changed."""
    return Path(shutil.copytree(PACKAGE, folder / "segloss"))


@pytest.mark.slow
@pytest.mark.xdist_group("faults")
def test_without_a_fault_the_named_tests_are_green(pytest_on, tmp_path: Path) -> None:
    copy_package(tmp_path)
    status, output = pytest_on(tmp_path, sorted({test for *_, test in FAULTS}))
    assert status == 0, output


@pytest.mark.slow
@pytest.mark.xdist_group("faults")
@pytest.mark.parametrize(
    ("file", "right", "wrong", "test"), FAULTS, ids=[f"{file}-{right.strip()[:40]}" for file, right, _, _ in FAULTS]
)
def test_a_fault_is_noticed(pytest_on, tmp_path: Path, file: str, right: str, wrong: str, test: str) -> None:
    path = copy_package(tmp_path) / file
    text = path.read_text(encoding="utf-8")
    assert text.count(right) == 1, f"{file} holds {text.count(right)} times: {right}"
    path.write_text(text.replace(right, wrong), encoding="utf-8")
    compile(path.read_text(encoding="utf-8"), str(path), "exec")
    status, output = pytest_on(tmp_path, [test])
    assert status == 1, output  # 1: a test failed; anything else: none was run, or the fault is no fault of the code
