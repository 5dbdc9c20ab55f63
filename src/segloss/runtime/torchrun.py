"""Launch a cell under torchrun without leaving orphan processes. Imports no torch."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Sequence


def set_parent_death_signal(number: int) -> None:
    """Have the kernel send this process a signal when its parent ends, however it ends (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, number)  # PR_SET_PDEATHSIG


def under_torchrun() -> bool:
    """True in a process that torchrun started."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def launch(arguments: Sequence[str], processes: int) -> int:
    """Run ``segloss`` with these arguments in this many processes; SIGTERM and SIGINT are forwarded.

    Returns:
        The exit status, 128 + n after signal n.
    """
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    signals = []
    torchrun = subprocess.Popen(
        [*command, "-m", "segloss", *arguments],
        preexec_fn=lambda: set_parent_death_signal(signal.SIGTERM),
        start_new_session=True,  # otherwise Ctrl-C would reach its processes twice
    )

    def pass_on(number: int, _: object) -> None:
        signals.append(number)
        torchrun.send_signal(number)

    handlers = {number: signal.signal(number, pass_on) for number in (signal.SIGTERM, signal.SIGINT)}
    status = torchrun.wait()
    for number, handler in handlers.items():
        signal.signal(number, handler)
    return 128 + signals[0] if signals and status else status
