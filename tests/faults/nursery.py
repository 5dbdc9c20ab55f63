"""Run named tests against a copy of the package, each run forked from this process, which has the slow imports.

It reads a line of JSON for each run, ``{"package": <folder that holds segloss>, "tests": [...], "log": <file>}``, and
prints pytest's exit status.
"""

import importlib.util
import json
import os
import signal
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SECONDS = 300  # for a run


def preload() -> None:
    """Import the packages that tests import, but neither segloss nor a test."""
    import warnings

    warnings.simplefilter("ignore")
    for name in ("jsonschema", "matplotlib.pyplot", "pandas", "pytest", "scipy.stats", "torch"):
        importlib.import_module(name)
    path = ROOT / "src/segloss/engine/mmcv_stub.py"
    spec = importlib.util.spec_from_file_location("stub_of_mmcv", path)
    stub = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(stub)
    stub.import_mmseg()
    importlib.import_module("snakemake.exceptions")
    assert not [name for name in sys.modules if name.split(".")[0] in ("segloss", "tests")]


def run_tests(package: str, tests: list[str], log: str) -> None:
    """In a forked process: run the tests with that package before all others."""
    import pytest

    signal.alarm(SECONDS)
    sys.excepthook = lambda *error: (sys.__excepthook__(*error), os._exit(70))  # not the status of a red test
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(output, stream)
    os.chdir(ROOT)
    sys.path.insert(0, package)
    os.environ["PYTHONPATH"] = os.pathsep.join([package, os.environ.get("PYTHONPATH", "")])
    status = pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:hypothesispytest", *tests])
    sys.stdout.flush()
    os._exit(status)


def main() -> None:
    """Serve until the standard input ends."""
    preload()
    print("ready", flush=True)
    for line in sys.stdin:
        child = os.fork()
        if not child:
            run_tests(**json.loads(line))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
