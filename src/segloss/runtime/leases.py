"""GPU leases: which cell may use which device, so a node can take any number of jobs. Imports no torch.

A lease is a lock on a file, one file per device. The kernel releases it when the process ends, however it ends: a file
left behind means nothing. A cell that shares a device with others locks one nth of the bytes, so locks of any shares
are compatible. The files are outside the results, since all grids of a user share the GPUs of a machine.
"""

import fcntl
import os
import random
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import product
from pathlib import Path

# Bytes that represent a whole device: divisible by every number of cells that may share it.
WHOLE = 720720
LARGEST_SHARE = 16
# Seconds between two attempts while all devices are leased; random, so that waiting cells do not retry in lockstep.
POLL = (0.2, 0.6)


class LeaseError(ValueError):
    """Why no device can be leased, in one sentence."""


def installed() -> list[list[str]]:
    """The GPUs of this machine in the driver's order, each as a list of its MIG devices, or of itself if it has none.

    Empty without ``nvidia-smi``, or if it finds no driver: torch would find no GPU either.
    """
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    gpus: list[list[str]] = []
    for line in listed.splitlines():
        if whole := re.match(r"GPU \d+: .*\(UUID: (GPU-[^)]+)\)", line):
            gpus.append([whole[1]])
        elif part := re.match(r"\s+MIG .*\(UUID: (MIG-[^)]+)\)", line):
            gpus[-1] = [device for device in gpus[-1] if device.startswith("MIG-")] + [part[1]]
    return gpus


def devices() -> list[str]:
    """The devices a cell may lease, by the names that CUDA_VISIBLE_DEVICES accepts.

    SEGLOSS_DEVICES (names separated by commas), where it is set, lists them, as on machines without ``nvidia-smi``;
    otherwise they are those that the driver lists. CUDA_VISIBLE_DEVICES, if set by a person or by a scheduler, selects
    some of these: numbers in the driver's order, or names, which may be shortened; as in CUDA, entries after an unknown
    one are ignored.
    """
    declared = [name.strip() for name in os.environ.get("SEGLOSS_DEVICES", "").split(",") if name.strip()]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and not visible.strip():
        return []
    gpus = [[name] for name in declared] or installed()
    if visible is None:
        return [device for gpu in gpus for device in gpu]
    chosen = []
    for entry in map(str.strip, visible.split(",")):
        if entry.isdigit():
            selected = gpus[int(entry)] if int(entry) < len(gpus) else []
        else:
            selected = [device for gpu in gpus for device in gpu if entry and device.startswith(entry)]
        if not selected:
            break
        chosen += [device for device in selected if device not in chosen]
    return chosen


def lock_folder() -> Path:
    """The user's folder of locks on this machine: SEGLOSS_LEASES, else one in /tmp.

    It must not be on a network file system: the devices are this machine's. TMPDIR is not used, since it differs
    between the sessions of one user.

    Raises:
        LeaseError: if the folder is not this user's.
    """
    folder = Path(os.environ.get("SEGLOSS_LEASES") or f"/tmp/segloss-leases-{os.getuid()}")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise LeaseError(f"{folder} belongs to another user: set SEGLOSS_LEASES to a folder of your own")
    return folder


def lock(folder: Path, device: str, slot: int, share: int, stack: ExitStack) -> bool:
    """Try to lock one of the ``share`` equal parts of a device until the stack is closed."""
    # POSIX record locks belong to the process and not to its children: the orphans of a killed training hold none.
    file = (folder / re.sub(r"[^\w.-]", "_", device)).open("ab")
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, WHOLE // share, slot * (WHOLE // share))
    except BlockingIOError:
        file.close()
        return False
    stack.enter_context(file)
    os.utime(file.fileno())  # programs that clean /tmp leave recent files alone
    return True


def try_lease(folder: Path, names: Sequence[str], count: int, share: int, stack: ExitStack) -> list[str]:
    """Lock a part of each of ``count`` devices, unused ones first; all or none."""
    taken: list[str] = []
    with ExitStack() as attempt:
        for slot, device in product(range(share), names):
            if device not in taken and lock(folder, device, slot, share, attempt):
                taken.append(device)
                if len(taken) == count:
                    stack.push(attempt.pop_all())
                    return taken
    return []


@contextmanager
def lease(
    count: int = 1, share: int = 1, notify: Callable[[str], None] = lambda text: print(text, flush=True)
) -> Iterator[list[str]]:
    """Wait for devices, hold them within the ``with`` block, and list them in CUDA_VISIBLE_DEVICES.

    It must be entered before torch is imported, which reads the variable only once.

    Args:
        count: Devices the cell trains on.
        share: Cells that may use one device at a time, 1 to 16. Cells of different shares respect both.
        notify: Receives a sentence when the cell must wait, and one when it has its devices.

    Yields:
        The devices; none where the machine has none.

    Raises:
        LeaseError: if there are fewer devices than requested, or the share is out of range.
    """
    if not 1 <= share <= LARGEST_SHARE:
        raise LeaseError(f"{share} cells on one GPU: expected 1 to {LARGEST_SHARE}")
    names = devices()
    if not names:
        yield []
        return
    if not 1 <= count <= len(names):
        raise LeaseError(f"a cell on {count} GPUs: this machine offers 1 to {len(names)} ({', '.join(names)})")
    folder = lock_folder()
    with ExitStack() as stack:
        taken = try_lease(folder, names, count, share, stack)
        if not taken:
            notify(f"waiting for {count} of the {len(names)} GPUs, which other cells have leased")
        while not taken:
            time.sleep(random.uniform(*POLL))
            taken = try_lease(folder, names, count, share, stack)
        part = f", one of {share} cells on it" if share > 1 else ""
        notify(f"leased {', '.join(taken)}{part}")
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(taken)
        yield taken
