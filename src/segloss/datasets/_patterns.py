"""Files of a described data set: the images that a pattern matches, their labels and raters' maps, and their splits.

A pattern is a path with one ``*``; ``{jpg,png}`` matches any of these texts, ``{split}`` stands for a split's folder.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from segloss.datasets._dataset import Entry, split_line
from segloss.datasets._read import DatasetError

SPLITS = ("train", "val", "test")


def patterns_of(description: Mapping[str, Any]) -> list[str]:
    """The patterns of images, of labels if any, and of raters' maps if any."""
    labels = [description["labels"]] if "labels" in description else []
    return [description["images"], *labels, *description.get("raters", ())]


def splits_of(description: Mapping[str, Any]) -> dict[str, Any]:
    """The rule of each split."""
    split = description["split"]
    return next(split[kind] for kind in ("lists", "shares", "folders") if kind in split)


def read_entries(description: Mapping[str, Any], file: Path, folder: Path, split: str) -> list[Entry]:
    """Image, label and raters' maps of each image of a split, in a fixed order.

    Raises:
        DatasetError: There is no such split, no image, an image without a label, or a share without any image.
    """
    rules, folder = splits_of(description), Path(folder)
    if split not in rules:
        raise DatasetError(
            f"{file} has no list {split!r}; known: {', '.join(name for name in SPLITS if name in rules)}"
        )
    if "lists" in description["split"]:
        return _listed(description, folder, folder / rules[split])
    directory = rules[split] if "folders" in description["split"] else ""
    # A label beside its image, x_mask.png beside x.png, may match the images' pattern too.
    pattern, *maps = [pattern.replace("{split}", directory) for pattern in patterns_of(description)]
    images = [
        (key, image)
        for key, image in _matches(folder, pattern)
        if not any(_key_of(image, map_pattern) for map_pattern in maps)
    ]
    if not images:
        raise DatasetError(f"{file}: no file matches {folder / pattern}")
    first: dict[str, str] = {}
    for key, image in images:
        if first.setdefault(key, image) != image:
            raise DatasetError(f"{file}: {first[key]} and {image} would have the same label: remove or rename one")
    if "shares" in description["split"]:
        images = _share(images, rules, split, description["split"].get("seed", 0), file)
    return [_entry(description, folder, image, key, directory) for key, image in images]


def alternatives(pattern: str) -> list[str]:
    """The patterns that a pattern with ``{jpg,png}`` stands for; only the pattern itself if it has no alternatives."""
    choice = re.search(r"\{([^{}]*,[^{}]*)\}", pattern)
    if choice is None:
        return [pattern]
    return [
        plain
        for text in choice[1].split(",")
        for plain in alternatives(pattern[: choice.start()] + text.strip() + pattern[choice.end() :])
    ]


def file_of(folder: Path, pattern: str, key: str) -> str:
    """The path, relative to the folder, of a pattern with a key in place of ``*``: the first existing alternative."""
    paths = [plain.replace("*", key) for plain in alternatives(pattern)]
    return next((path for path in paths if (folder / path).is_file()), paths[0])


def _key_of(path: str, pattern: str) -> str | None:
    """The text that the ``*`` of a pattern stands for in a path; None if the path does not match."""
    for plain in alternatives(pattern):
        before, after = plain.split("*")
        if len(path) > len(before + after) and path.startswith(before) and path.endswith(after):
            return path[len(before) : len(path) - len(after)]
    return None


def _matches(folder: Path, pattern: str) -> list[tuple[str, str]]:
    """The key and the path of each file below a folder that matches a pattern, sorted by path."""
    tops = {folder / plain.partition("*")[0].rpartition("/")[0] for plain in alternatives(pattern)}
    paths = {
        os.path.relpath(os.path.join(directory, name), folder)
        for top in tops
        for directory, _, names in os.walk(top, followlinks=True)
        for name in names
    }
    matches = ((_key_of(path, pattern), path) for path in paths)
    return sorted(((key, path) for key, path in matches if key is not None), key=lambda pair: pair[1])


def _share(
    images: list[tuple[str, str]], shares: Mapping[str, float], split: str, seed: int, file: Path
) -> list[tuple[str, str]]:
    """The images of a split by shares, in list order: a permutation of all images is cut at the cumulative shares."""
    names = [name for name in SPLITS if name in shares]
    stops = np.rint(np.cumsum([shares[name] for name in names]) * len(images)).astype(int).tolist()
    place = names.index(split)
    start, stop = ([0, *stops])[place], stops[place]
    if start == stop:
        advice = "larger shares or more images are needed" + (", or leave val out" if split == "val" else "")
        raise DatasetError(
            f"{file}: split: a share of {shares[split]} of {len(images)} images for {split} is none: {advice}"
        )
    # RandomState's streams are frozen by numpy's policy, Generator's are not.
    chosen = np.random.RandomState(seed).permutation(len(images))[start:stop]
    return [images[index] for index in sorted(chosen.tolist())]


def _entry(description: Mapping[str, Any], folder: Path, image: str, key: str, directory: str = "") -> Entry:
    def counterpart(pattern: str) -> str:
        return file_of(folder, pattern.replace("{split}", directory), key)

    label = counterpart(description["labels"])
    if not (folder / label).is_file():
        raise DatasetError(f"{folder / image} has no label: there is no {folder / label}")
    raters = [counterpart(pattern) for pattern in description.get("raters", ())]
    return (image, label, *(rater if (folder / rater).is_file() else None for rater in raters))


def _listed(description: Mapping[str, Any], folder: Path, path: Path) -> list[Entry]:
    """The entries of a list whose lines hold an image alone, or image, label and raters' maps."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} cannot be read ({error})") from error
    pattern, raters = description["images"], len(description.get("raters", ()))
    entries = []
    for line in filter(str.strip, lines):
        names = split_line(line, path)
        if len(names) == 1 and "labels" in description:
            # A bare name stands for the * of the pattern.
            key = _key_of(names[0], pattern)
            image = file_of(folder, pattern, names[0]) if key is None else names[0]
            entries.append(_entry(description, folder, image, key or names[0]))
        elif len(names) == 2 + raters:
            entries.append(tuple(None if name == "-" else name for name in names))
        else:
            raise DatasetError(f"{path}: a line must hold an image, or image, label and {raters} raters' maps: {line}")
    if not entries:
        raise DatasetError(f"{path} lists no image")
    return entries
