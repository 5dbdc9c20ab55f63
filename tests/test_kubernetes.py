"""Cells as Kubernetes Jobs: what is submitted, how states are read, and a grid with an evicted pod."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

from segloss.records import progress
from tests.conftest import BIN, ROOT, TINY_GRID, TINY_SCHEDULE, run

JOBS = ROOT / "profiles" / "kubernetes" / "jobs.py"
CELL = "phantom/unet-tiny/tiny/hard/ce/seed0"
RESOURCES = 'resources = {"gpus": 0, "cpus": 1, "memory_gb": 3, "minutes": 20}\n'


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a simulated cluster, with its kubectl on the PATH."""
    folder, place = tmp_path / "cluster", tmp_path / "bin"
    folder.mkdir()
    place.mkdir()
    (place / "kubectl").write_text(f'#!/bin/sh\nexec {sys.executable} {ROOT}/tests/made_kubectl.py "$@"\n')
    (place / "kubectl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{place}{os.pathsep}{os.environ['PATH']}")
    for name, value in {"IMAGE": "registry.example/torch:2", "CLAIM": "work", "MOUNT": str(tmp_path)}.items():
        monkeypatch.setenv(f"SEGLOSS_POD_{name}", value)
    monkeypatch.setenv("MADE_CLUSTER", str(folder))
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setenv("WANDB_API_KEY", "secret-key")
    return folder


def jobs(*words: str, cwd: Path) -> subprocess.CompletedProcess:
    """Run jobs.py as Snakemake does."""
    return subprocess.run([sys.executable, str(JOBS), *words], cwd=cwd, capture_output=True, text=True, check=False)


def submitted(cluster: Path, gpus: int = 1, cell: str = CELL) -> subprocess.CompletedProcess:
    """The result of submitting a cell that no pod runs."""
    (cluster / "idle").touch()
    requested = ("--gpus", str(gpus), "--cores", "6", "--megabytes", "24000", "--minutes", "90")
    return jobs("submit", cell, *requested, "--script", "/claim/job.sh", cwd=cluster)


def manifest(cluster: Path, done: subprocess.CompletedProcess) -> dict:
    """The manifest that was submitted, whose name was printed."""
    assert done.returncode == 0, done.stderr
    return yaml.safe_load((cluster / done.stdout.strip() / "manifest.yaml").read_text())


def test_a_job_requests_what_the_cell_needs(cluster: Path) -> None:
    job = manifest(cluster, submitted(cluster))
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["resources"] == {"limits": {"cpu": 6, "memory": "24000M", "nvidia.com/gpu": 1}}
    assert (pod["activeDeadlineSeconds"], pod["restartPolicy"], job["spec"]["backoffLimit"]) == (5400, "Never", 0)
    assert pod["terminationGracePeriodSeconds"] >= 60
    assert pod["securityContext"] == {"runAsUser": os.getuid(), "runAsGroup": os.getgid()}
    assert container["command"][:2] == ["bash", "-c"]
    assert container["command"][-1] == "/claim/job.sh"
    assert container["workingDir"] == str(cluster)
    assert container["image"] == "registry.example/torch:2"
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts == {"claim": str(cluster.parent), "shm": "/dev/shm"}
    assert pod["volumes"] == [
        {"name": "claim", "persistentVolumeClaim": {"claimName": "work"}},
        {"name": "shm", "emptyDir": {"medium": "Memory"}},
    ]
    environment = {entry["name"]: entry["value"] for entry in container["env"]}
    assert environment["WANDB_MODE"] == "disabled"
    assert "CUDA_VISIBLE_DEVICES" not in environment
    assert "secret-key" not in str(job)
    # kubectl get -l finds the Jobs by the one label, jobs.py a Job with its pods by the other
    labels = {"app": "segloss", "segloss-job": job["metadata"]["name"]}
    assert job["metadata"]["labels"] == job["spec"]["template"]["metadata"]["labels"] == labels
    assert job["metadata"]["annotations"] == {"segloss-cell": CELL}


