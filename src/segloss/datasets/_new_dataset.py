"""A description of a folder of images and labels, written from what is in it, with pictures of five pairs."""

import os
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from segloss.datasets._described import SPLITS, described
from segloss.datasets._read import DatasetError, read_values
from segloss.files import write_atomic, write_text

IMAGES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".ppm", ".pgm"}
LOSSLESS = IMAGES - {".jpg", ".jpeg", ".webp"}
SPLIT_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
MOST_VALUES = 64  # more different values or colours are no class labels
MOST_READ = 60  # labels that are looked at
LONGEST_SIDE = 512  # of images trained on whole


@dataclass(frozen=True)
class Group:
    """Files that one pattern with one ``*`` matches, and what it stands for in each."""

    pattern: str
    keys: frozenset[str]
    folders: tuple[tuple[str, str], ...]  # split and the folder that {split} stands for


def new_dataset(folder: Path, file: Path | None = None) -> tuple[Path, Path]:
    """Write the description of the images and labels in a folder, and a contact sheet of five pairs.

    Args:
        folder: Images and labels, in any of the usual layouts: two folders, or one with a suffix for the labels; below
            folders for train, val and test, or with lists train.txt and test.txt beside them, or without a split.
        file: The YAML file to write. Default: ``<folder's name>.yaml`` in the working directory.

    Returns:
        The YAML file and the contact sheet beside it, ``<name>-pairs.png``.

    Raises:
        DatasetError: No images with labels are in the folder, the labels do not look like classes, or the file exists.
    """
    folder = Path(folder).absolute()
    file = Path(file or f"{re.sub('[^A-Za-z0-9_-]+', '-', folder.name)}.yaml").absolute()
    if not folder.is_dir():
        raise DatasetError(f"there is no folder {folder}")
    if file.exists():
        raise DatasetError(f"{file} exists; remove it or choose another name with --name")
    images, labels, others = matching_groups(folder, groups_of(folder))
    keys = sorted(images.keys & labels.keys)
    shown = keys[:: max(1, len(keys) // MOST_READ)]
    values, pixels = label_values([_path(folder, labels, key) for key in shown])
    text = _description(folder, images, labels, others, values, pixels, _sizes(folder, images, shown))
    write_text(file, text)
    try:
        sheet = contact_sheet(file)
    except DatasetError:
        file.unlink()
        raise
    return file, sheet


def groups_of(folder: Path) -> list[Group]:
    """The files below a folder by directory, ending and last words as in ``x_mask.png``, splits taken together."""
    paths_of_pattern: dict[str, dict[str, str]] = defaultdict(dict)
    folders: dict[str, dict[str, str]] = defaultdict(dict)
    for directory, _, names in os.walk(folder, followlinks=True):
        pattern, split = _without_split(Path(os.path.relpath(directory, folder)))
        files = [os.path.splitext(name) for name in names if not name.startswith(".")]
        files = [(stem, suffix) for stem, suffix in files if suffix.lower() in IMAGES]
        words = Counter((_last_words(stem), suffix) for stem, suffix in files)
        for stem, suffix in files:
            # A word at the end of a fifth of the names is a kind of file; any other is part of a name.
            common = words[_last_words(stem), suffix] >= max(2, 0.2 * len(files))
            end = _last_words(stem) if common else ""
            key = stem.removesuffix(end)
            entry = (pattern / f"*{end}{suffix}").as_posix()
            paths_of_pattern[entry][f"{split[1]}/{key}" if split else key] = key
            if split:
                folders[entry][split[0]] = split[1]
    return [
        Group(pattern, frozenset(keys), tuple(sorted(folders[pattern].items())))
        for pattern, keys in paths_of_pattern.items()
    ]


def _last_words(stem: str) -> str:
    """``_gtFine_labels`` of ``street_000_gtFine_labels``; at most all but the first character."""
    words = re.search(r"(?<=.)(?:[_.-][A-Za-z]+)+$", stem)
    return words[0] if words else ""


def _without_split(relative: Path) -> tuple[Path, tuple[str, str] | None]:
    """A directory with ``{split}`` for the part that names a split, and that split and part."""
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
        if Path(labels.pattern).suffix.lower() not in LOSSLESS or not _looks_like_labels(folder, labels):
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
            f"{folder} has no images with label files of the same names (lossless, at most {MOST_VALUES} values); "
            f"files there: {known}"
        )
    *_, images, labels = max(candidates, key=lambda candidate: candidate[:4])
    others = [c[5] for c in candidates if c[4] is images and c[5] is not labels]
    return images, labels, others


def _path(folder: Path, group: Group, key: str) -> Path:
    split, _, name = key.rpartition("/") if group.folders else ("", "", key)
    return folder / group.pattern.replace("{split}", split).replace("*", name)


def _looks_like_labels(folder: Path, group: Group) -> bool:
    try:
        label_values([_path(folder, group, key) for key in sorted(group.keys)[:3]])
    except DatasetError:
        return False
    return True


Value = int | tuple[int, int, int]


def label_values(paths: list[Path]) -> tuple[dict[Value, int], int]:
    """The values or colours of label files with the number of their pixels, the most frequent first, and all pixels.

    Raises:
        DatasetError: A file cannot be read, or there are too many values for classes.
    """
    counts: dict[Value, int] = defaultdict(int)
    for path in paths:
        colours = _colours(path)
        if colours is None:
            values, numbers = np.unique(_stored(path), return_counts=True)
            entries: list[Value] = values.tolist()
        else:
            packed = colours.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
            codes, numbers = np.unique(packed, return_counts=True)
            entries = [(code >> 16, code >> 8 & 255, code & 255) for code in codes.tolist()]
        for value, number in zip(entries, numbers.tolist(), strict=True):
            counts[value] += number
        if len(counts) > MOST_VALUES:
            raise DatasetError(f"{path} has more than {MOST_VALUES} values: it does not look like class labels")
    if len({isinstance(value, tuple) for value in counts}) > 1:
        raise DatasetError(f"{paths[0].parent} holds labels in colours and labels with ids")
    return dict(sorted(counts.items(), key=lambda pair: -pair[1])), sum(counts.values())


def _colours(path: Path) -> np.ndarray | None:
    """The pixels of a label file in colours; None for ids: grey, or a palette."""
    try:
        with Image.open(path) as image:
            if image.mode not in ("RGB", "RGBA"):
                return None
            pixels = np.array(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise DatasetError(f"{path} cannot be read ({error})") from error
    return pixels


def _stored(path: Path) -> np.ndarray:
    values = read_values(path)
    return values.astype(np.uint8) if values.dtype == bool else values


def _sizes(folder: Path, images: Group, keys: list[str]) -> list[tuple[int, int]]:
    sizes = []
    for key in keys:
        with Image.open(_path(folder, images, key)) as image:
            sizes.append((image.height, image.width))
    return sizes


def _description(
    folder: Path,
    images: Group,
    labels: Group,
    others: list[Group],
    values: dict[Value, int],
    pixels: int,
    sizes: list[tuple[int, int]],
) -> str:
    others_than_255 = [value for value in values if value != 255]
    is_void = 255 in values and len(values) > 2 and max(others_than_255) < 200
    void = 255 if is_void else None
    if 65535 in values:
        void = 65535
    classes = sorted(value for value in values if value != void)
    if len(classes) == 1:
        raise DatasetError(f"{folder}: the labels {labels.pattern} hold one value only, {classes[0]}")
    missing = len(images.keys - labels.keys)
    lines = [
        f"# {len(images.keys & labels.keys)} images with labels, found in {folder.name}. Rename the classes, then name",
        "# this file without .yaml in the datasets of a grid.",
        f"folder: {folder}",
        f"images: '{images.pattern}'",
        f"labels: '{labels.pattern}'",
        *(f"# {missing} images have no label: remove them, or list those to use" for _ in range(missing > 0)),
        *(f"# also fits the images, as raters perhaps: '{group.pattern}'" for group in others),
        "classes:  # share of the pixels",
        *(f"  {_class_name(v, classes)}: {_yaml(v)}  # {100 * values[v] / pixels:.2f} %" for v in classes),
        *([f"void: {void}  # {100 * values[void] / pixels:.2f} %"] if void is not None else []),
        f"split: {_split(folder, images)}",
        *_size_lines(sizes),
    ]
    return "\n".join(lines) + "\n"


def _class_name(value: Value, classes: list[Value]) -> str:
    if value in (0, (0, 0, 0)):
        return "background"
    if len(classes) == 2:
        return "foreground"
    return f"class-{bytes(value).hex()}" if isinstance(value, tuple) else f"class-{value}"


def _yaml(value: Value) -> str:
    return str(list(value)) if isinstance(value, tuple) else str(value)


def _split(folder: Path, images: Group) -> str:
    if {"train", "test"} <= {split for split, _ in images.folders}:
        return f"{{folders: {{{', '.join(f'{split}: {name}' for split, name in _ordered(images.folders))}}}}}"
    lists = tuple((split, f"{split}.txt") for split in SPLITS if (folder / f"{split}.txt").is_file())
    if {"train", "test"} <= {split for split, _ in lists}:
        return f"{{lists: {{{', '.join(f'{split}: {name}' for split, name in lists)}}}}}"
    return "{shares: {train: 0.7, val: 0.1, test: 0.2}, seed: 0}"


def _ordered(folders: tuple[tuple[str, str], ...]) -> list[tuple[str, str]]:
    return sorted(folders, key=lambda pair: SPLITS.index(pair[0]))


def _size_lines(sizes: list[tuple[int, int]]) -> list[str]:
    """Whole images at a smaller size where they are large or differ; else crops."""
    height, width = (int(np.median(axis)) for axis in zip(*sizes, strict=True))
    smallest = min(min(size) for size in sizes)
    note = f"# images are {height} x {width} (height x width" + (", median)" if len(set(sizes)) > 1 else ")")
    if max(height, width) <= LONGEST_SIDE and smallest >= 64:
        side = min(256, smallest // 32 * 32)
        return [f"{note}: crops are trained on, whole images predicted", f"crop_size: [{side}, {side}]"]
    scale = min(1.0, LONGEST_SIDE / max(height, width))
    resize = [max(32, round(side * scale / 32) * 32) for side in (height, width)]
    return [f"{note}: trained on and predicted at this size, scored at their own", f"resize: {resize}"]


def contact_sheet(file: Path, count: int = 5, side: int = 240) -> Path:
    """Five images of a described data set beside their labels in the palette's colours, as a PNG beside the file.

    Raises:
        DatasetError: The description or one of the five pairs is wrong.
    """
    dataset = described(file)
    entries = [entry for split in dataset.splits for entry in dataset.read_list(dataset.location, split)]
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(dataset.palette)] = dataset.palette
    palette[255] = 128  # void
    rows = []
    for image_path, label_path, *_ in entries[:: max(1, len(entries) // count)][:count]:
        image = dataset.load_image(dataset.location / image_path)
        label = palette[dataset.load_label(dataset.location / label_path, image.shape[:2])]
        mixed = ((image[..., :3].astype(int) + label) // 2).astype(np.uint8)
        row = Image.new("RGB", (3 * side, side), "white")
        for place, pixels in enumerate((image[..., :3], label, mixed)):
            picture = Image.fromarray(np.ascontiguousarray(pixels))
            picture.thumbnail((side - 4, side - 4), Image.Resampling.NEAREST)
            row.paste(picture, (place * side + 2, 2))
        rows.append(row)
    sheet = Image.new("RGB", (3 * side, side * len(rows)), "white")
    for place, row in enumerate(rows):
        sheet.paste(row, (0, place * side))
    path = file.with_name(f"{file.stem}-pairs.png")
    write_atomic(path, lambda target: sheet.save(target, "PNG"))
    return path
