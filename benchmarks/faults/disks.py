"""Disks made for a fault: a full one, a read-only one, one that loses its power. Only root may mount them."""

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
    """Mount a file system.

    Raises:
        NoDisk: if this user or machine is not allowed to.
    """
    try:
        subprocess.run(["mount", *options], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise NoDisk(f"cannot mount: {getattr(error, 'stderr', None) or error}".strip()) from None


def unmount(folder: Path) -> None:
    """Unmount a disk from a folder as soon as no process has a file on it open."""
    for _ in range(100):
        if not subprocess.run(["umount", str(folder)], capture_output=True, check=False).returncode:
            return
        time.sleep(0.1)
    subprocess.run(["umount", str(folder)], check=True)


@contextmanager
def small_disk(folder: Path, kibibytes: int) -> Iterator[Callable[[int], None]]:
    """Mount a file system of this size over a folder; the context is a function that resizes it."""
    folder.mkdir(parents=True, exist_ok=True)
    mount("-t", "tmpfs", "-o", f"size={kibibytes}k", "tmpfs", str(folder))
    try:
        yield lambda size: mount("-t", "tmpfs", "-o", f"remount,size={size}k", "tmpfs", str(folder))
    finally:
        unmount(folder)


@contextmanager
def read_only_disk(folder: Path) -> Iterator[None]:
    """Mount a read-only file system over a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    mount("-t", "tmpfs", "-o", "ro", "tmpfs", str(folder))
    try:
        yield
    finally:
        unmount(folder)


@contextmanager
def disk_with_a_plug(folder: Path, image: Path, megabytes: int = 100) -> Iterator[Callable[[int], None]]:
    """Mount the ext4 file system of an image file over a folder; the context is a function that pulls the plug.

    The image contains only those writes that the kernel has sent to it: no more than the writers have flushed, since
    there is no periodic commit (``commit=3600``). Pulling the plug stops a group of processes, copies the image, kills
    them, and replaces the image by the copy: what a machine finds after a restart, with the journal replayed.
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
