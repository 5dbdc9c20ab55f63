"""A fork server: small cells share their imports, since each is forked from one process that has already done them.

A Snakemake run on this machine starts the server. ``segloss train`` then hands over its arguments, working directory,
environment and standard streams, waits, forwards signals, and exits with the cell's status. A cell remains one job, one
process and one log; forked before any thread is started, its result is bit-identical to that of a separate process.
Where the server cannot be used (it has ended, the code has changed since it was imported, or there is a GPU: CUDA
cannot be used in a forked process once it has been initialised), the cell runs in a separate process.
"""

import atexit
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
import threading
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from segloss.runtime.torchrun import set_parent_death_signal, under_torchrun

SOCKET = "SEGLOSS_FORKSERVER"  # path of the server's socket; if unset or empty, every cell runs in a separate process
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
NUMBER = struct.Struct("!i")
Request = tuple[list[str], str, dict[str, str]]  # arguments, working directory, environment


def start(entry_point: str, preload: Sequence[str]) -> None:
    """Start the server, which ends when this process ends, however it ends, and export the path of its socket.

    ``SEGLOSS_FORKSERVER=off`` runs every cell in a separate process; with a running server's path, none is started.

    Args:
        entry_point: ``<module>:<function>`` that a forked process calls with the client's ``sys.argv``.
        preload: Modules that the server imports.
    """
    if os.environ.get(SOCKET) or sys.platform != "linux":
        return
    path = Path(tempfile.mkdtemp(prefix="segloss-")) / "socket"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(1024)
        # Cells set their own number of threads; until then no library may start any: threads do not survive a fork.
        single = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        pipe, _held_open = os.pipe()  # the kernel closes its other end when this process ends
        command = [sys.executable, "-m", "segloss.runtime.forkserver", str(listener.fileno()), str(path), entry_point]
        subprocess.Popen(
            [*command, *preload],
            stdin=pipe,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[listener.fileno()],
            start_new_session=True,  # Ctrl-C goes to the jobs, which forward it
            env={**os.environ, **single, "CUDA_VISIBLE_DEVICES": ""},
        )
        os.close(pipe)
    os.environ[SOCKET] = str(path)


def send_request(server: socket.socket, request: Request, streams: Sequence[int]) -> None:
    """Send the arguments, working directory, environment and standard streams of a process to fork."""
    content = json.dumps(request).encode()
    socket.send_fds(server, [NUMBER.pack(len(content))], list(streams))
    server.sendall(content)


def run_in_server(arguments: list[str]) -> None:
    """Run ``segloss`` with these arguments in a process forked from the server, and exit with its status.

    Returns if the server cannot be used.

    Raises:
        SystemExit: with the exit status of the forked process.
    """
    path, gpu = os.environ.get(SOCKET), any(Path("/dev").glob("nvidia[0-9]*"))
    if not path or path == "off" or gpu or under_torchrun():
        return
    request = (arguments, os.getcwd(), dict(os.environ) | {SOCKET: ""})
    answer = b""
    with socket.socket(socket.AF_UNIX) as server, suppress(OSError):
        server.connect(path)
        # Signals are blocked until they can be forwarded: one must not end the client and thereby kill its cell.
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            send_request(server, request, (0, 1, 2))
            handlers = [
                signal.signal(number, lambda received, _: server.send(NUMBER.pack(received))) for number in SIGNALS
            ]
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        answer = server.recv(NUMBER.size)
        for number, handler in zip(SIGNALS, handlers, strict=True):
            signal.signal(number, handler)
    if answer:
        exit_with(NUMBER.unpack(answer)[0])


def exit_with(status: int) -> None:
    """End this process with that exit status, or by that signal if it is negative."""
    if status < 0:
        if -status in SIGNALS:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    sys.exit(status)


def sources() -> dict[str, tuple[int, int]]:
    """Modification time and size of every file of the package, to detect changes after it was imported."""
    files = Path(__file__).parents[1].rglob("*.py")
    return {str(file): (state.st_mtime_ns, state.st_size) for file in files for state in [file.stat()]}


