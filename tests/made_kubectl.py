"""A substitute for kubectl and its cluster: Jobs lie in a folder, and each is really run, as a container would be.

By files beside the Jobs tests control what happens: ``idle`` (no pod is started), ``down`` (Kubernetes does not
answer), and ``evict`` in a Job's own folder.
"""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import yaml

CLUSTER = Path(os.environ["MADE_CLUSTER"])


def write_state(name: str, job: str | None, pod: str | None) -> None:
    """Write the condition of a Job and the phase of its pod, whole or not at all."""
    (CLUSTER / name / "new").write_text(json.dumps({"job": job, "pod": pod}))
    (CLUSTER / name / "new").rename(CLUSTER / name / "state")


def create() -> None:
    text = sys.stdin.read()
    name = yaml.safe_load(text)["metadata"]["name"]
    (CLUSTER / name).mkdir()
    (CLUSTER / name / "manifest.yaml").write_text(text)
    write_state(name, None, "Pending")
    if not (CLUSTER / "idle").exists():
        command = [sys.executable, __file__, "run", name]
        nothing = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
        subprocess.Popen(command, start_new_session=True, **nothing)


def run(name: str) -> None:
    """Act as the node: start the pod's first process and wait for its end; all others end with it."""
    folder = CLUSTER / name
    pod = yaml.safe_load((folder / "manifest.yaml").read_text())["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    environment = {entry["name"]: entry["value"] for entry in container["env"]}
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin"} | environment
    with (folder / "log").open("wb") as log:
        first = subprocess.Popen(
            container["command"],
            cwd=container["workingDir"],
            env=environment,
            start_new_session=True,
            stdout=log,
            stderr=log,
        )
    write_state(name, None, "Running")
    while first.poll() is None and not (folder / "evict").exists():
        time.sleep(0.05)
    if first.returncode is None:
        # The Job counts as failed before its pod has ended, as it did up to Kubernetes 1.30.
        write_state(name, "Failed", "Running")
        first.terminate()
        with suppress(subprocess.TimeoutExpired):
            first.wait(pod["terminationGracePeriodSeconds"])
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(ProcessLookupError):
            if os.getsid(int(process.name)) == first.pid:
                os.kill(int(process.name), signal.SIGKILL)
    if (folder / "evict").exists():
        write_state(name, "Failed", None)
    elif first.wait():
        write_state(name, "Failed", "Failed")
    else:
        write_state(name, "Complete", "Succeeded")


def get(what: str, name: str) -> None:
    assert what == "jobs,pods"
    items = []
    with suppress(FileNotFoundError):
        state = json.loads((CLUSTER / name / "state").read_text())
        conditions = [{"type": state["job"], "status": "True"}] if state["job"] else []
        items.append({"kind": "Job", "status": {"conditions": conditions} if conditions else {}})
        if state["pod"]:
            items.append({"kind": "Pod", "status": {"phase": state["pod"]}})
    print(json.dumps({"kind": "List", "items": items}))


def main() -> None:
    verb, *words = sys.argv[1:]
    if (CLUSTER / "down").exists():
        sys.exit("Unable to connect to the server: dial tcp: i/o timeout")
    if verb == "create":
        assert words[:2] == ["--filename", "-"], words
        create()
    elif verb == "get":
        assert words[1] == "--selector", words
        get(words[0], words[2].removeprefix("segloss-job="))
    elif verb == "delete":
        assert words[0] == "jobs", words
        for name in words[1:]:
            if not name.startswith("-"):
                (CLUSTER / name / "evict").touch()
    elif verb == "run":
        run(*words)
    else:
        sys.exit(f"unknown command {verb}")


if __name__ == "__main__":
    main()
