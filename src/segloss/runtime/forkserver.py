"""Small cells share their imports: each is forked from one process that has imported torch and MMSegmentation already.

A Snakemake run on this machine starts the server beside itself. ``segloss train`` then hands its arguments, folder,
environment and output over, and does nothing but wait, pass signals on and end as the cell ends. A cell remains one
job, one process and one log; forked before any thread was started, it gives the result of a process of its own to the
last bit. Wherever the server cannot help (it is gone, the code has changed since it was imported, there is a GPU, which
does not survive a fork once it was looked at) the cell runs as a process of its own.
"""

import functools
import gc
import importlib
import json
import os
import selectors
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

from segloss.runtime.torchrun import end_with_parent, is_one_of_several

PLACE = "SEGLOSS_WARM"  # where the server listens; without it, or empty, every cell is a process of its own
# What a training imports on its way, beside what its module does.
LATER = (
    "matplotlib.backends.backend_agg",
    "matplotlib.pyplot",
    "mmseg.engine",
    "mmseg.evaluation",
    "mmseg.visualization",
    "pkg_resources",
    "torch._dynamo",
)
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
NUMBER = struct.Struct("!i")


def start() -> None:
    """Start the server, which ends with this process however that ends, and tell the jobs by the environment.

    ``SEGLOSS_WARM=off`` keeps every cell a process of its own.
    """
    if os.environ.get(PLACE) == "off" or sys.platform != "linux":
        return
    place = Path(tempfile.mkdtemp(prefix="segloss-")) / "socket"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place))
        listener.listen(1024)
        # Cells set their own number of threads; until then no library may start any, they would not survive the fork.
        single = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        pipe, _held_open = os.pipe()  # its other end is closed by the kernel, when this process is no more
        subprocess.Popen(
            [sys.executable, "-m", "segloss.runtime.forkserver", str(listener.fileno()), str(place)],
            stdin=pipe,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[listener.fileno()],
            start_new_session=True,  # Ctrl-C is for the jobs, which pass it on
            env={**os.environ, **single, "CUDA_VISIBLE_DEVICES": ""},
        )
        os.close(pipe)
    os.environ[PLACE] = str(place)


def delegate(arguments: list[str]) -> None:
    """Let the server run ``segloss`` with these arguments and end as it ends; return where it does not.

    Raises:
        SystemExit: with the exit status of the cell.
    """
    place, gpu = os.environ.get(PLACE), any(Path("/dev").glob("nvidia[0-9]*"))
    if not place or gpu or is_one_of_several():
        return
    request = json.dumps([arguments, os.getcwd(), dict(os.environ) | {PLACE: ""}]).encode()
    answer = b""
    with socket.socket(socket.AF_UNIX) as server, suppress(OSError):
        server.connect(place)
        socket.send_fds(server, [NUMBER.pack(len(request))], [0, 1, 2])
        server.sendall(request)
        before = [signal.signal(each, lambda number, _: server.send(NUMBER.pack(number))) for each in SIGNALS]
        answer = server.recv(NUMBER.size)
        for each, handler in zip(SIGNALS, before, strict=True):
            signal.signal(each, handler)
    if answer:
        end_as(NUMBER.unpack(answer)[0])


def end_as(status: int) -> None:
    """End this process with that exit status, or by that signal if it is negative."""
    if status < 0:
        if -status in SIGNALS:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    sys.exit(status)


def sources() -> dict[str, tuple[int, int]]:
    """Time and size of every file of the package: whether what was imported is what stands there."""
    files = Path(__file__).parents[1].rglob("*.py")
    return {str(file): (state.st_mtime_ns, state.st_size) for file in files for state in [file.stat()]}


@functools.cache
def imported() -> dict[str, tuple[int, int]]:
    """Import what a cell needs, once, and say from which files."""
    found = sources()
    from segloss import tracking
    from segloss.engine import cell  # noqa: F401

    tracking.preload()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of packages about themselves
        for name in LATER:
            importlib.import_module(name)
    gc.freeze()  # what is shared stays shared: the cells' garbage collections do not touch it
    return found