def test_a_cell_without_a_gpu_sees_none(cluster: Path) -> None:
    (container,) = manifest(cluster, submitted(cluster, gpus=0))["spec"]["template"]["spec"]["containers"]
    assert container["resources"] == {"limits": {"cpu": 6, "memory": "24000M"}}
    assert {"name": "CUDA_VISIBLE_DEVICES", "value": ""} in container["env"]


def test_names_are_valid_and_differ(cluster: Path) -> None:
    long = f"CamVid/{'mmseg__deeplab-' * 4}x/camvid.80k/hard/jaccard_metric/SEED12"
    names = [manifest(cluster, submitted(cluster, cell=cell))["metadata"]["name"] for cell in (CELL, CELL, long)]
    assert len(set(names)) == 3
    assert all(re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])", name) for name in names), names
    assert "phantom-unet-tiny-tiny-hard-ce-seed0" in names[0]
    assert "hard-jaccard-metric-seed12" in names[2]


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("SEGLOSS_POD_CLAIM", None, r"job.yaml asks for \$SEGLOSS_POD_CLAIM: set this variable, or write its value"),
        ("SEGLOSS_POD_IMAGE", "", r"job.yaml asks for \$SEGLOSS_POD_IMAGE: set this variable"),
        ("SEGLOSS_POD_MOUNT", "/elsewhere", "is not below SEGLOSS_POD_MOUNT=/elsewhere: the pods could not access it"),
        ("PATH", "/nowhere", "kubectl is not installed here"),
    ],
)
def test_what_is_missing_is_one_sentence(
    cluster: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str | None, sentence: str
) -> None:
    monkeypatch.delenv(name) if value is None else monkeypatch.setenv(name, value)
    done = submitted(cluster)
    assert done.returncode == 1
    assert not done.stdout
    assert done.stderr.count("\n") == 1
    assert re.search(sentence, done.stderr)


@pytest.mark.parametrize(
    ("job", "pod", "state"),
    [
        (None, None, "running"),  # no pod yet
        (None, "Pending", "running"),
        (None, "Running", "running"),
        ("Complete", "Succeeded", "success"),
        ("Complete", None, "success"),
        (None, "Failed", "running"),  # until the Job has failed, too
        ("Failed", "Failed", "failed"),
        ("Failed", None, "failed"),  # evicted
        ("Failed", "Running", "running"),  # evicted, and saving its state
        ("FailureTarget", None, "running"),
    ],
)
def test_a_kubernetes_status_is_one_of_three_states(cluster: Path, job: str, pod: str, state: str) -> None:
    name = submitted(cluster).stdout.strip()
    (cluster / name / "state").write_text(json.dumps({"job": job, "pod": pod}))
    done = jobs("status", name, cwd=cluster)
    assert (done.stdout, done.stderr, done.returncode) == (f"{state}\n", "", 0)


def test_a_job_that_is_gone_has_failed_and_one_of_unknown_state_has_not(cluster: Path) -> None:
    assert jobs("status", "segloss-gone", cwd=cluster).stdout == "failed\n"
    (cluster / "down").touch()
    done = jobs("status", "segloss-gone", cwd=cluster)
    assert (done.stdout, done.returncode) == ("running\n", 0)
    assert "Unable to connect" in done.stderr


def test_cancelled_jobs_are_deleted_however_long_it_takes(cluster: Path) -> None:
    names = [submitted(cluster).stdout.strip() for _ in range(2)]
    slow = cluster.parent / "bin" / "kubectl"
    slow.write_text(slow.read_text().replace("exec", "sleep 1; exec"))
    began = time.monotonic()
    subprocess.run([ROOT / "profiles/kubernetes/cancel", *names], check=True, timeout=2)
    assert time.monotonic() - began < 0.9  # Snakemake does not wait long
    deadline = time.monotonic() + 30
    while not all((cluster / name / "evict").exists() for name in names):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("profile", ["kubernetes", "cluster"])
