"""Resumable downloads, and archive extraction that never writes outside the target folder."""

import http.client
import os
import shutil
import sys
import tarfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from segloss.datasets._read import DatasetError

PARTIAL = ".partial"
BLOCK = 1 << 20  # bytes
TIMEOUT = 60  # seconds without a byte


def download(url: str, file: Path, name: str) -> None:
    """Download to a file, which appears only when it is complete.

    Data received before an interruption is kept in ``<file>.partial``, and only the rest is fetched next time if the
    server supports range requests; otherwise the download starts over.

    Args:
        url: What to fetch.
        file: Where to put it.
        name: Name of the data set in the progress on stderr.

    Raises:
        DatasetError: The server cannot be reached, refuses the request, or closes the connection too early.
    """
    partial = file.with_name(file.name + PARTIAL)
    try:
        _continue(url, partial, name)
    except (OSError, http.client.HTTPException) as error:
        received = partial.stat().st_size if partial.is_file() else 0
        if not received:
            partial.unlink(missing_ok=True)
        kept = f"; {received / 1e6:.0f} MB are kept, run this again to continue" if received else ""
        raise DatasetError(f"could not download {url} ({error}){kept}") from error
    os.replace(partial, file)


def _continue(url: str, partial: Path, name: str) -> None:
    start = partial.stat().st_size if partial.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        # Nothing is left to fetch, or the file has become shorter: callers verify the content.
        response = urllib.request.urlopen(url, timeout=TIMEOUT)
    with response, open(partial, "ab") as target:
        if response.status != http.client.PARTIAL_CONTENT:
            target.truncate(0)
            start = 0
        length = int(response.headers.get("Content-Length") or 0)
        received = start
        while block := response.read(BLOCK):
            target.write(block)
            received += len(block)
            total = f" of {(start + length) / 1e6:.0f}" if length else ""
            print(f"\r{name}: {received / 1e6:.0f}{total} MB", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
        if length and received < start + length:
            raise OSError(f"the connection ended after {received} of {start + length} bytes")


def unpack(archive: Path, folder: Path, target_of: Callable[[PurePosixPath], str | None]) -> None:
    """Extract the wanted regular files of a tar or zip archive to a folder; links and devices are never written.

    Args:
        archive: The archive.
        folder: Where to write.
        target_of: Maps a member's path to the path to write below ``folder``, or to None to leave it out.

    Raises:
        DatasetError: It is not an archive, is damaged, or a wanted file would be written outside the folder.
    """
    try:
        for path, opened in _members(archive):
            target = target_of(path)
            if target is None:
                continue
            relative = PurePosixPath(target)
            # Folders are created here and only regular files are written, so no link can lead outside.
            if relative.is_absolute() or ".." in relative.parts or "\\" in target:
                raise DatasetError(f"{archive} has the file {path}, which would be written outside {folder}")
            (folder / relative).parent.mkdir(parents=True, exist_ok=True)
            with opened() as source, open(folder / relative, "wb") as file:
                shutil.copyfileobj(source, file)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError, zlib.error, NotImplementedError) as error:
        raise DatasetError(f"{archive} is not a complete archive ({error})") from error


def _members(archive: Path) -> Iterator[tuple[PurePosixPath, Callable[[], BinaryIO]]]:
    """The regular files of an archive, each with a function that opens it."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as file:
            for entry in file.infolist():
                # The upper half of the attributes is a Unix mode; 0o120000 marks a symbolic link.
                if not entry.is_dir() and (entry.external_attr >> 16) & 0o170000 in (0, 0o100000):
                    yield PurePosixPath(entry.filename), lambda entry=entry: file.open(entry)
        return
    with tarfile.open(archive, mode="r:*") as file:
        for entry in file:
            if entry.isreg():
                yield PurePosixPath(entry.name), lambda entry=entry: file.extractfile(entry)
