"""Disks made for a fault: one that is full, one that loses its power. Only root may mount them."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


class NoDisk(Exception):
    """Why no disk can be made here."""


def mount(*options: str) -> None:
    """Mount something.

    Raises:
        NoDisk: if this user or machine may not.
    """
    try:
        subprocess.run(["mount", *options], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise NoDisk(f"cannot mount: {getattr(error, 'stderr', None) or error}".strip()) from None


def unmount(folder: Path) -> None:
    """Take a disk away from a folder, as soon as nobody has a file of it open."""
    for _ in range(100):
        if not subprocess.run(["umount", str(folder)], capture_output=True, check=False).returncode:
            return
        time.sleep(0.1)
    subprocess.run(["umount", str(folder)], check=True)


@contextmanager
def small_disk(folder: Path, kibibytes: int) -> Iterator[Callable[[int], None]]:
    """A file system of that size over a folder; the context is what gives it another size."""
    folder.mkdir(parents=True, exist_ok=True)
    mount("-t", "tmpfs", "-o", f"size={kibibytes}k", "tmpfs", str(folder))
    try:
        yield lambda size: mount("-t", "tmpfs", "-o", f"remount,size={size}k", "tmpfs", str(folder))
    finally:
        unmount(folder)


@contextmanager
def read_only_disk(folder: Path) -> Iterator[None]:
    """A file system to which nothing can be written, over a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    mount("-t", "tmpfs", "-o", "ro", "tmpfs", str(folder))
    try:
        yield
    finally:
        unmount(folder)


@contextmanager
def disk_with_a_plug(folder: Path, image: Path, megabytes: int = 100) -> Iterator[Callable[[int], None]]:
    """An ext4 file system over a folder, which is what an image file holds; the context is what pulls the plug.

    Of what was written the image holds what the kernel has sent to it: no more than the writers have flushed, since
    nothing is sent by the clock (``commit=3600``). Pulling the plug stops a group of processes, copies the image, ends
    them, and puts the copy in its place: what a machine finds when it starts again, its journal replayed.
    """
    made = shutil.which("mkfs.ext4")
    if made is None:
        raise NoDisk("no mkfs.ext4")
    folder.mkdir(parents=True, exist_ok=True)
    with image.open("wb") as file:
        file.truncate(megabytes * 2**20)
    subprocess.run([made, "-q", str(image)], check=True)

    def plug_in() -> None:
        mount("-o", "loop,commit=3600", str(image), str(folder))

    def pull(group: int) -> None:
        copy = image.with_suffix(".copy")
        os.killpg(group, signal.SIGSTOP)
        subprocess.run(["cp", "--sparse=always", str(image), str(copy)], check=True)
        os.killpg(group, signal.SIGKILL)
        os.waitpid(group, 0)
        unmount(folder)
        copy.replace(image)
        plug_in()

    plug_in()
    try:
        yield pull
    finally:
        unmount(folder)
        image.unlink()
