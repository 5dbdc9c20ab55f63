"""The real workflow: Snakemake, MMSegmentation trainings and reports on tiny grids, and what goes wrong."""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from tests.conftest import BIN, TINY_GRID, TINY_SCHEDULE, run

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("forked")]


def snakemake(
    workplace: Path,
    *options: str,
    check: bool = True,
    grid: str = "tiny",
    config: tuple = (),
    own_process: bool = False,
    **variables: str,
) -> str:
    command = ("snakemake", "--cores", "2", *options, "--config", f"grid={grid}", *config)
    done = run(*command, cwd=workplace, check=check, own_process=own_process, **variables)
    if check is False:
        assert done.returncode != 0
    return done.stdout + done.stderr


def jobs(plan: str) -> dict[str, int]:
    """How many jobs of each rule a dry run lists."""
    table = plan.split("Job stats:")[1].split("total")[0] if "Job stats:" in plan else ""
    return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)}


def planned_cells(workplace: Path) -> set[str]:
    """The cells a dry run would train."""
    text = snakemake(workplace, "-n", "--printshellcmds", "--quiet", "host")
    return set(re.findall(r"segloss train (\S+)", text))


def test_a_grid_from_nothing_to_its_tables_and_back(workplace: Path, edit) -> None:
    first = snakemake(workplace, WANDB_MODE="offline")
    report = workplace / "reports" / "tiny"
    table = (report / "table.md").read_text()
    assert table in first
    for name in ("table.tex", "table.csv", "results.csv", "predictions-phantom-unet-tiny.png"):
        assert (report / name).stat().st_size > 100, name
    assert re.search(r"\| CE \|( (\*\*)?\d+\.\d\d ± \d+\.\d\d(\*\*)? \|){4}", table)
    assert re.search(
        r"\| Lovász \|( (\*\*)?\d+\.\d\d ± \d+\.\d\d(\*\*)? \|){2} –<sup>1</sup> \| –<sup>1</sup> \|", table
    )
    assert "1. skipped: lovasz_softmax is defined on hard labels only" in table
    records = sorted(workplace.glob("results/**/record.json"))
    assert len(records) == 6
    record = json.loads(records[0].read_text())
    assert record["versions"]["mmsegmentation"] == "1.2.2"
    assert len(record["config_hash"]) == 64
    assert record["peak_memory_bytes"] < 2 * 2**30

    # Nothing is done twice.
    assert "Nothing to be done" in snakemake(workplace)

    # The table is made again from the records alone.
    (report / "table.md").unlink()
    assert set(jobs(snakemake(workplace, "-n"))) == {"report", "all"}
    snakemake(workplace)
    assert (report / "table.md").read_text() == table

    # A deleted cell is trained again, though the table is still there.
    (records[0].parent / "record.json").unlink()
    assert jobs(snakemake(workplace, "-n"))["train"] == 1
    again = snakemake(workplace)
    assert "1/1  done" in again
    without_seconds = re.compile(r"\d+\.\d\d hours|at most \d+\.\d\d GiB")
    assert without_seconds.sub("", (report / "table.md").read_text()) == without_seconds.sub("", table)

    # A new loss in losses.yaml and in the grid plans its own cells and no other.
    with (workplace / "configs/losses.yaml").open("a") as file:
        file.write("own: {title: Own, loss: compatible_tversky, alpha: 0.5, beta: 0.9}\n")
    edit(workplace / "configs/grids/tiny.yaml", "losses: [ce, lovasz]", "losses: [ce, lovasz, own]")
    new_cells = {f"phantom/unet-tiny/tiny/{labels}/own/seed{seed}" for labels in ("hard", "raters") for seed in (0, 1)}
    assert planned_cells(workplace) == new_cells

    # A changed option of one loss plans that loss's cells only; a changed title plans none.
    edit(workplace / "configs/grids/tiny.yaml", "losses: [ce, lovasz, own]", "losses: [ce, lovasz]")
    edit(workplace / "configs/losses.yaml", "title: CE,", "title: Cross-entropy,")
    assert planned_cells(workplace) == set()
    edit(
        workplace / "configs/losses.yaml",
        "loss: cross_entropy}",
        "loss: cross_entropy, class_weights: [1, 1, 1, 1, 2]}",
    )
    assert planned_cells(workplace) == {
        f"phantom/unet-tiny/tiny/{labels}/ce/seed{seed}" for labels in ("hard", "raters") for seed in (0, 1)
    }


