"""Data sets described by a YAML file: a folder of images and labels needs no Python.

    folder: ~/flowers                    # absolute, with ~ or $VARIABLE, or relative to the YAML file's own (default)
    images: photos/*.jpg                 # one * each: what it matches in an image's path replaces it in the label's
    labels: masks/*_mask.png
    classes:                             # values in the labels: ids, [red, green, blue] or "#rrggbb"; {any: [...]}
      background: [0, 0, 0]
      petal: "#ff0000"
    void: [255, 255, 255]                # pixels without a class
    raters: [ann/*.png, bob/*.png]       # further maps of the same values; one that does not exist is left out
    split: {shares: {train: 0.7, val: 0.1, test: 0.2}, seed: 0}

``split`` is by shares; by lists, ``{lists: {train: train.txt, test: test.txt}}``, whose lines hold an image, or image,
label and raters' maps; or by folders, ``{folders: {train: training, test: testing}}``, which replace ``{split}`` in the
patterns. ``channels``, ``window``, ``reference``, ``resize``, ``crop_size``, ``flip`` and ``colour_jitter`` are options
of reading and training; dataset.schema.json has them all.
"""

import functools
import json
import math
import os
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from segloss.datasets._checks import check_files_of_lists, check_sizes
from segloss.datasets._dataset import Dataset, Entry, split_line
from segloss.datasets._lookup import VOID, colour_table, distinct_colours, ids_of_colours, ids_of_values, value_table
from segloss.datasets._read import DatasetError, read_image, read_values

SCHEMA = Path(__file__).with_name("dataset.schema.json")
SPLITS = ("train", "val", "test")


def described(file: Path) -> Dataset:
    """The data set that a YAML file describes; its name is the file's.

    Raises:
        DatasetError: The file cannot be read or is no description.
    """
    try:
        state = Path(file).stat()
    except OSError as error:
        raise DatasetError(f"there is no description of a data set at {file} ({error.strerror})") from error
    return _described(Path(file).absolute(), state.st_mtime_ns, state.st_size)


@functools.lru_cache(maxsize=32)
def _described(file: Path, time: int, size: int) -> Dataset:
    description = read_description(file)
    classes, values, void = class_values(description, file)
    location = folder_of(description, file)
    entries = partial(read_entries, description, file)

    def verify(folder: Path) -> None:
        """Raise DatasetError, in one sentence, unless all files are there, can be read and fit together."""
        check_files_of_lists(dataset, folder, {split: len(entries(folder, split)) for split in dataset.splits})
        check_sizes(dataset, folder)

    def prepare(data_root: Path) -> Path:
        """Verify the folder; ``data_root`` is not used."""
        if not location.is_dir():
            raise DatasetError(f"{file}: there is no folder {location}")
        verify(location)
        return location

    dataset = Dataset(
        name=file.stem,
        classes=classes,
        palette=palette_of(values),
        void=VOID if void else None,
        raters=len(description.get("raters", ())),
        generated=False,
        instructions=f"{file} describes it: put its files there or change folder: in that file",
        prepare=prepare,
        verify=verify,
        splits=tuple(split for split in SPLITS if split in splits_of(description)),
        location=location,
        read_list=entries,
        read_image=partial(read_image, channels=description.get("channels", 3), window=window_of(description, file)),
        read_label=label_reader(values, void),
        channels=description.get("channels", 3),
        terms=description.get("terms", ""),
    )
    return dataset


def read_description(file: Path) -> dict[str, Any]:
    """The content of a YAML file that describes a data set, checked against the schema.

    Raises:
        DatasetError: The file cannot be read or is no description.
    """
    import jsonschema
    import yaml

    class UniqueKeysSafeLoader(yaml.SafeLoader):
        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            keys = [self.construct_object(key, deep=True) for key, _ in node.value]
            if repeated := [key for place, key in enumerate(keys) if key in keys[:place]]:
                raise yaml.constructor.ConstructorError(None, None, f"duplicate key {repeated[0]!r}", node.start_mark)
            return super().construct_mapping(node, deep)

    try:
        content = yaml.load(file.read_text(encoding="utf-8"), Loader=UniqueKeysSafeLoader)
    except (OSError, ValueError, TypeError, RecursionError, yaml.YAMLError) as error:
        raise DatasetError(f"{file} cannot be read ({' '.join(str(error).split())})") from error
    validator = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))
    if isinstance(content, dict) and not all(isinstance(key, str) for key in content.get("classes") or {}):
        raise DatasetError(f"{file}: classes: names must be text; put numbers and yes/no in quotes")
    if "\\x00" in repr(content):
        raise DatasetError(f"{file} must not hold the character 0")
    error = jsonschema.exceptions.best_match(validator.iter_errors(content))
    if error is not None:
        place = ": ".join(str(step) for step in error.absolute_path)
        raise DatasetError(f"{file}: {place + ': ' if place else ''}{error.message}")
    _check(content, file)
    return content


