"""The checkout in which a command runs, the paths that were typed, and the folders that they default to."""

import argparse
import os
from pathlib import Path

from segloss.grid import ConfigError

# Arguments whose values are paths; a relative one is relative to the folder in which the command was typed.
FOLDERS = ("results", "data_root", "folder", "first", "second", "report")
FILES = ("output", "table", "published")


def typed_path(option: str, value: str) -> Path:
    """A path as it was typed, ``~`` expanded.

    Raises:
        ConfigError: if no file can have that name.
    """
    try:
        path = Path(value).expanduser()
    except RuntimeError:
        raise ConfigError(f"{option}={value!r} names the home folder of an unknown user") from None
    if any(len(os.fsencode(part)) > 255 for part in path.parts):
        raise ConfigError(f"{option}={value!r} is too long: a name has at most 255 bytes")
    return path


def check_folder(option: str, path: Path) -> None:
    """Raise ConfigError if something other than a folder is at a path or above it; the path need not exist."""
    absolute = path.absolute()
    nearest = next(place for place in (absolute, *absolute.parents) if os.path.lexists(place))
    if not os.path.isdir(nearest):
        kind = "a file" if os.path.exists(nearest) else "a broken link"
        raise ConfigError(f"{option}={path} must be a folder, but {nearest} is {kind}")


def find_root(start: Path) -> Path:
    """The checkout of segloss that contains a folder: the nearest with a Snakefile and configs/.

    Raises:
        ConfigError: if there is none.
    """
    for folder in (start, *start.parents):
        if (folder / "configs" / "grids").is_dir() and (folder / "Snakefile").is_file():
            return folder
    raise ConfigError(f"no checkout of segloss at {start} or above it: run this in one or name it with --root")


def enter_root(arguments: argparse.Namespace) -> None:
    """Change to the checkout: that of --root, else that of the working directory. Typed paths keep their meaning.

    Raises:
        ConfigError: if there is no checkout, or a typed path cannot be a file or a folder.
    """
    try:
        working = Path.cwd()
    except FileNotFoundError:
        raise ConfigError("the working directory no longer exists: run this in a checkout of segloss") from None
    for name in (*FOLDERS, *FILES):
        if (value := getattr(arguments, name, None)) is not None:
            option = f"--{name.replace('_', '-')}"
            path = typed_path(option, value).absolute()
            check_folder(option, path if name in FOLDERS else path.parent)
            setattr(arguments, name, path)
    if getattr(arguments, "output", None) and arguments.output.is_dir():
        raise ConfigError(f"--output={arguments.output} must be a file, got a folder")
    root = find_root(typed_path("--root", arguments.root).absolute() if arguments.root else working)
    grid = getattr(arguments, "grid", None)
    if grid is not None and grid.endswith((".yaml", ".yml")):
        arguments.grid = os.path.relpath(typed_path("grid", grid).absolute(), root)
    os.chdir(root)


def default_data_root() -> Path:
    """The folder of the data sets: SEGLOSS_DATA, else data/.

    Raises:
        ConfigError: if it is something other than a folder.
    """
    folder = typed_path("SEGLOSS_DATA", os.environ.get("SEGLOSS_DATA") or "data")
    check_folder("SEGLOSS_DATA", folder)
    return folder


def data_root(arguments: argparse.Namespace) -> Path:
    """The folder of the data sets: --data-root, else the default."""
    return arguments.data_root or default_data_root()


def results_folder(arguments: argparse.Namespace) -> Path:
    """The folder of the cells: --results, else results/.

    Raises:
        ConfigError: if it is something other than a folder.
    """
    results = arguments.results or Path("results")
    check_folder("--results", results)
    return results
