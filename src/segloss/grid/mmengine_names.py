"""The names and values that a config of a data set or a schedule assigns, checked before any job. Imports no torch."""

import functools
import importlib.util
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from segloss.datasets import Dataset
from segloss.grid.errors import ConfigError, unknown
from segloss.grid.mmengine_files import MMEngineFile
from segloss.options import Count, Length, check

Options = Mapping[str, Any]
Size = Annotated[Sequence[Count], Length(2)]
# What a config of each kind may assign; ``object``: checked elsewhere.
SCHEDULE = {
    "iterations": Count,
    "batch_size": Count,
    "optimizer": Options,
    "param_scheduler": Sequence[Options],
    "paramwise_cfg": Options | None,
    "clip_grad": Options | None,
    **dict.fromkeys(("checkpoint", "validation_interval", "needs"), object),
}
DATASET = {
    "source": str,
    "crop_size": Size,
    "train_pipeline": Sequence[Options],
    "test_pipeline": Sequence[Options],
    "test_split": str,
    "test_cfg": Options,
    "val_split": str | None,
    "no_validation": str | None,
    "reference": Literal["label", "majority"],
    "normalisation": Options,
    **dict.fromkeys(("description", "needs"), object),
}
REQUIRED = {
    "schedules": ("iterations", "batch_size", "optimizer", "param_scheduler"),
    "datasets": ("source", "crop_size", "train_pipeline", "test_pipeline", "test_split", "test_cfg"),
    "models": ("model",),
}
REGISTERED = re.compile(r"@(\w+)\.register_module\(\)\s+class (\w+)")
# Folders of source in which transforms and schedulers are registered.
REGISTRIES = (
    ("mmengine", "optim/scheduler"),
    ("mmcv", "transforms"),
    ("mmseg", "datasets/transforms"),
    ("segloss", "engine"),
)


def package_file(package: str, path: str) -> Path | None:
    """A file or folder of an installed package, which is not imported; None without the package."""
    spec = importlib.util.find_spec(package)
    return None if spec is None or spec.origin is None else Path(spec.origin).parent / path


@functools.cache  # of installed packages, which do not change while a process runs
def registered() -> dict[str, set[str]]:
    """Registry -> the names registered in it by the packages of ``REGISTRIES``, read from their source."""
    names: dict[str, set[str]] = {}
    for package, path in REGISTRIES:
        folder = package_file(package, path)
        for file in sorted(folder.glob("*.py")) if folder else ():
            for registry, name in REGISTERED.findall(file.read_text(encoding="utf-8")):
                names.setdefault(registry, set()).add(name)
    return names


@functools.cache
def optimisers() -> set[str]:
    """The names of torch's optimisers, read from its source."""
    file = package_file("torch", "optim/__init__.py")
    return (
        set(re.findall(r"^from torch\.optim\.\w+ import ([A-Z]\w*)", file.read_text(), re.MULTILINE)) if file else set()
    )


def check_type(entry: Any, kind: str, known: Iterable[str], where: str) -> None:
    """Raise ConfigError unless the ``type`` of a dictionary is among the known names; all are where none is known."""
    if known and entry.get("type") not in known:
        raise ConfigError(f"{where}: {unknown(kind, entry.get('type'), known)}")


def check_assigned(kind: str, file: MMEngineFile, values: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    """Check what a config assigns by name and value; names that begin with ``_`` are not checked.

    Args:
        kind: ``datasets``, ``models`` or ``schedules``.
        file: The config.
        values: Its variables, as far as they are no code.
        known: Name -> annotation; of any name if empty.

    Raises:
        ConfigError: if a name is unknown or missing, or a value is outside its range.
    """
    assigned = {*values, *file.assigned}
    for name in sorted(assigned):
        if known and name not in known and not name.startswith("_"):
            raise ConfigError(f"{file.path}: {unknown('name', name, known)}; a variable of your own begins with _")
        if name in known and name in values:
            try:
                check(name, values[name], known[name])
            except ValueError as error:
                raise ConfigError(f"{file.path}: {error}") from None
    for name in REQUIRED[kind]:
        if name not in assigned:
            raise ConfigError(f"{file.path} must assign {name}; it assigns {', '.join(sorted(assigned)) or 'nothing'}")


def check_schedule(file: MMEngineFile, values: Mapping[str, Any]) -> None:
    """Check the config of a schedule; arguments and errors as for ``check_assigned``."""
    check_assigned("schedules", file, values, SCHEDULE)
    if "optimizer" in values:
        check_type(values["optimizer"], "optimiser", optimisers(), f"{file.path}: optimizer")
    for scheduler in values.get("param_scheduler", ()):
        check_type(scheduler, "scheduler", registered().get("PARAM_SCHEDULERS", ()), f"{file.path}: param_scheduler")


def check_dataset(file: MMEngineFile, values: Mapping[str, Any], dataset: Dataset) -> None:
    """Check the config of a data set; arguments and errors as for ``check_assigned``."""
    check_assigned("datasets", file, values, DATASET)
    for name in ("train_pipeline", "test_pipeline"):
        for step in values.get(name, ()):
            check_type(step, "transform", registered().get("TRANSFORMS", ()), f"{file.path}: {name}")
    for name in ("val_split", "test_split"):
        if values.get(name) is not None and values[name] not in dataset.splits:
            raise ConfigError(f"{file.path}: {name}: {unknown('list', values[name], dataset.splits)}")