def preload_modules(names: Sequence[str]) -> None:
    """Import modules for all processes that are forked later."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of packages about themselves
        for name in names:
            importlib.import_module(name)
    gc.freeze()  # shared pages stay shared: the cells' garbage collections do not touch them


def receive(client: socket.socket) -> tuple[Request, list[int]]:
    """A request and the file descriptors of its three standard streams."""
    header, streams, _, _ = socket.recv_fds(client, NUMBER.size, 3)
    with client.makefile("rb") as stream:
        return tuple(json.loads(stream.read(NUMBER.unpack(header)[0]))), streams


class ForkServer:
    """Forks a process for each request until its standard input ends and the last of these processes has ended.

    Args:
        listener: The socket that accepts clients.
        preload: Modules that are imported at the first request.
    """

    def __init__(self, listener: socket.socket, preload: Sequence[str]) -> None:
        self.listener, self.preload = listener, preload
        self.imported: dict[str, tuple[int, int]] | None = None  # the sources as they were at import
        self.clients: dict[int, socket.socket] = {}  # by the process forked for them
        self.accepting = True
        self.selector = selectors.DefaultSelector()
        self.selector.register(listener, selectors.EVENT_READ, self.accept)
        self.selector.register(sys.stdin.fileno(), selectors.EVENT_READ, self.stop_accepting)

    def serve(self) -> tuple[Request, list[int]] | None:
        """Handle events until the server ends.

        Returns:
            In each forked process its request; None in the server, at its end.
        """
        while self.accepting or self.clients:
            for key, _ in self.selector.select():
                if self.selector.get_map().get(key.fd) is key and (request := key.data(key)):
                    return request
        return None

    def stop_accepting(self, key: selectors.SelectorKey) -> None:
        """The parent has ended: take no more requests."""
        self.selector.unregister(key.fileobj)
        self.selector.unregister(self.listener)
        self.listener.close()
        self.accepting = False

    def accept(self, key: selectors.SelectorKey) -> tuple[Request, list[int]] | None:
        """Fork for a new client; returns its request in the forked process, None in the server."""
        client, _ = self.listener.accept()
        client.settimeout(10)
        with suppress(OSError, ValueError, struct.error):
            request, streams = receive(client)
            if self.imports_are_current():
                pid = os.fork()
                if not pid:
                    client.close()
                    self.close_in_child()
                    return request, streams
                self.clients[pid] = client
                self.selector.register(client, selectors.EVENT_READ, lambda key: self.handle_client(key, pid))
                self.selector.register(os.pidfd_open(pid), selectors.EVENT_READ, lambda key: self.handle_exit(key, pid))
            for stream in streams:
                os.close(stream)
        if client not in self.clients.values():
            client.close()  # without an answer: the client runs its cell itself
        return None

    def imports_are_current(self) -> bool:
        """True if the imported code still matches the files; the first call imports it."""
        current = sources()
        if self.imported is None:
            self.imported = current
            preload_modules(self.preload)
        return current == self.imported

    def close_in_child(self) -> None:
        """Close the server's file descriptors in a forked process, so that they close when the server ends."""
        for key in list(self.selector.get_map().values()):
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
            elif key.fileobj != sys.stdin.fileno():
                os.close(key.fileobj)
        self.selector.close()

    def handle_client(self, key: selectors.SelectorKey, pid: int) -> None:
        """Forward a client's signal to its process, or kill the process if the client has ended."""
        message = b""
        with suppress(OSError):
            message = key.fileobj.recv(NUMBER.size)
        os.kill(pid, NUMBER.unpack(message)[0] if len(message) == NUMBER.size else signal.SIGKILL)
        if not message:
            self.selector.unregister(key.fileobj)

    def handle_exit(self, key: selectors.SelectorKey, pid: int) -> None:
        """Send a client the exit status of its process."""
        _, status = os.waitpid(pid, 0)
        client = self.clients.pop(pid)
        with suppress(KeyError):
            self.selector.unregister(client)
        self.selector.unregister(key.fd)
        os.close(key.fd)
        with client, suppress(OSError):
            client.sendall(NUMBER.pack(os.waitstatus_to_exitcode(status)))


def take_over(request: Request, streams: list[int]) -> None:
    """Take over the arguments, working directory, environment and standard streams of a client."""
    arguments, folder, environment = request
    set_parent_death_signal(signal.SIGKILL)  # a client whose server is gone runs its cell again
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None
    sys.argv[:] = ["segloss", *arguments]


def run_and_exit(function: Callable[[], Any]) -> NoReturn:
    """Call a function and end the process as Python does, but without tearing down everything the server imported.

    Teardown would copy the pages that are shared with the server, a third of a second for each cell. Threads are
    joined, exit handlers called and streams flushed; an exception other than SystemExit propagates.
    """
    try:
        status = function()
    except SystemExit as end:
        status = end.code
    if status is not None and not isinstance(status, int):
        print(status, file=sys.stderr)
        status = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # the reader has ended, or it was closed
            stream.flush()
    os._exit((status or 0) & 0xFF)


def main(listener: str, path: str, entry_point: str, *preload: str) -> Any:
    """The server: ``python -m segloss.runtime.forkserver <listener> <path> <entry point> <modules>``."""
    request = ForkServer(socket.socket(fileno=int(listener)), preload).serve()
    if request is None:
        return shutil.rmtree(Path(path).parent, ignore_errors=True)
    take_over(*request)
    module, function = entry_point.split(":")
    return run_and_exit(getattr(importlib.import_module(module), function))


if __name__ == "__main__":
    main(*sys.argv[1:])