def receive(client: socket.socket) -> tuple[list[Any], list[int]]:
    """A request and the three files of its standard streams."""
    header, files, _, _ = socket.recv_fds(client, NUMBER.size, 3)
    with client.makefile("rb") as stream:
        return json.loads(stream.read(NUMBER.unpack(header)[0])), files


def serve(listener: socket.socket) -> tuple[list[Any], list[int]] | None:
    """Fork a process for each request until standard input ends and the last has ended.

    Returns:
        In each forked process its request; None in the server, at its end.
    """
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ, "listener")
    selector.register(sys.stdin.fileno(), selectors.EVENT_READ, "parent")
    cells: dict[int, socket.socket] = {}  # by pid
    open_to_more = True
    while open_to_more or cells:
        for key, _ in selector.select():
            if key.data == "parent":
                selector.unregister(key.fileobj)
                selector.unregister(listener)
                listener.close()
                open_to_more = False
            elif key.data == "listener":
                client, _ = listener.accept()
                client.settimeout(10)
                with suppress(OSError, ValueError, struct.error):
                    request, files = receive(client)
                    if sources() == imported():
                        pid = os.fork()
                        if not pid:
                            client.close()
                            leave(selector)
                            return request, files
                        cells[pid] = client
                        selector.register(client, selectors.EVENT_READ, ("client", pid))
                        selector.register(os.pidfd_open(pid), selectors.EVENT_READ, ("cell", pid))
                    for file in files:
                        os.close(file)
                if client not in cells.values():
                    client.close()  # which says: run it yourself
            elif key.data[1] in cells:
                attend(selector, key, cells)
    return None


def leave(selector: selectors.BaseSelector) -> None:
    """Close in a forked process what only the server may hold, or who waits for its end waits for the cell's too."""
    for key in list(selector.get_map().values()):
        if isinstance(key.fileobj, socket.socket):
            key.fileobj.close()
        elif key.fileobj != sys.stdin.fileno():
            os.close(key.fileobj)
    selector.close()


def attend(selector: selectors.BaseSelector, key: selectors.SelectorKey, cells: dict[int, socket.socket]) -> None:
    """Pass a signal on to a cell, kill it with its client, or tell the client how it ended."""
    who, pid = key.data
    if who == "client":
        message = b""
        with suppress(OSError):
            message = key.fileobj.recv(NUMBER.size)
        os.kill(pid, NUMBER.unpack(message)[0] if len(message) == NUMBER.size else signal.SIGKILL)
        if not message:
            selector.unregister(key.fileobj)
        return
    _, status = os.waitpid(pid, 0)
    client = cells.pop(pid)
    with suppress(KeyError):
        selector.unregister(client)
    selector.unregister(key.fd)
    os.close(key.fd)
    with client, suppress(OSError):
        client.sendall(NUMBER.pack(os.waitstatus_to_exitcode(status)))


def become(request: list[Any], files: list[int]) -> None:
    """Take over the arguments, folder, environment and standard streams of a client."""
    arguments, folder, environment = request
    end_with_parent(signal.SIGKILL)  # whoever loses the server loses the cell too, and runs it again
    for stream, file in enumerate(files):
        os.dup2(file, stream)
        os.close(file)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None
    sys.argv[1:] = arguments


def main() -> None:
    """The server: ``python -m segloss.runtime.forkserver <file descriptor of the socket> <its path>``."""
    place = Path(sys.argv[2])
    if request := serve(socket.socket(fileno=int(sys.argv[1]))):
        become(*request)
        from segloss.cli import main as segloss

        sys.argv[0] = "segloss"
        segloss()
    else:
        shutil.rmtree(place.parent, ignore_errors=True)


if __name__ == "__main__":
    main()
