"""Read MMEngine config files, with error messages that a user can act on."""

from collections.abc import Callable
from pathlib import Path

from mmengine.config import Config
from mmengine.config import config as mmengine_config

from segloss.grid import ConfigError


def _external_path(package: str, name: str, by_metafiles: Callable = mmengine_config._get_external_cfg_path) -> str:
    """The path of a config of another package, as MMEngine looks it up.

    Raises:
        ValueError: if no metafile lists it; MMEngine then uses the path as it is. No metafile lists the files of
            ``_base_``, but MMEngine would read all metafiles for each of them first: half a second of each training.
    """
    if name.startswith("_base_/"):
        raise ValueError(f"{name} is in no metafile")
    return by_metafiles(package, name)


mmengine_config._get_external_cfg_path = _external_path


def read_config(path: Path) -> Config:
    """An MMEngine config, executed.

    Raises:
        ConfigError: if it cannot be executed.
    """
    try:
        return Config.fromfile(path)
    except Exception as error:  # a config is code and may raise anything
        raise ConfigError(
            f"{path} cannot be executed: {type(error).__name__}: {' '.join(str(error).split())}"
        ) from error
