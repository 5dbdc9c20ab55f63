"""Cells forked from the process that has the imports: the same results, reached by signals, never left behind."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conftest import BIN, TINY_SCHEDULE, run

CELL = "phantom/unet-tiny/tiny/raters/ce-jml/seed0"
HOLDER = (
    "import os, sys; from segloss.runtime import forkserver; from segloss.workflow import start_forkserver; "
    "start_forkserver(); print(os.environ[forkserver.SOCKET], flush=True); input()"
)


# A module whose entry point exits with its argument or waits for a signal, instead of training.
CELL_MODULE = """
import signal, sys, time

def main():
    action, signals = sys.argv[1], []
    if action == "wait":
        signal.signal(signal.SIGTERM, lambda number, _: signals.append(number))
    print("began", flush=True)
    while action == "wait":
        time.sleep(0.02)
        if signals:
            sys.exit(128 + signals[0])
    sys.exit(int(action) if action.isdigit() else action)
"""
CLIENT = """
import sys
from segloss.runtime import forkserver
forkserver.run_in_server(sys.argv[1:])
print("alone")
sys.exit(77)
"""


def children(pid: int) -> list[int]:
    with suppress(FileNotFoundError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


SERVER = (sys.executable, "-m", "segloss.runtime.forkserver")


@pytest.fixture
def holder() -> Iterator[tuple[subprocess.Popen, int, str]]:
    """A process that started a server as Snakemake does, the server's pid, and its socket."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    socket_path = process.stdout.readline().strip()
    (server,) = children(process.pid)
    yield process, server, socket_path
    process.kill()
    process.communicate()
    wait_until(lambda: not Path(f"/proc/{server}").exists())