def _check(description: Mapping[str, Any], file: Path) -> None:
    """Raise DatasetError where options that are right by themselves do not fit together."""
    split = description["split"]
    patterns = patterns_of(description)
    if ("folders" in split) != all("{split}" in pattern for pattern in patterns) or (
        "folders" not in split and any("{split}" in pattern for pattern in patterns)
    ):
        raise DatasetError(f"{file}: split by folders and {{split}} in images, labels and raters go together")
    if "labels" not in description and "lists" not in split:
        raise DatasetError(f"{file}: labels: a pattern is missing; only lists that name the labels can do without")
    if "shares" in split and not abs(sum(split["shares"].values()) - 1) < 1e-6:
        raise DatasetError(f"{file}: split: shares must add up to 1, got {sum(split['shares'].values()):g}")
    if description.get("reference") == "majority" and "raters" not in description:
        raise DatasetError(f"{file}: reference: majority needs raters")
    if description.get("colour_jitter") and description.get("channels", 3) != 3:
        raise DatasetError(f"{file}: colour_jitter needs 3 channels")


def patterns_of(description: Mapping[str, Any]) -> list[str]:
    """The patterns of images, labels and raters' maps, as far as there are any."""
    labels = [description["labels"]] if "labels" in description else []
    return [description["images"], *labels, *description.get("raters", ())]


def folder_of(description: Mapping[str, Any], file: Path) -> Path:
    """The folder of the images and labels."""
    return file.parent / Path(os.path.expandvars(description.get("folder", "."))).expanduser()


def window_of(description: Mapping[str, Any], file: Path) -> tuple[float, float] | None:
    """The values of an image that become 0 and 255; None by default."""
    if "window" not in description:
        return None
    low, high = description["window"]
    if not -math.inf < low < high < math.inf:
        raise DatasetError(f"{file}: window: the first value must be below the second, got {low} and {high}")
    return low, high


Value = int | tuple[int, int, int]


def _values(stated: Any) -> list[Value]:
    """A value, or several, of a class as integers or RGB colours."""
    if isinstance(stated, dict):
        return [value for entry in stated["any"] for value in _values(entry)]
    if isinstance(stated, str):
        return [tuple(bytes.fromhex(stated[1:]))]
    return [tuple(stated) if isinstance(stated, list) else stated]


def class_values(description: Mapping[str, Any], file: Path) -> tuple[tuple[str, ...], list[list[Value]], list[Value]]:
    """The names of the classes, the values of each in the label files, and those of void.

    Raises:
        DatasetError: Colours are mixed with ids, or a value belongs to two classes.
    """
    stated = description["classes"]
    if isinstance(stated, list):
        stated = {name: index for index, name in enumerate(stated)}
    values = [_values(value) for value in stated.values()]
    void = _values(description["void"]) if "void" in description else []
    everything = [value for group in (*values, void) for value in group]
    if len({isinstance(value, tuple) for value in everything}) > 1:
        raise DatasetError(f"{file}: classes and void must be all ids or all colours, got both")
    repeated = {value for value in everything if everything.count(value) > 1}
    if repeated:
        raise DatasetError(f"{file}: the value {min(repeated)} belongs to two classes or to a class and void")
    return tuple(stated), values, void


def palette_of(values: list[list[Value]]) -> tuple[tuple[int, int, int], ...]:
    """The first colour of each class, or distinct ones where the labels hold ids."""
    return tuple(group[0] for group in values) if isinstance(values[0][0], tuple) else distinct_colours(len(values))


