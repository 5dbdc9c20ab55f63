"""A cell as a Kubernetes Job: submit it or query its status, as Snakemake's executor cluster-generic expects.

It calls kubectl; the Job is defined in job.yaml.
"""

import argparse
import getpass
import json
import os
import re
import subprocess
import sys
import uuid
from pathlib import Path
from string import Template

TEMPLATE = Path(__file__).with_name("job.yaml")
# What a pod inherits from the environment of the submission. Secrets do not belong here: many can read manifests.
PASSED_ON = ("SEGLOSS_DATA", "SEGLOSS_TRAIN", "WANDB_MODE", "WANDB_PROJECT", "WANDB_ENTITY", "WANDB_BASE_URL")
# Kubernetes sends SIGTERM only to a pod's first process, and all others die with it. So this process forwards the
# signal to all that the job script has started, and keeps waiting until the training has saved a checkpoint. The script
# itself must survive too.
FIRST_PROCESS = 'set -m; (trap : TERM; . "$0") & trap "kill -TERM -- -$!" TERM; wait $!; wait $!'
LONGEST_NAME = 63


def manifest(name: str, asked: argparse.Namespace) -> str:
    """The Job of a cell in YAML.

    Raises:
        SystemExit: with a sentence, if something is missing or the pods could not access the working directory.
    """
    folder = Path.cwd()
    environment = {variable: os.environ[variable] for variable in PASSED_ON if variable in os.environ}
    # In the image the user has neither name nor home; what libraries keep here (pretrained weights) serves all pods.
    environment |= {"LOGNAME": getpass.getuser(), "HOME": str(folder / ".snakemake" / "home")}
    limits: dict[str, int | str] = {"cpu": asked.cores, "memory": f"{asked.megabytes}M"}
    if asked.gpus:
        limits["nvidia.com/gpu"] = asked.gpus
    else:
        environment["CUDA_VISIBLE_DEVICES"] = ""  # some clusters expose all GPUs to pods that requested none
    known = {variable: value for variable, value in os.environ.items() if value} | {
        "name": name,
        "cell": asked.cell,
        "seconds": 60 * asked.minutes,
        "user": os.getuid(),
        "group": os.getgid(),
        "folder": str(folder),
        "command": ["bash", "-c", FIRST_PROCESS, str(asked.script)],
        "environment": [{"name": variable, "value": value} for variable, value in environment.items()],
        "limits": limits,
    }
    try:
        text = Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
            {variable: json.dumps(value) for variable, value in known.items()}
        )
    except KeyError as missing:
        sys.exit(f"{TEMPLATE} asks for ${missing.args[0]}: set this variable, or write its value into the file")
    mount = os.environ.get("SEGLOSS_POD_MOUNT")
    if mount and not folder.is_relative_to(mount):
        sys.exit(f"{folder} is not below SEGLOSS_POD_MOUNT={mount}: the pods could not access it")
    return text


def kubectl(*arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run kubectl with ``text`` as its input; its error messages reach the user.

    Raises:
        SystemExit: with a sentence, if kubectl is not installed.
    """
    command = ["kubectl", *arguments, "--request-timeout", "30s"]
    try:
        return subprocess.run(command, input=text, stdout=subprocess.PIPE, text=True, check=False)
    except FileNotFoundError:
        sys.exit("kubectl is not installed here: expected a command whose context selects cluster and namespace")


def submit(asked: argparse.Namespace) -> None:
    """Create the Job and print its name."""
    start, end = "segloss-", f"-{uuid.uuid4().hex[:8]}"
    cell = re.sub(r"[^a-z0-9]+", "-", asked.cell.lower())
    name = start + cell[-(LONGEST_NAME - len(start + end)) :] + end
    created = kubectl("create", "--filename", "-", text=manifest(name, asked))
    if created.returncode:
        sys.exit(created.returncode)
    print(name)


def status(asked: argparse.Namespace) -> None:
    """Print running, success or failed.

    A Job whose pod is still saving a checkpoint is running, even if the Job counts as failed or was deleted. If
    Kubernetes does not respond, nothing is known to have ended; kubectl has printed the reason.
    """
    answer = kubectl("get", "jobs,pods", "--selector", f"segloss-job={asked.name}", "--output", "json")
    items = [] if answer.returncode else json.loads(answer.stdout)["items"]
    alive = any(item["kind"] == "Pod" and item["status"]["phase"] not in ("Succeeded", "Failed") for item in items)
    jobs = [item for item in items if item["kind"] == "Job"]
    conditions = [condition for job in jobs for condition in job["status"].get("conditions", [])]
    ended = {condition["type"] for condition in conditions if condition["status"] == "True"}
    if answer.returncode or alive:
        print("running")
    elif "Complete" in ended:
        print("success")
    else:
        print("failed" if "Failed" in ended or not jobs else "running")


def main() -> None:
    """Run a verb."""
    parser = argparse.ArgumentParser(description=__doc__)
    verbs = parser.add_subparsers(required=True, metavar="verb")
    for function in (submit, status):
        verb = verbs.add_parser(function.__name__, help=function.__doc__.splitlines()[0])
        verb.set_defaults(run=function)
        if function is status:
            verb.add_argument("name", help="what submit printed")
        else:
            verb.add_argument("cell", help="the cell's name")
            for need in ("gpus", "cores", "megabytes", "minutes"):
                verb.add_argument(f"--{need}", type=int, required=True)
            verb.add_argument("--script", type=Path, required=True, help="what the pod runs")
    asked = parser.parse_args()
    asked.run(asked)


if __name__ == "__main__":
    main()
