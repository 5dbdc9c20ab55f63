"""The description of a folder of images and labels, derived from its content, with pictures of five pairs."""

import re
from pathlib import Path

import numpy as np
from PIL import Image

from segloss.datasets._contact_sheet import contact_sheet
from segloss.datasets._label_values import Value, label_values
from segloss.datasets._matching import Group, groups_of, matching_groups, merge_endings, path_of
from segloss.datasets._patterns import SPLITS
from segloss.datasets._read import DatasetError
from segloss.files import write_text

MOST_READ = 60  # label files that are inspected
LONGEST_SIDE = 512  # of images trained on whole


def new_dataset(folder: Path, file: Path | None = None) -> tuple[Path, Path]:
    """Write the description of the images and labels in a folder, and a contact sheet of five pairs.

    Args:
        folder: Images and labels, in any of the usual layouts: two folders, or one with a suffix for the labels; in
            folders for train, val and test, or with lists train.txt and test.txt next to them, or without a split.
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
    images, labels, others = matching_groups(folder, merge_endings(groups_of(folder)))
    keys = sorted(images.keys & labels.keys)
    split = _split(folder, images, len(keys))
    unlabelled = sorted(images.keys - labels.keys)
    if unlabelled and not split.startswith("{lists"):
        more = f" ({len(unlabelled)} images have none)" if len(unlabelled) > 1 else ""
        raise DatasetError(
            f"{path_of(folder, images, unlabelled[0])} has no label {labels.pattern}{more}: move it elsewhere, or name "
            f"the images to use in {folder / 'train.txt'}, val.txt and test.txt, a line each"
        )
    shown = keys[:: max(1, len(keys) // MOST_READ)]
    values, pixels = label_values([path_of(folder, labels, key) for key in shown])
    text = _description(folder, images, labels, others, values, pixels, split, _sizes(folder, images, shown))
    write_text(file, text)
    try:
        sheet = contact_sheet(file)
    except DatasetError:
        file.unlink()
        raise
    return file, sheet


def _sizes(folder: Path, images: Group, keys: list[str]) -> list[tuple[int, int]]:
    sizes = []
    for key in keys:
        with Image.open(path_of(folder, images, key)) as image:
            sizes.append((image.height, image.width))
    return sizes


def _description(
    folder: Path,
    images: Group,
    labels: Group,
    others: list[Group],
    values: dict[Value, int],
    pixels: int,
    split: str,
    sizes: list[tuple[int, int]],
) -> str:
    others_than_255 = [value for value in values if value != 255]
    is_void = 255 in values and len(values) > 2 and max(others_than_255) < 200
    void = 255 if is_void else None
    if 65535 in values:
        void = 65535
    classes = sorted(value for value in values if value != void)
    if len(classes) == 1:
        raise DatasetError(f"{folder}: the labels {labels.pattern} hold only one value, {classes[0]}")
    unused = sorted(labels.keys - images.keys)
    lines = [
        f"# {len(images.keys & labels.keys)} images with labels, found in {folder.name}. Rename the classes, then name",
        "# this file without .yaml in the datasets of a grid.",
        f"folder: {folder}",
        f"images: '{images.pattern}'",
        f"labels: '{labels.pattern}'",
        *(f"# labels without an image: {len(unused)}, among them that of {key}" for key in unused[:1]),
        *(f"# also matches the images, perhaps as raters: '{group.pattern}'" for group in others),
        "classes:  # share of the pixels",
        *(f"  {_class_name(v, classes)}: {_yaml(v)}  # {100 * values[v] / pixels:.2f} %" for v in classes),
        f"void: {void}  # {100 * values[void] / pixels:.2f} %"
        if void is not None
        else f"# void: {_yaml(classes[-1])}  # the value of unlabelled pixels; it is then not a class",
        f"split: {split}",
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


def _split(folder: Path, images: Group, count: int) -> str:
    """The split by folders or lists if they exist; else by shares, without val if a tenth might be no image."""
    if {"train", "test"} <= {split for split, _ in images.folders}:
        return f"{{folders: {{{', '.join(f'{split}: {name}' for split, name in _ordered(images.folders))}}}}}"
    lists = tuple((split, f"{split}.txt") for split in SPLITS if (folder / f"{split}.txt").is_file())
    if {"train", "test"} <= {split for split, _ in lists}:
        return f"{{lists: {{{', '.join(f'{split}: {name}' for split, name in lists)}}}}}"
    shares = "train: 0.7, val: 0.1, test: 0.2" if count >= 10 else "train: 0.7, test: 0.3"
    return f"{{shares: {{{shares}}}, seed: 0}}"


def _ordered(folders: tuple[tuple[str, str], ...]) -> list[tuple[str, str]]:
    return sorted(folders, key=lambda pair: SPLITS.index(pair[0]))


def _size_lines(sizes: list[tuple[int, int]]) -> list[str]:
    """Whole images, resized, if they are large or some are smaller than the least crop; otherwise crops."""
    height, width = (int(np.median(axis)) for axis in zip(*sizes, strict=True))
    smallest = min(min(size) for size in sizes)
    note = f"# images are {height} x {width} (height x width" + (", median)" if len(set(sizes)) > 1 else ")")
    if max(height, width) <= LONGEST_SIDE and smallest >= 64:
        side = min(256, smallest // 32 * 32)
        return [f"{note}: crops are trained on, whole images predicted", f"crop_size: [{side}, {side}]"]
    scale = min(1.0, LONGEST_SIDE / max(height, width))
    resize = [max(32, round(side * scale / 32) * 32) for side in (height, width)]
    return [f"{note}: trained on and predicted at this size, scored at their own", f"resize: {resize}"]
