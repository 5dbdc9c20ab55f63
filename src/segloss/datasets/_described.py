"""Data sets described by a YAML file: a folder of images and labels needs no Python.

    folder: ~/flowers                    # absolute, with ~ or $VARIABLE, or relative to the YAML file's own (default)
    images: photos/*.{jpg,png}           # one * each: its match in an image's path fills the * in the label's
    labels: masks/*_mask.png
    classes:                             # values in the labels: ids, [red, green, blue] or "#rrggbb"; {any: [...]}
      background: [0, 0, 0]
      petal: "#ff0000"
    void: [255, 255, 255]                # pixels without a class
    raters: [ann/*.png, bob/*.png]       # further maps with the same values; missing ones are left out
    split: {shares: {train: 0.7, val: 0.1, test: 0.2}, seed: 0}

``split`` is by shares; by lists, ``{lists: {train: train.txt, test: test.txt}}``, each line of which holds an image, or
image, label and raters' maps; or by folders, ``{folders: {train: training, test: testing}}``, whose names replace
``{split}`` in the patterns. ``channels``, ``window``, ``reference``, ``resize``, ``crop_size``, ``flip`` and
``colour_jitter`` are options of reading and training; dataset.schema.json lists them all.
"""

import functools
import json
import math
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from segloss.datasets._checks import check_files_of_lists, check_sizes
from segloss.datasets._dataset import Dataset
from segloss.datasets._label_values import Value
from segloss.datasets._lookup import VOID, colour_table, distinct_colours, ids_of_colours, ids_of_values, value_table
from segloss.datasets._patterns import SPLITS, patterns_of, read_entries, splits_of
from segloss.datasets._read import DatasetError, read_image, read_values

SCHEMA = Path(__file__).with_name("dataset.schema.json")


def described(file: Path) -> Dataset:
    """The data set that a YAML file describes; its name is the file's.

    Raises:
        DatasetError: The file cannot be read or is not a description.
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
        """Raise DatasetError, in one sentence, unless all files exist, can be read and fit together."""
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
        instructions=f"{file} describes it: put the files in its folder, or change folder: in that file",
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
        DatasetError: The file cannot be read or is not a description.
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
        raise DatasetError(f"{file} must not contain the NUL character")
    error = jsonschema.exceptions.best_match(validator.iter_errors(content))
    if error is not None:
        place = ": ".join(str(step) for step in error.absolute_path)
        is_pattern = error.schema is not True and error.schema.get("description", "").startswith("a path")
        message = f"must be {error.schema['description']}, got {error.instance}" if is_pattern else error.message
        raise DatasetError(f"{file}: {place + ': ' if place else ''}{message}")
    _check(content, file)
    return content


def _check(description: Mapping[str, Any], file: Path) -> None:
    """Raise DatasetError if options that are valid individually contradict each other."""
    split = description["split"]
    patterns = patterns_of(description)
    if ("folders" in split) != all("{split}" in pattern for pattern in patterns) or (
        "folders" not in split and any("{split}" in pattern for pattern in patterns)
    ):
        raise DatasetError(f"{file}: split by folders and {{split}} in images, labels and raters require each other")
    if "labels" not in description and "lists" not in split:
        raise DatasetError(f"{file}: labels: a pattern is missing; it is optional only with lists that name the labels")
    if "shares" in split and not abs(sum(split["shares"].values()) - 1) < 1e-6:
        raise DatasetError(f"{file}: split: shares must add up to 1, got {sum(split['shares'].values()):g}")
    if description.get("reference") == "majority" and "raters" not in description:
        raise DatasetError(f"{file}: reference: majority needs raters")
    if description.get("colour_jitter") and description.get("channels", 3) != 3:
        raise DatasetError(f"{file}: colour_jitter needs 3 channels")


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


def _values(stated: Any) -> list[Value]:
    """The value or values of a class, as integers or RGB colours."""
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
    """Return a reader, path -> class ids, of label files with these values; others raise an error with the path."""
    pairs = tuple((value, index) for index, group in enumerate(values) for value in group)
    pairs += tuple((value, VOID) for value in void)
    if isinstance(values[0][0], tuple):
        return partial(_read_colours, pairs)
    return partial(_read_ids, value_table(dict(pairs)), (dict(pairs).keys() & {1, 255}) == {255})


def _read_colours(pairs: tuple[tuple[tuple[int, int, int], int], ...], path: Path) -> np.ndarray:
    return ids_of_colours(read_image(path), colour_table(pairs), path)


def _read_ids(table: np.ndarray, white_is_255: bool, path: Path) -> np.ndarray:
    values = read_values(path)
    if values.dtype == bool:  # a 1-bit mask: 0 and 1, or 0 and 255 if these are the classes
        values = values.astype(np.uint8) * np.uint8(255 if white_is_255 else 1)
    return ids_of_values(values, table, path)
