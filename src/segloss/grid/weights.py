"""The entry point for pretrained weights: which file a model needs, where it is looked for, its SHA-256. No torch.

``<model>@imagenet`` starts from the weights that the model's config declares as ``imagenet``::

    imagenet = {
        "file": "resnet18d_ra2-48a79e06.pth",  # name of the file
        "url": "https://...",  # or "package", an installed package that contains the file
        "megabytes": 45,
        "licence": "Apache-2.0",
        "names": "order",  # optional: tensor names differ from the backbone's, but the order is the same
    }

``<model>@<name>`` starts from ``<name>.pth``, ``.pt`` or ``.safetensors``. Files are looked for in the folder of
SEGLOSS_WEIGHTS (default ``weights/``), then in torch's download cache, then in the package.
"""

import functools
import importlib.util
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segloss.files import sha256_of
from segloss.grid.errors import ConfigError
from segloss.grid.mmengine_files import MMEngineFile
from segloss.grid.zoo import address, named_weights

NONE, IMAGENET = "none", "imagenet"
SUFFIXES = (".pth", ".pt", ".safetensors")
KEYS = {"file": str, "url": str, "package": str, "megabytes": (int, float), "licence": str, "names": str}
NAMES = ("same", "order")
# Backbones whose weights MMSegmentation adapts to the model (position embeddings at another resolution) on loading.
ADAPTED = ("VisionTransformer", "SwinTransformer", "BEiT", "MAE")


@dataclass(frozen=True)
class Pretrained:
    """Pretrained weights of a backbone.

    Attributes:
        name: ``imagenet``, or the name of a file without its suffix.
        files: File names that are looked for; the first one found is used.
        package: An installed package that contains the file, if any.
        url: The address of the file; None if it is not known.
        megabytes: Its size; None if it is not known.
        licence: Its licence; None if it is not known.
        names: ``same``: tensors are matched by name; ``order``: by their order in timm's full model; ``adapted``: as
            MMSegmentation's own backbone loads them.
        module: The module of the segmentor to which they belong.
    """

    name: str
    files: tuple[str, ...]
    package: str | None = None
    url: str | None = None
    megabytes: float | None = None
    licence: str | None = None
    names: str = "same"
    module: str = "backbone"


def zoo_weights(model: Mapping[str, Any]) -> Pretrained | None:
    """The ImageNet weights that a config of MMSegmentation's zoo names; None if it names none."""
    named = named_weights(model)
    if named is None:
        return None
    file, url = address(named[0])
    names = "adapted" if model["backbone"].get("type") in ADAPTED else "same"
    return Pretrained(IMAGENET, (file,), url=url, names=names, module=named[1])


def declared_weights(file: MMEngineFile, name: str, model: Mapping[str, Any]) -> Pretrained:
    """The pretrained weights of that name for a model.

    Args:
        file: The config of the model.
        name: ``imagenet``, or the name of a file without its suffix.
        model: The ``model`` of that config. The weights it names are used if the config assigns no ``imagenet``.

    Raises:
        ConfigError: if the model declares no weights of that kind, or declares them wrongly.
    """
    if name != IMAGENET:
        return Pretrained(name, tuple(f"{name}{suffix}" for suffix in SUFFIXES))
    entry = file.literals.get("imagenet")
    if entry is None and (weights := zoo_weights(model)):
        return weights
    if entry is None:
        raise ConfigError(
            f"{file.path} declares no imagenet weights; expected imagenet = {{'file': ..., 'url': ...}}, "
            "or pretrained: none or the name of a weights file"
        )
    wrong = [key for key, value in entry.items() if key not in KEYS or not isinstance(value, KEYS[key])]
    if wrong or "file" not in entry or entry.get("names", "same") not in NAMES:
        raise ConfigError(
            f"{file.path}: imagenet: expected file and any of {', '.join(KEYS)} (names: {' or '.join(NAMES)}), "
            f"got {entry}"
        )
    return Pretrained(name, (entry["file"],), **{key: value for key, value in entry.items() if key != "file"})


def weights_folder() -> Path:
    """The folder that is searched first: SEGLOSS_WEIGHTS, else weights/."""
    return Path(os.path.expanduser(os.environ.get("SEGLOSS_WEIGHTS") or "weights"))  # accepts ~unknown_user


def search_path(pretrained: Pretrained) -> Iterator[Path]:
    """The paths at which a weights file may be, in the order in which they are tried."""
    home = Path(os.environ.get("TORCH_HOME") or Path.home() / ".cache" / "torch")
    folders = [weights_folder(), home / "hub" / "checkpoints"]
    if pretrained.package and (spec := importlib.util.find_spec(pretrained.package)):
        folders += [
            folder for place in spec.submodule_search_locations or () for folder in (Path(place), Path(place, "models"))
        ]
    return (folder / file for folder in folders for file in pretrained.files)


def find_weights(pretrained: Pretrained) -> Path | None:
    """The file of pretrained weights, None if it is not on this machine."""
    return next((path for path in search_path(pretrained) if path.is_file()), None)


def describe(pretrained: Pretrained) -> str:
    """Name, size, licence and source of a weights file, and the folder to put it in."""
    size = f"{pretrained.megabytes:g} MB, " if pretrained.megabytes else ""
    source = pretrained.url or (f"package {pretrained.package}" if pretrained.package else "a file of your own")
    return (
        f"{pretrained.files[0]} ({size}{pretrained.licence or 'licence unknown'}; {source}): "
        f"put it into {weights_folder()}/ or the folder of SEGLOSS_WEIGHTS"
    )


def require_weights(pretrained: Pretrained, model: str) -> Path:
    """The file of pretrained weights.

    Raises:
        ConfigError: if it is not on this machine; the message describes how to get it.
    """
    path = find_weights(pretrained)
    if path is None:
        raise ConfigError(f"{model} needs the pretrained weights {describe(pretrained)}")
    return path


@functools.cache
def _sha256(path: Path, _size: int, _time: int) -> str:
    return sha256_of(path)


def weights_sha256(path: Path) -> str:
    """SHA-256 of a weights file, cached as long as its size and time stay the same."""
    state = path.stat()
    return _sha256(path, state.st_size, state.st_mtime_ns)


def pretrained_entry(pretrained: Pretrained | None) -> Mapping[str, Any] | None:
    """The record's entry about pretrained weights: name, file and SHA-256; None for a model trained from scratch."""
    if pretrained is None or (path := find_weights(pretrained)) is None:
        return None
    return {"name": pretrained.name, "file": path.name, "sha256": weights_sha256(path)}
