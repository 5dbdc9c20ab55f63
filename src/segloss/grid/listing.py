"""Names that a grid file can use, with a line each. Imports no torch."""

from collections.abc import Callable, Mapping
from pathlib import Path

from segloss.grid.configs import Configs
from segloss.grid.grids import read_grid


def first_comment(file: Path) -> str:
    """The first comment line of a file, without the ``#``."""
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith("#"):
            return line.lstrip("# ").rstrip()
        if line.strip():
            break
    return ""


def _files(configs: Configs, kind: str) -> dict[str, str]:
    folders = [configs.folder / "mmseg" / kind, configs.folder / kind]
    return {file.stem: first_comment(file) for folder in folders for file in sorted(folder.glob("*.[py][ya]*"))}


def _grids(configs: Configs) -> dict[str, str]:
    return {file.stem: read_grid(file)["title"] for file in sorted((configs.folder / "grids").glob("*.yaml"))}


KINDS: Mapping[str, Callable[[Configs], dict[str, str]]] = {
    "grids": _grids,
    "datasets": lambda configs: _files(configs, "datasets"),
    "models": lambda configs: _files(configs, "models"),
    "schedules": lambda configs: _files(configs, "schedules"),
    "labels": lambda configs: configs.titles["labels"],
    "losses": lambda configs: configs.titles["losses"],
}


def listing(configs: Configs, kinds: tuple[str, ...] = tuple(KINDS)) -> str:
    """The names of these kinds, a line each."""
    parts = []
    for kind in kinds:
        entries = KINDS[kind](configs)
        width = max(map(len, entries), default=0)
        parts.append("\n".join([f"{kind}:", *(f"  {name:{width}}  {text}".rstrip() for name, text in entries.items())]))
    return "\n\n".join(parts)
