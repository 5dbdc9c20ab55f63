"""The promises of README.md and docs/, each quoted literally, with the tests that check it."""

import ast
import importlib.util
import inspect
import re
from pathlib import Path

import pytest

from segloss.losses import CATALOGUE

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "configs/datasets/README.md", *sorted(ROOT.glob("docs/*.md"))]
# A sentence, or the part of it that is a promise, and the tests that would fail if it did not hold.
PROMISES: dict[str, list[str]] = {
    # README
    "One command trains a grid of losses × label scenarios × data sets × models × seeds": [
        "tests/test_workflow.py::test_a_grid_from_nothing_to_its_tables_and_back"
    ],
    "paper-style tables and a page of mIoU and calibration error (ECE)": [
        "tests/reports/test_paper.py::test_tables_compile_without_an_overfull_box",
        "tests/reports/test_page_browser.py::test_the_page_of_a_real_training",
    ],
    "exact with void pixels and with soft labels, as functions, as `nn.Module` classes and in": [
        "tests/losses/test_loss_contract.py::test_on_a_class_map",
        "tests/losses/test_loss_contract.py::test_on_probabilities",
        "tests/engine/test_losses_in_mmseg.py::test_the_module_is_the_function_without_void",
    ],
    "Python 3.11 to 3.13 and git: no GPU, no account, no downloads besides the pinned packages.": [
        "tests/test_readme.py::test_the_python_versions_are_those_of_the_makefile_and_the_package",
        "tests/test_environment.py::test_the_whole_tree_is_pinned",
        "tests/datasets/test_phantom.py::test_bytes_are_the_same_in_another_process",
        "tests/test_workflow.py::test_the_demo_is_planned_within_seconds",
    ],
    "Mean ± sample standard deviation over three seeds, percent, best in bold": [
        "tests/reports/test_tables.py::test_mean_and_sample_deviation_over_seeds",
        "tests/reports/test_tables.py::test_best_is_decided_by_direction_and_by_what_is_shown",
        "tests/test_readme.py::test_the_table_is_that_of_the_shipped_report",
    ],
    "skipped: lovasz_softmax is defined on hard labels only": [
        "tests/grid/test_grid.py::test_a_grid_is_the_product_of_its_axes_without_the_cells_that_make_no_sense"
    ],
    "the probability of every class at every pixel is known": [
        "tests/datasets/test_phantom.py::test_posterior_is_given_for_every_image",
        "tests/engine/test_soft_truth.py::"
        "test_the_known_posterior_of_phantom_has_no_divergence_and_no_calibration_error_but_of_sampling",
    ],
    "CE has not learned the rare class after the demo's 400 iterations.": [
        "tests/test_readme.py::test_cross_entropy_has_not_learned_the_rare_class"
    ],
    "Every number can be traced to its cell's `record.json`: the whole configuration and its hash, commit, package "
    "versions, seconds and peak memory.": [
        "tests/engine/test_cell.py::test_the_record_documents_what_was_done",
        "tests/records/test_states.py::test_every_metric_is_checked_against_the_counts",
        "tests/reports/test_page_browser.py::test_every_number_leads_to_its_cells",
    ],
    "`make docs` builds these pages as a site": [
        "tests/test_docs.py::test_the_site_needs_no_network_and_every_link_and_anchor_in_it_exists",
        "tests/test_docs.py::test_every_loss_has_a_section_with_its_options_and_a_plot",
    ],
    "names the paper behind each loss": ["tests/test_readme.py::test_the_reference_names_the_paper_behind_each_loss"],
    # docs/start.md
    "Stop at any time: the next start resumes inside the cell, with the same result to the last bit (on CPU).": [
        "tests/engine/test_cell.py::test_repeated_killed_resumed_untracked_and_with_workers_it_is_the_same_cell",
        "tests/test_workflow.py::test_an_interrupted_grid_goes_on_where_it_stopped",
    ],
    "A failed cell does not stop the others; the table shows it with its reason.": [
        "tests/test_workflow.py::test_a_failed_cell_neither_stops_nor_hides_the_others"
    ],
    "Names, values, data and weights are checked before the first job.": [
        "tests/test_workflow.py::test_what_cannot_run_is_reported_before_the_first_job",
        "tests/grid/test_strict_files.py::test_a_wrong_value_is_one_sentence_before_any_job",
        "tests/engine/test_paper_models.py::test_without_its_weights_one_sentence_before_any_job",
    ],
    "Snakemake prints a line for each cell that ends, failures with their reason": [
        "tests/test_view.py::test_a_cell_that_ends_has_one_line_with_its_metrics_or_its_reason"
    ],
    "name the data set in a grid file, and run it. No Python is needed": [
        "tests/test_own_images.py::test_a_folder_is_described_planned_trained_and_tabulated"
    ],
    "reproduces a shipped report without any training": [
        "tests/reports/test_shipped.py::test_the_shipped_records_make_the_shipped_report"
    ],
    # docs/concepts.md
    "All names and values are checked before the first job.": ["tests/test_input_fuzz.py::test_configs"],
    "Its path is its name": ["tests/grid/test_grid.py::test_a_cell_is_its_name"],
    "Grids share cells; changing a line in `configs/` retrains the cells it affects and no others.": [
        "tests/test_stale.py::test_a_changed_setting_is_seen_without_snakemakes_metadata_and_the_cell_trained_again",
        "tests/grid/test_grid.py::test_only_what_decides_a_result_changes_its_hash",
    ],
    "A table never mixes records that are not comparable.": [
        "tests/records/test_records.py::test_what_cannot_be_compared_is_refused_and_both_are_named"
    ],
    "The record decides, not Snakemake's metadata.": [
        "tests/test_stale.py::test_results_copied_to_a_new_checkout_are_taken_if_current_and_seen_if_not"
    ],
    "can be made again without training": ["tests/reports/test_report.py::test_a_report_is_the_same_bytes_again"],
    # docs/library.md
    "Without MMSegmentation, with torch and numpy alone": [
        "tests/test_library.py::test_the_wheel_works_beside_torch_alone"
    ],
    "In any MMSegmentation config, with segloss installed beside it": [
        "tests/engine/test_elsewhere.py::test_an_own_config_trains_with_a_loss_of_segloss",
        "tests/engine/test_losses_in_mmseg.py::test_the_documented_example_works_on_real_configs",
    ],
    "translates from MONAI, SMP, MMSegmentation and kornia": [
        "tests/losses/test_loss_conversion.py::test_a_marked_row_gives_the_same_numbers"
    ],
    # docs/clusters.md
    "each cell leases a GPU before it starts, and the others wait": [
        "tests/runtime/test_leases.py::test_a_training_leases_its_device_and_the_next_waits",
        "tests/runtime/test_leases.py::test_two_grids_that_compete_for_devices",
    ],
    "the kernel releases it when the process ends": [
        "tests/runtime/test_leases.py::test_a_device_is_leased_once_and_free_again_after_a_kill"
    ],
    "submits each cell with the GPUs, cores, memory and time that the configs": [
        "tests/test_slurm.py::test_a_grid_through_slurm_gives_the_local_table",
        "tests/grid/test_resources.py::test_snakemake_gets_the_requests",
    ],
    "`profiles/kubernetes` runs each cell as a Job": [
        "tests/test_kubernetes.py::test_an_evicted_cell_goes_on_and_the_table_is_the_local_one"
    ],
    "They are recorded and do not change which cell it is": [
        "tests/engine/test_machine.py::test_a_setting_of_the_machine_changes_rounding_only"
    ],
    "each is forked from a server process (`SEGLOSS_FORKSERVER=off` starts each on its own, with the same result)": [
        "tests/runtime/test_forkserver.py::test_a_forked_cell_is_the_cell_and_every_signal_reaches_it",
        "tests/runtime/test_forkserver.py::test_without_the_server_a_cell_is_a_process_of_its_own",
    ],
    "Nothing has to be unlocked or deleted first, and the tables are those of an undisturbed run.": [
        "tests/records/test_run_lock.py::test_a_short_campaign_of_kills_ends_with_the_undisturbed_tables"
    ],
    "A damaged checkpoint is detected by its checksums, and the one before it is used.": [
        "tests/engine/test_checkpoints.py::test_any_damage_falls_back_to_the_state_before"
    ],
    "A NaN loss stops its cell": [
        "tests/engine/test_hooks.py::test_a_loss_that_is_not_finite_stops_the_training_and_names_its_iteration"
    ],
    "A record whose settings, data, pretrained weights or counts have changed is *stale*": [
        "tests/records/test_states.py::test_other_settings_make_a_cell_stale_and_other_comments_do_not",
        "tests/records/test_states.py::test_other_data_make_a_cell_stale_and_unknown_data_do_not",
        "tests/records/test_states.py::test_lost_counts_make_a_cell_stale",
        "tests/engine/test_pretrained.py::test_a_cell_is_stale_when_its_weights_change",
    ],
    "the training never waits for it": [
        "tests/test_tracking.py::test_a_server_at_fault_costs_no_time_and_all_is_sent_later_once"
    ],
    "`segloss sync` uploads the rest later": [
        "tests/test_tracking.py::test_with_a_key_it_is_sent_and_what_was_offline_is_sent_once"
    ],
}