def begin(workplace: Path, socket_path: str, results: str) -> subprocess.Popen:
    """Start a cell that saves after every iteration in the background, and wait until it trains."""
    process = subprocess.Popen(
        [str(BIN / "segloss"), "train", CELL, "--results", results, "--checkpoint-seconds", "0"],
        cwd=workplace,
        env={**os.environ, "WANDB_MODE": "disabled", "SEGLOSS_FORKSERVER": socket_path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    for line in process.stdout:
        if "  loss " in line:
            return process
    raise AssertionError("the cell ended before it trained")


@pytest.mark.slow
def test_a_forked_cell_is_the_cell_and_every_signal_reaches_it(workplace: Path, holder) -> None:
    process, server, socket_path = holder
    schedule = workplace / "configs/mmseg/schedules/tiny.py"

    def counts(results: str) -> bytes:
        return (workplace / results / CELL / "counts.npz").read_bytes()

    for results, where in (("alone", ""), ("forked", socket_path)):
        options = ("--results", results, "--threads", "2")
        done = run("segloss", "train", CELL, *options, cwd=workplace, SEGLOSS_FORKSERVER=where, WANDB_MODE="disabled")
        assert done.stdout.splitlines()[-1].startswith(f"{CELL}  mIoU ")
    assert counts("alone") == counts("forked")
    # The server itself trained nothing and started no thread: a fork copies none.
    assert "Threads:\t1\n" in Path(f"/proc/{server}/status").read_text()
    assert "libtorch" in Path(f"/proc/{server}/maps").read_text()
    assert children(server) == []
    record = json.loads((workplace / "forked" / CELL / "record.json").read_text())
    assert record["command"] == f"segloss train {CELL} --results forked --threads 2"

    # A failure's reason and status are passed on.
    failed = run(
        "segloss", "train", "phantom/x/tiny/hard/ce/seed0", cwd=workplace, check=False, SEGLOSS_FORKSERVER=socket_path
    )
    assert failed.returncode == 1
    assert failed.stderr.startswith("segloss: unknown model 'x'")

    schedule.write_text(TINY_SCHEDULE.replace("iterations = 16", "iterations = 400"))
    client = begin(workplace, socket_path, "stopped")
    assert len(children(server)) == 1
    client.send_signal(signal.SIGTERM)
    client.communicate(timeout=120)
    assert client.returncode == 128 + signal.SIGTERM
    assert not (workplace / "stopped" / CELL / "failure.json").exists()

    client = begin(workplace, socket_path, "killed")
    (cell,) = children(server)
    client.kill()
    client.communicate()
    wait_until(lambda: not Path(f"/proc/{cell}").exists())

    client = begin(workplace, socket_path, "crashed")
    os.kill(children(server)[0], signal.SIGKILL)
    client.communicate(timeout=120)
    assert client.returncode == -signal.SIGKILL

    # Without its parent the server accepts no client, but a cell that trains goes on.
    client = begin(workplace, socket_path, "orphaned")
    process.kill()
    time.sleep(0.5)
    assert len(children(server)) == 1
    client.terminate()
    client.communicate(timeout=120)
    assert client.returncode == 128 + signal.SIGTERM
    wait_until(lambda: not Path(socket_path).parent.exists())


@pytest.mark.slow
def test_without_the_server_a_cell_is_a_process_of_its_own(workplace: Path, holder) -> None:
    process, server, socket_path = holder
    schedule = workplace / "configs/mmseg/schedules/tiny.py"
    schedule.write_text(TINY_SCHEDULE.replace("iterations = 16", "iterations = 60"))
    client = begin(workplace, socket_path, "results")
    (cell,) = children(server)
    os.kill(server, signal.SIGKILL)
    output, _ = client.communicate(timeout=100)
    assert client.returncode == 0, output
    assert not Path(f"/proc/{cell}").exists()
    record = json.loads((workplace / "results" / CELL / "record.json").read_text())
    assert record["training"]["started_at_iteration"] > 0
    run("segloss", "train", CELL, "--results", "later", cwd=workplace, SEGLOSS_FORKSERVER=socket_path)
    process.communicate("\n")


def start_server(folder: Path) -> tuple[subprocess.Popen, Path]:
    """A server whose cells run CELL_MODULE, with modules in that folder before all others; and its socket."""
    socket_path = folder / "folder" / "socket"
    socket_path.parent.mkdir()
    (folder / "made_cell.py").write_text(CELL_MODULE)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(socket_path))
        listener.listen()
        server = subprocess.Popen(
            [*SERVER, str(listener.fileno()), str(socket_path), "made_cell:main", "made_cell"],
            stdin=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
            pass_fds=[listener.fileno()],
        )
    return server, socket_path


def start_client(socket_path: Path, *arguments: str) -> subprocess.Popen:
    """A client of that server; it prints "alone" where it is not served."""
    return subprocess.Popen(
        [sys.executable, "-c", CLIENT, *arguments],
        env={**os.environ, "SEGLOSS_FORKSERVER": str(socket_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def end(process: subprocess.Popen) -> tuple[str, int]:
    """The output and the exit status of a process that ends."""
    return process.communicate(timeout=60)[0], process.returncode


def test_a_server_forks_no_cell_once_the_code_has_changed(tmp_path: Path) -> None:
    from segloss.runtime import forkserver

    package = Path(forkserver.__file__).parents[1]
    (tmp_path / "segloss").mkdir()
    shutil.copy(package / "__init__.py", tmp_path / "segloss")
    shutil.copytree(package / "runtime", tmp_path / "segloss/runtime")
    server, socket_path = start_server(tmp_path)
    try:
        assert end(start_client(socket_path, "0")) == ("began\n", 0)
        (tmp_path / "segloss/new.py").write_text("a = 1\n")
        assert end(start_client(socket_path, "0")) == ("alone\n", 77)
        (tmp_path / "segloss/new.py").unlink()
        assert end(start_client(socket_path, "0")) == ("began\n", 0)
        with (tmp_path / "segloss/runtime/torchrun.py").open("a") as file:
            file.write("# a change\n")
        assert end(start_client(socket_path, "0")) == ("alone\n", 77)
    finally:
        server.communicate()


def test_sources_see_every_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from segloss.runtime import forkserver

    (tmp_path / "segloss").mkdir()
    module = tmp_path / "segloss" / "module.py"
    module.write_text("a = 1\n")
    monkeypatch.setattr(forkserver, "__file__", str(tmp_path / "segloss" / "runtime" / "forkserver.py"))
    before = forkserver.sources()
    assert before == forkserver.sources() != {}
    module.write_text("a = 22\n")
    assert before != forkserver.sources()


def test_exit_statuses_and_signals_pass_both_ways_and_nobody_waits_for_a_server_that_ends(tmp_path: Path) -> None:
    server, socket_path = start_server(tmp_path)

    def client(*arguments: str) -> subprocess.Popen:
        return start_client(socket_path, *arguments)

    def waiting() -> subprocess.Popen:
        process = client("wait")
        assert process.stdout.readline() == "began\n"
        return process

    assert end(client("segloss: a reason")) == ("began\nsegloss: a reason\n", 1)
    assert [end(process)[1] for process in [client(str(status)) for status in range(9)]] == list(range(9))

    stopped = waiting()
    stopped.terminate()
    assert end(stopped) == ("", 128 + signal.SIGTERM)

    killed_client = waiting()
    killed_client.kill()
    end(killed_client)
    wait_until(lambda: not children(server.pid))

    killed_cell = waiting()
    os.kill(children(server.pid)[0], signal.SIGKILL)
    assert end(killed_cell) == ("", -signal.SIGKILL)

    last = waiting()
    server.stdin.close()
    time.sleep(0.3)
    assert end(client("0")) == ("alone\n", 77)
    last.terminate()
    assert end(last)[1] == 128 + signal.SIGTERM
    assert server.wait(60) == 0
    assert not socket_path.parent.exists()