def label_reader(values: list[list[Value]], void: list[Value]) -> Any:
    """Path -> class ids of a label file with these values; other values are errors that name the file."""
    pairs = tuple((value, index) for index, group in enumerate(values) for value in group)
    pairs += tuple((value, VOID) for value in void)
    if isinstance(values[0][0], tuple):
        return partial(_read_colours, pairs)
    return partial(_read_ids, value_table(dict(pairs)), (dict(pairs).keys() & {1, 255}) == {255})


def _read_colours(pairs: tuple[tuple[tuple[int, int, int], int], ...], path: Path) -> np.ndarray:
    return ids_of_colours(read_image(path), colour_table(pairs), path)


def _read_ids(table: np.ndarray, white_is_255: bool, path: Path) -> np.ndarray:
    values = read_values(path)
    if values.dtype == bool:  # a mask of one bit: 0 and 1, or 0 and 255 where these are the classes
        values = values.astype(np.uint8) * np.uint8(255 if white_is_255 else 1)
    return ids_of_values(values, table, path)


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
    maps = [_regular_expression(p.replace("{split}", directory)) for p in patterns_of(description)[1:]]
    images = [
        (key, image)
        for key, image in _matches(folder, description["images"].replace("{split}", directory))
        if not any(expression.fullmatch(image) for expression in maps)
    ]
    if not images:
        raise DatasetError(f"{file}: no file matches {folder / description['images'].replace('{split}', directory)}")
    if "shares" in description["split"]:
        images = _share(images, rules, split, description["split"].get("seed", 0), file)
    return [_entry(description, folder, image, key, directory) for key, image in images]


def _regular_expression(pattern: str) -> re.Pattern[str]:
    before, after = pattern.split("*")
    return re.compile(f"{re.escape(before)}(.+){re.escape(after)}")


def _matches(folder: Path, pattern: str) -> list[tuple[str, str]]:
    """What the ``*`` of a pattern stands for and the path, for each file below a folder that matches, sorted."""
    expression = _regular_expression(pattern)
    top = folder / pattern.partition("*")[0].rpartition("/")[0]
    paths = (
        os.path.relpath(os.path.join(directory, name), folder)
        for directory, _, names in os.walk(top, followlinks=True)
        for name in names
    )
    matches = ((match[1], path) for path in paths if (match := expression.fullmatch(path)))
    return sorted(matches, key=lambda pair: pair[1])


def _share(
    images: list[tuple[str, str]], shares: Mapping[str, float], split: str, seed: int, file: Path
) -> list[tuple[str, str]]:
    """The images of a split by shares, in the order of all: a permutation of all is cut at the cumulated shares."""
    names = [name for name in SPLITS if name in shares]
    stops = np.rint(np.cumsum([shares[name] for name in names]) * len(images)).astype(int).tolist()
    place = names.index(split)
    start, stop = ([0, *stops])[place], stops[place]
    if start == stop:
        raise DatasetError(f"{file}: split: a share of {shares[split]} of {len(images)} images for {split} is none")
    # RandomState's streams are frozen by numpy's policy, Generator's are not.
    chosen = np.random.RandomState(seed).permutation(len(images))[start:stop]
    return [images[index] for index in sorted(chosen.tolist())]


def _entry(description: Mapping[str, Any], folder: Path, image: str, key: str, directory: str = "") -> Entry:
    def counterpart(pattern: str) -> str:
        return pattern.replace("{split}", directory).replace("*", key)

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
    expression, raters = _regular_expression(description["images"]), len(description.get("raters", ()))
    entries = []
    for line in filter(str.strip, lines):
        names = split_line(line, path)
        if len(names) == 1 and "labels" in description:
            # A bare name stands for the * of the pattern.
            image = names[0] if expression.fullmatch(names[0]) else description["images"].replace("*", names[0])
            entries.append(_entry(description, folder, image, expression.fullmatch(image)[1]))
        elif len(names) == 2 + raters:
            entries.append(tuple(None if name == "-" else name for name in names))
        else:
            raise DatasetError(f"{path}: a line must hold an image, or image, label and {raters} raters' maps: {line}")
    if not entries:
        raise DatasetError(f"{path} lists no image")
    return entries