def words(text: str) -> str:
    """A text with each run of white space as a single blank."""
    return " ".join(text.split())


def functions(file: Path) -> set[str]:
    """The names of the functions of a file."""
    return {node.name for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("promise", PROMISES)
def test_a_promise_is_quoted_and_tried(promise: str) -> None:
    assert [page.name for page in PAGES if promise in words(page.read_text(encoding="utf-8"))], (
        "it is on no page any more"
    )
    assert PROMISES[promise]
    for test in PROMISES[promise]:
        file, name = test.split("::")
        assert name in functions(ROOT / file), test


def test_the_python_versions_are_those_of_the_makefile_and_the_package() -> None:
    first, last = re.search(r"Python 3\.(\d+) to 3\.(\d+)", (ROOT / "README.md").read_text()).groups()
    assert f"(3, {first}) <= sys.version_info[:2] <= (3, {last})" in (ROOT / "Makefile").read_text()
    assert f'requires-python = ">=3.{first}"' in (ROOT / "pyproject.toml").read_text()


def table_of(page: Path) -> list[str]:
    """The lines of the first table of losses of a page."""
    lines = page.read_text(encoding="utf-8").splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("| Loss |"))
    return lines[start : lines.index("", start)]


def test_the_table_is_that_of_the_shipped_report() -> None:
    assert table_of(ROOT / "README.md") == table_of(ROOT / "reports/camvid-finetune/table.md")


def test_cross_entropy_has_not_learned_the_rare_class() -> None:
    """The IoU of the dots, the last class, in the shipped report's table of classes under hard labels."""
    tables = (ROOT / "reports/demo/table.tex").read_text(encoding="utf-8").partition("tab:demo:classes")[2]
    first = {line.split(" & ")[0]: line.split(" & ")[-1] for line in reversed(tables.splitlines()) if " & " in line}
    assert "dot" in first["Loss"]
    assert first["CE"].startswith("0.00")
    assert not first["Dice"].startswith("0.00")


@pytest.mark.slow
def test_the_reference_names_the_paper_behind_each_loss() -> None:
    spec = importlib.util.spec_from_file_location("losses_reference", ROOT / "docs/losses_reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    reference = module.losses_markdown()
    for name, loss in CATALOGUE.items():
        papers = re.findall(r"https?://[^\s,;)]+[^\s,;).]", inspect.getdoc(loss) or "")
        assert papers or name == "compound", name  # a sum of others
        assert [paper for paper in papers if paper not in reference] == [], name
