"""Commands of the environment, forked from one process that has imported what they import: the same, but faster.

The server is that of `segloss.runtime.forkserver`, from which the cells of a real grid are forked; here it also runs
Snakemake and the other verbs of ``segloss``. It lasts as long as the run of pytest, and is started by the first
training or workflow: until then other verbs are processes of their own, which cost less than the server.
"""

import functools
import importlib
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from segloss.runtime.forkserver import NUMBER, send_request

ROOT = Path(__file__).parents[1]
# Imported in the server, by this module.
IMPORTS = ("snakemake.cli", "snakemake_logger_plugin_segloss", "segloss.reports", "segloss.records.view")
PEERS = ".venv-peers"
HOLDER = """
import os
from segloss.runtime import forkserver
forkserver.start("tests.command_server:main", ["tests.command_server"])
print(os.environ[forkserver.SOCKET], flush=True)
input()
"""


def main() -> int | None:
    """In a forked process: run the command, as its script in the environment does."""
    if sys.argv[1] == "snakemake":
        sys.argv[:] = [str(Path(sys.executable).parent / "snakemake"), *sys.argv[2:]]
        function = importlib.import_module("snakemake.cli").main
    else:
        function = importlib.import_module("segloss.cli").main
    return function()


@functools.cache
def start() -> tuple[subprocess.Popen, str]:
    """Start the server; returns the process that holds it, and its socket."""
    # Without the libraries that tests compare with: torch would import some that report leaks when a fork ends.
    places = [place for place in os.environ.get("PYTHONPATH", "").split(os.pathsep) if Path(place).name != PEERS]
    environment = {**os.environ, "SEGLOSS_FORKSERVER": "", "SEGLOSS_TEST_SERVER": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(places)
    environment["OMP_WAIT_POLICY"] = "passive"  # as `segloss.workflow.start_forkserver` does
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    holder = subprocess.Popen([sys.executable, "-W", "ignore", "-c", HOLDER], cwd=ROOT, env=environment, **pipes)
    return holder, holder.stdout.readline().strip()


def socket_path() -> str:
    """The path of the server's socket."""
    return start()[1]


def stop() -> None:
    """Stop the server if it was started."""
    if start.cache_info().currsize:
        holder, _ = start()
        holder.communicate("\n")
        start.cache_clear()


def serves(words: Sequence[str]) -> bool:
    """True if a command is to be forked from the server."""
    if words[0] == "snakemake" or words[:2] == ("segloss", "train"):
        return True
    return words[0] == "segloss" and start.cache_info().currsize > 0


def run(words: Sequence[str], folder: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess | None:
    """Run ``segloss ...`` or ``snakemake ...``; None where the server cannot be used: the code has changed."""
    arguments = list(words) if words[0] == "snakemake" else list(words[1:])
    with (
        socket.socket(socket.AF_UNIX) as server,
        tempfile.TemporaryFile("w+") as output,
        tempfile.TemporaryFile("w+") as errors,
        open(os.devnull) as nothing,
    ):
        server.connect(socket_path())
        request = (arguments, str(folder.absolute()), dict(environment))
        send_request(server, request, [file.fileno() for file in (nothing, output, errors)])
        if not (answer := server.recv(NUMBER.size)):
            return None
        for file in (output, errors):
            file.seek(0)
        return subprocess.CompletedProcess(words, NUMBER.unpack(answer)[0], output.read(), errors.read())


if os.environ.get("SEGLOSS_TEST_SERVER"):  # in the server
    del os.environ["SEGLOSS_TEST_SERVER"]
    from segloss.workflow import PRELOAD

    for name in (*PRELOAD, *IMPORTS):
        importlib.import_module(name)