def test_a_failed_cell_neither_stops_nor_hides_the_others(workplace: Path) -> None:
    (workplace / "configs/grids/tiny.yaml").write_text(
        TINY_GRID.replace("losses: [ce, lovasz]", "losses: [ce, broken]").replace(
            "labels: [hard, raters]", "labels: [hard]"
        )
    )
    with (workplace / "configs/losses.yaml").open("a") as file:
        file.write("broken: {title: Broken, loss: cross_entropy, class_weights: [1, 2]}\n")
    output = snakemake(workplace, check=False)
    table = (workplace / "reports/tiny/table.md").read_text()
    assert re.search(r"\| CE \|( \*\*\d+\.\d\d ± \d+\.\d\d\*\* \|){2}", table)
    assert "| Broken | failed<sup>1</sup> | failed<sup>1</sup> |" in table
    assert re.search(r"^1\. failed: .*class_weights.*5", table, re.MULTILINE)
    assert table in output
    # Once it is mended only the failed cells run, and the table has all.
    losses = workplace / "configs/losses.yaml"
    losses.write_text(losses.read_text().replace("class_weights: [1, 2]}", "class_weights: [1, 2, 1, 1, 1]}"))
    assert planned_cells(workplace) == {f"phantom/unet-tiny/tiny/hard/broken/seed{seed}" for seed in (0, 1)}
    snakemake(workplace)
    assert "failed" not in (workplace / "reports/tiny/table.md").read_text()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_grid_goes_on_where_it_stopped(workplace: Path, how: signal.Signals) -> None:
    (workplace / "configs/grids/tiny.yaml").write_text(
        TINY_GRID.replace("losses: [ce, lovasz]", "losses: [ce]").replace("labels: [hard, raters]", "labels: [hard]")
    )
    (workplace / "configs/mmseg/schedules/tiny.py").write_text(
        # One core each and time enough: neither is done before the other has begun.
        TINY_SCHEDULE.replace("iterations = 16", "iterations = 240") + 'resources = {"cpus": 1}\n'
    )
    command = [str(BIN / "snakemake"), "--cores", "2", "--config", "grid=tiny"]
    with (workplace / "output").open("w") as output:
        process = subprocess.Popen(command, cwd=workplace, stdout=output, stderr=output, start_new_session=True)
    logs = [workplace / f"results/phantom/unet-tiny/tiny/hard/ce/seed{seed}/train.log" for seed in (0, 1)]
    deadline = time.monotonic() + 120
    while not all(log.exists() and "iteration 12/240" in log.read_text() for log in logs):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.1)
    # The whole group, as a terminal does with Ctrl-C and a machine when it goes down.
    os.killpg(process.pid, how)
    process.wait(60)
    if how is signal.SIGINT:
        assert "The same command again trains what is missing" in (workplace / "output").read_text()
    time.sleep(1)
    snakemake(workplace)
    started = [json.loads((log.parent / "record.json").read_text())["training"]["started_at_iteration"] for log in logs]
    # Ctrl-C saves at once; a kill loses what came after the last save, here all.
    assert all(0 < start < 240 for start in started) if how is signal.SIGINT else started == [0, 0]
    assert "Nothing to be done" in snakemake(workplace)


@pytest.mark.parametrize(
    ("config", "grid", "sentence"),
    [
        (
            (),
            "demoo",
            r"unknown grid 'demoo' \(did you mean 'demo'\?\); "
            "known: calibration-camvid, calibration-cpu, camvid, camvid-cpu, .*demo, .*tiny",
        ),
        (
            ("gird=demo",),
            "demo",
            r"--config: unknown key 'gird' \(did you mean 'grid'\?\); "
            "known: cells_per_gpu, data_root, grid, keep_weights, reports, results, train",
        ),
        (("train=--precision fp8",), "demo", r"invalid choice: 'fp8'[^$]*does not accept '--precision fp8'"),
        (("data_root=/nowhere",), "camvid-cpu", r"data set camvid is not at /nowhere/camvid; .*segloss prepare camvid"),
    ],
)
def test_what_cannot_run_is_reported_before_the_first_job(
    workplace: Path, config: tuple, grid: str, sentence: str
) -> None:
    output = snakemake(workplace, check=False, grid=grid, config=config)
    assert re.search(sentence, output), output
    assert "Traceback" not in output
    assert not (workplace / "results").exists()


@pytest.mark.alone
def test_the_demo_is_planned_within_seconds(workplace: Path) -> None:
    started = time.monotonic()
    plan = snakemake(workplace, "-n", grid="demo", own_process=True)
    assert time.monotonic() - started < 5
    assert jobs(plan)["train"] == 48


@pytest.mark.alone
def test_five_thousand_cells_are_planned_within_a_minute(workplace: Path) -> None:
    demo = yaml.safe_load((workplace / "configs/grids/demo.yaml").read_text())
    (workplace / "configs/grids/large.yaml").write_text(yaml.safe_dump({**demo, "seeds": 313}))
    started = time.monotonic()
    plan = snakemake(workplace, "-n", grid="large", own_process=True)
    assert time.monotonic() - started < 60
    assert jobs(plan)["train"] == 5008


@pytest.mark.xdist_group("camvid")
def test_a_few_iterations_on_camvid(camvid_grid: Path) -> None:
    (record,) = camvid_grid.glob("results/**/record.json")
    record = json.loads(record.read_text())
    assert record["data"]["images"] == 24
    assert record["data"]["source"] == "camvid"
    assert 0 < record["metrics"]["mIoU"] < 100
    assert (camvid_grid / "reports/tiny/predictions-camvid-cpu-unet-small.png").exists()
    details = (camvid_grid / "reports/tiny/details.md").read_text().split("## Terms of the losses")[1]
    rows = [[field.strip() for field in line.split("|")] for line in details.splitlines() if line.startswith("| ")]
    assert [row[5] for row in rows[1:]] == ["cross_entropy", "jaccard_metric"]
    assert {sum(int(row[column]) for row in rows[1:]) for column in (6, 7, 8)} <= {99, 100, 101}  # percent, rounded