def test_every_cell_is_planned_with_what_it_needs(workplace: Path, cluster: Path, profile: str) -> None:
    with (workplace / "configs/mmseg/schedules/tiny.py").open("a") as file:
        file.write("resources = {'gpus': 2, 'cpus': 3, 'memory_gb': 7, 'minutes': 11}\n")
    # in a dry run Snakemake assumes one core by default
    options = ("-n", "--cores", "99", "--verbose")
    command = ("snakemake", "--profile", f"profiles/{profile}", *options, "--config", "grid=tiny")
    plan = run(*command, cwd=workplace).stdout
    cells = re.findall(r"wildcards: cell=(\S+)\n +threads: 3\n +resources: (.*)", plan)
    assert len({cell for cell, _ in cells}) == 6
    assert all({"gpu=2", "mem_mb=7000", "runtime=11"} <= set(resources.split(", ")) for _, resources in cells)


@pytest.mark.slow
def test_nothing_starts_without_a_declared_volume(workplace: Path, cluster: Path) -> None:
    command = ("snakemake", "--profile", "profiles/kubernetes", "--config", "grid=tiny")
    done = run(*command, cwd=workplace, check=False, SEGLOSS_POD_CLAIM=None)
    assert done.returncode == 1
    assert re.search(r"variables are requested by the workflow but undefined.*\nSEGLOSS_POD_CLAIM$", done.stderr, re.M)
    assert list(cluster.iterdir()) == []


@pytest.mark.slow
def test_an_evicted_cell_goes_on_and_the_table_is_the_local_one(workplace: Path, cluster: Path) -> None:
    grid = TINY_GRID.replace("[ce, lovasz]", "[ce]").replace("[hard, raters]", "[hard]")
    (workplace / "configs/grids/tiny.yaml").write_text(grid)
    (workplace / "configs/mmseg/schedules/tiny.py").write_text(TINY_SCHEDULE.replace("= 16", "= 24") + RESOURCES)
    cells = [f"phantom/unet-tiny/tiny/hard/ce/seed{seed}" for seed in (0, 1)]
    options = ("--profile", "profiles/kubernetes", "--seconds-between-status-checks", "2", "--until", "collect")
    command = [str(BIN / "snakemake"), *options, "--config", "grid=tiny"]
    evicted = None
    with (workplace / "output").open("wb") as output:
        snakemake = subprocess.Popen(command, cwd=workplace, stdout=output, stderr=output)
        try:
            deadline = time.monotonic() + 300
            while snakemake.poll() is None and time.monotonic() < deadline:
                time.sleep(0.1)
                current = progress.read(workplace / "results" / cells[0])
                if not evicted and current and current["state"] == "training":
                    (job,) = cluster.glob("segloss-*seed0-*")
                    evicted = job
                    (job / "evict").touch()
                    # each pod imports separately
                    beside = [child.cmdline() for child in psutil.Process(snakemake.pid).children(recursive=True)]
                    assert not any("segloss.runtime.forkserver" in words for words in beside), beside
                    (cluster / "down").touch()
                    time.sleep(3)
                    (cluster / "down").unlink()
        finally:
            snakemake.kill()
            snakemake.wait()
            for job in cluster.glob("segloss-*"):
                (job / "evict").touch()
    assert snakemake.returncode == 0, (workplace / "output").read_text()[-6000:]
    pods = [yaml.safe_load(file.read_text())["spec"]["template"]["spec"] for file in cluster.glob("*/manifest.yaml")]
    limits = sorted((pod["containers"][0]["resources"]["limits"] for pod in pods), key=str)
    assert limits == [{"cpu": 1, "memory": f"{megabytes}M"} for megabytes in (3000, 3000, 6000)]
    states = {job.name: json.loads((job / "state").read_text())["job"] for job in cluster.glob("segloss-*")}
    assert sorted(states.values()) == ["Complete", "Complete", "Failed"]
    assert states[evicted.name] == "Failed"
    records = [json.loads((workplace / "results" / cell / "record.json").read_text()) for cell in cells]
    began = [record["training"]["started_at_iteration"] for record in records]
    assert 0 < began[0] <= 24, began
    assert began[1] == 0
    options = ("--cores", "1", "--until", "collect", "--config", "grid=tiny", "results=local", "reports=local")
    run("snakemake", *options, cwd=workplace)
    here, there = (workplace / reports / "tiny/results.csv" for reports in ("local", "reports"))
    assert there.read_text() == here.read_text()
    assert there.read_text().count("done") > len(cells)
