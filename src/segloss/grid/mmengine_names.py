"""The names and values that configs of data sets, models and schedules assign, checked before any job. No torch."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from segloss.datasets import Dataset
from segloss.grid.errors import ConfigError, unknown
from segloss.grid.library_options import registered
from segloss.grid.mmengine_files import MMEngineFile, package_folder
from segloss.grid.protocol import Size, check_test_cfg
from segloss.grid.schedules import check_clip_grad, check_optimizer, check_paramwise, check_scheduler, check_type
from segloss.options import Count, check

Options = Mapping[str, Any]
# What a config of each kind may assign; ``object``: checked elsewhere.
SCHEDULE = {
    "iterations": Count,
    "batch_size": Count,
    "optimizer": Options,
    "param_scheduler": Sequence[Options],
    "paramwise_cfg": Options | None,
    "clip_grad": Options | None,
    **dict.fromkeys(("checkpoint", "validation_interval", "resources"), object),
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
    **dict.fromkeys(("description", "resources"), object),
}
# MMSegmentation's configs also share ``norm_cfg``; the configs of timm's backbones here share ``common``.
MODEL = {
    "model": Options,
    "imagenet": Options | None,
    "normalisation": Options,
    "channels_last": bool,
    **dict.fromkeys(("resources", "norm_cfg", "common"), object),
}
REQUIRED = {
    "schedules": ("iterations", "batch_size", "optimizer", "param_scheduler"),
    "datasets": ("source", "crop_size", "train_pipeline", "test_pipeline", "test_split", "test_cfg"),
    "models": ("model",),
}


def check_assigned(kind: str, file: MMEngineFile, values: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    """Check what a config assigns by name and value.

    Names that begin with ``_`` and those that only a base in MMSegmentation assigns are not checked.

    Args:
        kind: ``datasets``, ``models`` or ``schedules``.
        file: The config.
        values: Its variables that can be evaluated.
        known: Name -> annotation; if empty, any name is accepted.

    Raises:
        ConfigError: if a name is unknown or missing, or a value is outside its range.
    """
    assigned = {*values, *file.assigned}
    for name in sorted(assigned):
        if known and name in file.assigned and name not in known and not name.startswith("_"):
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
        check_optimizer(values["optimizer"], f"{file.path}: optimizer")
    for scheduler in values.get("param_scheduler", ()):
        check_scheduler(scheduler, f"{file.path}: param_scheduler")
    if values.get("clip_grad") is not None:
        check_clip_grad(values["clip_grad"], f"{file.path}: clip_grad")
    if values.get("paramwise_cfg") is not None and "optimizer" in values:
        check_paramwise(values["paramwise_cfg"], values["optimizer"], f"{file.path}: paramwise_cfg")


def check_model(file: MMEngineFile, values: Mapping[str, Any]) -> None:
    """Check the config of a model; arguments and errors as for ``check_assigned``.

    MMSegmentation's own configs use variables of other names, which are not checked.
    """
    folder = package_folder()
    in_zoo = folder is not None and file.path.resolve().is_relative_to(folder)
    check_assigned("models", file, values, {} if in_zoo else MODEL)


def check_dataset(file: MMEngineFile, values: Mapping[str, Any], dataset: Dataset) -> None:
    """Check the config of a data set; arguments and errors as for ``check_assigned``."""
    check_assigned("datasets", file, values, DATASET)
    for name in ("train_pipeline", "test_pipeline"):
        for step in values.get(name, ()):
            check_type(step, "transform", registered().get("TRANSFORMS", ()), f"{file.path}: {name}")
    if "test_cfg" in values:
        check_test_cfg(values["test_cfg"], len(dataset.classes), f"{file.path}: test_cfg")
    for name in ("val_split", "test_split"):
        if values.get(name) is not None and values[name] not in dataset.splits:
            raise ConfigError(f"{file.path}: {name}: {unknown('list', values[name], dataset.splits)}")
