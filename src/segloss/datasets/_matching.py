"""Images and their labels found in a folder: files are grouped by directory, extension and last words."""

import os
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

from segloss.datasets._label_values import MOST_VALUES, label_values
from segloss.datasets._patterns import alternatives, file_of
from segloss.datasets._read import DatasetError

IMAGES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".ppm", ".pgm"}
LOSSLESS = IMAGES - {".jpg", ".jpeg", ".webp"}
SPLIT_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}


@dataclass(frozen=True)
class Group:
    """Files that match a pattern with one ``*``, and the text that the ``*`` stands for in each."""

    pattern: str
    keys: frozenset[str]
    folders: tuple[tuple[str, str], ...]  # split and the folder that {split} stands for


def groups_of(folder: Path) -> list[Group]:
    """Group the files below a folder by directory, extension and last words, as in ``x_mask.png``, across splits."""
    paths_of_pattern: dict[str, dict[str, str]] = defaultdict(dict)
    folders: dict[str, dict[str, str]] = defaultdict(dict)
    for directory, _, names in os.walk(folder, followlinks=True):
        pattern, split = _without_split(Path(os.path.relpath(directory, folder)))
        files = [os.path.splitext(name) for name in names if not name.startswith(".")]
        files = [(stem, suffix) for stem, suffix in files if suffix.lower() in IMAGES]
        counts = Counter((end, suffix) for stem, suffix in files for end in _last_words(stem))
        for stem, suffix in files:
            # Last words shared by a fifth of the names denote a kind of file; any others are part of a name.
            common = (end for end in _last_words(stem) if counts[end, suffix] >= max(2, 0.2 * len(files)))
            end = next(common, "")
            key = stem.removesuffix(end)
            entry = (pattern / f"*{end}{suffix}").as_posix()
            paths_of_pattern[entry][f"{split[1]}/{key}" if split else key] = key
            if split:
                folders[entry][split[0]] = split[1]
    return [
        Group(pattern, frozenset(keys), tuple(sorted(folders[pattern].items())))
        for pattern, keys in paths_of_pattern.items()
    ]


def _last_words(stem: str) -> list[str]:
    """``_gtFine_labels`` and ``_labels`` of ``street_000_gtFine_labels``; at most all but the first character."""
    words = re.search(r"(?<=.)(?:[_.-][A-Za-z]+)+$", stem)
    return [words[0][start.start() :] for start in re.finditer("[_.-]", words[0])] if words else []


def merge_endings(groups: list[Group]) -> list[Group]:
    """Merge groups that differ only in their extension and have no name in common: ``photos/*.{jpg,png}``."""
    merged: dict[str, list[Group]] = defaultdict(list)
    for group in sorted(groups, key=lambda group: group.pattern):
        merged[os.path.splitext(group.pattern)[0]].append(group)
    return [group for stem, similar in merged.items() for group in _merged(stem, similar)]


def _merged(stem: str, groups: list[Group]) -> list[Group]:
    keys = frozenset().union(*(group.keys for group in groups))
    if len(groups) == 1 or len(keys) < sum(len(group.keys) for group in groups):
        return groups
    endings = ",".join(os.path.splitext(group.pattern)[1].removeprefix(".") for group in groups)
    folders = sorted({folder for group in groups for folder in group.folders})
    return [Group(f"{stem}.{{{endings}}}", keys, tuple(folders))]


def _without_split(relative: Path) -> tuple[Path, tuple[str, str] | None]:
    """A directory with the part that names a split replaced by ``{split}``, and the pair of that split and part."""
    for place, part in enumerate(relative.parts):
        for split, names in SPLIT_NAMES.items():
            if part.lower() in names:
                return Path(*relative.parts[:place], "{split}", *relative.parts[place + 1 :]), (split, part)
    return relative, None


def matching_groups(folder: Path, groups: list[Group]) -> tuple[Group, Group, list[Group]]:
    """The images, their labels, and further maps that fit them: labels are lossless and have few values.

    Raises:
        DatasetError: No two groups of files fit together.
    """
    candidates = []
    for labels in groups:
        endings = {Path(plain).suffix.lower() for plain in alternatives(labels.pattern)}
        if not endings <= LOSSLESS or not _looks_like_labels(folder, labels):
            continue
        for images in groups:
            shared = len(images.keys & labels.keys)
            if images is not labels and shared and shared >= 0.5 * len(labels.keys):
                hinted = bool(re.search("mask|label|annot|gt|seg|truth", labels.pattern, re.IGNORECASE))
                photograph = not _looks_like_labels(folder, images)
                candidates.append((photograph, shared, hinted, -len(images.pattern), images, labels))
    if not candidates:
        known = ", ".join(sorted(group.pattern for group in groups)) or "none"
        raise DatasetError(
            f"{folder} has no images with label files of the same names (at most {MOST_VALUES} values; PNG or another "
            f"lossless format, since JPEG changes values and colours); files there: {known}"
        )
    *_, images, labels = max(candidates, key=lambda candidate: candidate[:4])
    others = [c[5] for c in candidates if c[4] is images and c[5] is not labels]
    return images, labels, others


def path_of(folder: Path, group: Group, key: str) -> Path:
    split, _, name = key.rpartition("/") if group.folders else ("", "", key)
    return folder / file_of(folder, group.pattern.replace("{split}", split), name)


def _looks_like_labels(folder: Path, group: Group) -> bool:
    try:
        label_values([path_of(folder, group, key) for key in sorted(group.keys)[:3]])
    except DatasetError:
        return False
    return True
