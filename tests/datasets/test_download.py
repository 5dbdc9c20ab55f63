"""Downloads from a local server that breaks off, and archives with paths outside of their folder."""

import contextlib
import http.server
import io
import re
import tarfile
import threading
import zipfile
from pathlib import Path

import pytest

from segloss.datasets import DATASETS, DatasetError, list_datasets
from segloss.datasets._availability import availability
from segloss.datasets._download import download, unpack

CONTENT = bytes(range(256)) * 40


@contextlib.contextmanager
def breaking_server(content: bytes, parts: list[int], ranges: bool):
    """A server that sends ``parts[n]`` bytes in its n-th response; yields the URL and the requested ranges."""
    requests: list[str | None] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            requested = self.headers.get("Range")
            requests.append(requested)
            start = int(re.findall(r"\d+", requested)[0]) if requested and ranges else 0
            if start >= len(content):
                self.send_error(416)
                return
            self.send_response(206 if requested and ranges else 200)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            self.wfile.write(content[start:][: parts.pop(0)])

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/a.tar.gz", requests
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("ranges", [True, False])
def test_an_interrupted_download_goes_on(tmp_path, ranges):
    target = tmp_path / "a.tar.gz"
    with breaking_server(CONTENT, [3000, 10**6], ranges) as (url, requests):
        with pytest.raises(DatasetError, match=r"ended after 3000 of 10240 bytes\); 0 MB are kept, run this again"):
            download(url, target, "a")
        assert not target.exists()
        download(url, target, "a")
        assert requests == [None, "bytes=3000-"]
    assert target.read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar.gz"]


def test_a_partial_file_longer_than_the_whole_is_fetched_anew(tmp_path):
    target = tmp_path / "a.tar.gz"
    (tmp_path / "a.tar.gz.partial").write_bytes(CONTENT * 2)
    with breaking_server(CONTENT, [10**6], True) as (url, requests):
        download(url, target, "a")
        assert requests == [f"bytes={2 * len(CONTENT)}-", None]
    assert target.read_bytes() == CONTENT


def tar(path: Path, files: dict[str, bytes], links: dict[str, tuple[bytes, str]]) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, (kind, target) in links.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            archive.addfile(info)
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def zipped(path: Path, files: dict[str, bytes], links: dict[str, tuple[bytes, str]]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, (_, target) in links.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = 0o120777 << 16
            archive.writestr(info, target)
        for name, content in files.items():
            archive.writestr(name, content)


@pytest.mark.parametrize("pack", [tar, zipped])
@pytest.mark.parametrize("name", ["../escaped", "a/../../escaped", "/tmp/segloss-escaped", "a/../b"])
def test_no_file_is_written_outside_of_the_folder(tmp_path, pack, name):
    pack(tmp_path / "x", {"good": b"1", name: b"2"}, {})
    with pytest.raises(DatasetError, match=r"x has the file .*, which would be written outside .*folder"):
        unpack(tmp_path / "x", tmp_path / "folder", str)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["folder", "good", "x"]
    assert not Path("/tmp/segloss-escaped").exists()


@pytest.mark.parametrize("pack", [tar, zipped])
def test_links_and_devices_are_not_written(tmp_path, pack):
    outside = tmp_path / "outside"
    outside.mkdir()
    links = {"inner": (tarfile.SYMTYPE, str(outside)), "hard": (tarfile.LNKTYPE, "inner"), "dev": (tarfile.CHRTYPE, "")}
    pack(tmp_path / "x", {"inner/a": b"1"}, links)
    unpack(tmp_path / "x", tmp_path / "folder", str)
    assert list(outside.iterdir()) == []
    assert [path.relative_to(tmp_path / "folder").as_posix() for path in (tmp_path / "folder").rglob("*")] == [
        "inner",
        "inner/a",
    ]
    assert not (tmp_path / "folder" / "inner").is_symlink()


@pytest.mark.parametrize("pack", [tar, zipped])
def test_damaged_archives_are_sentences(tmp_path, pack):
    pack(tmp_path / "x", {"a": CONTENT * 9, "b": CONTENT}, {})
    content = (tmp_path / "x").read_bytes()
    for damaged in (content[: len(content) // 2], b"", b"no archive"):
        (tmp_path / "x").write_bytes(damaged)
        with pytest.raises(DatasetError, match="x is not a complete archive"):
            unpack(tmp_path / "x", tmp_path / "folder", str)


def test_the_list_of_data_sets(tmp_path, monkeypatch):
    """Ready, incomplete and missing ones, each with its terms; the instructions of a shared folder appear once."""
    monkeypatch.chdir(tmp_path)
    DATASETS["phantom"].prepare(Path("data"))
    for name in ("camvid", "cwfid"):
        (tmp_path / "root" / name).mkdir(parents=True)
    text = list_datasets(tmp_path / "root")
    states = {line.split()[0]: line.split()[1] for line in text.split("\n\n")[0].splitlines()[1:]}
    assert set(states) == set(DATASETS)
    assert (states["phantom"], states["camvid"], states["stare"]) == ("ready", "incomplete", "missing")
    assert re.search(r"^camvid +incomplete +200 MB +CC BY-NC", text, re.MULTILINE)
    assert "camvid, camvid-trainval: there is no list" in text
    assert "cwfid: cwfid: " in text
    assert text.count("register at https://qubiq21") == 1
    (tmp_path / "data" / "phantom" / "images" / "train_0000.png").unlink()
    entry = availability(DATASETS["phantom"], tmp_path / "data" / "phantom")
    assert (entry.state, entry.note) == ("incomplete", f"{tmp_path}/data/phantom/images/train_0000.png is missing")
