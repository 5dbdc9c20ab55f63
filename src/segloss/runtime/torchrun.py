"""Starting a cell in several processes by torchrun, and seeing that none of them is left behind. Imports no torch."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Sequence


def end_with_parent(number: int) -> None:
    """Let the kernel send this process a signal when the one that started it ends, however that ends (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, number)  # PR_SET_PDEATHSIG


def is_one_of_several() -> bool:
    """Whether this process was started by torchrun."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def launch(arguments: Sequence[str], processes: int) -> int:
    """Run ``segloss`` with these arguments in so many processes; SIGTERM and SIGINT are passed on.

    Returns:
        The exit status, 128 + n after signal n.
    """
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    told = []
    torchrun = subprocess.Popen(
        [*command, "-m", "segloss", *arguments],
        preexec_fn=lambda: end_with_parent(signal.SIGTERM),
        start_new_session=True,  # or Ctrl-C would reach its processes twice
    )

    def tell(number: int, _: object) -> None:
        told.append(number)
        torchrun.send_signal(number)

    before = {number: signal.signal(number, tell) for number in (signal.SIGTERM, signal.SIGINT)}
    status = torchrun.wait()
    for number, handler in before.items():
        signal.signal(number, handler)
    return 128 + told[0] if told and status else status
