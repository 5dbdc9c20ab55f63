"""Load pretrained weights into a model's backbone; the file must have every tensor of the backbone, with its shape."""

from pathlib import Path

import torch
from torch import Tensor, nn

from segloss.engine.mmcv_stub import import_timm
from segloss.grid import ConfigError

# Keys under which training frameworks store a model's tensors, and prefixes they prepend to the tensors' names.
CONTAINERS = ("state_dict", "model", "model_ema")
PREFIXES = ("module.", "backbone.", "encoder.")


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a weights file, by name.

    Raises:
        ConfigError: if it is damaged, or contains something else.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            content = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch, zipfile, pickle and safetensors raise different errors on a damaged file
        text = " ".join(str(error).split())
        raise ConfigError(f"{path} is damaged or contains no weights: {type(error).__name__}: {text[:200]}") from error
    while isinstance(content, dict) and (key := next((key for key in CONTAINERS if key in content), None)):
        content = content[key]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()) or not content:
        raise ConfigError(f"{path} contains no weights: expected a dictionary of tensors")
    return content


def rename_by_order(weights: dict[str, Tensor], model_name: str, path: Path) -> dict[str, Tensor]:
    """The tensors under their names in timm's full model, which has them in the same order.

    Raises:
        ConfigError: if the number or the shapes of the tensors differ.
    """
    import timm

    expected = timm.create_model(model_name, pretrained=False).state_dict()
    shapes = [tuple(value.shape) for value in expected.values()]
    if [tuple(value.shape) for value in weights.values()] != shapes:
        raise ConfigError(
            f"{path} holds the weights of another model: its tensors are not those of timm's {model_name}"
        )
    return dict(zip(expected, weights.values(), strict=True))


def comparable(name: str) -> str:
    """A tensor's name for comparison: timm's feature extractors join some parts of a name with underscores."""
    while prefix := next((prefix for prefix in PREFIXES if name.startswith(prefix)), None):
        name = name.removeprefix(prefix)
    return name.replace(".", "_")


def load_adapted(backbone: nn.Module, path: Path) -> None:
    """Load a weights file with MMSegmentation's backbone, which adapts position embeddings to another resolution.

    The backbone skips missing tensors. Matrices are filled with NaN before loading to detect skipped ones. Vectors may
    be missing (no file has the output norms), and so may relative position tables, which MAE initialises randomly.

    Raises:
        ConfigError: if the file lacks a matrix of the backbone.
    """
    matrices = {name: value for name, value in backbone.named_parameters() if value.ndim >= 2}
    random = {name: value.detach().clone() for name, value in matrices.items()}
    with torch.no_grad():
        for value in matrices.values():
            value.fill_(torch.nan)
    backbone.init_cfg = dict(type="Pretrained", checkpoint=str(path))
    backbone.init_weights()
    missing = [name for name, value in matrices.items() if value.isnan().any()]
    with torch.no_grad():
        for name in missing:
            matrices[name].copy_(random[name])
    missing = [name for name in missing if "relative_position" not in name]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ConfigError(f"{path} holds the weights of another model: {missing[0]} is missing{more}")


def load_backbone(
    model: nn.Module, path: Path, names: str = "same", model_name: str | None = None, module: str = "backbone"
) -> None:
    """Load a weights file into the backbone of a segmentor; other tensors in the file (a classifier) are ignored.

    Args:
        model: The segmentor.
        path: The file.
        names: ``same``, ``order`` or ``adapted``, as in ``segloss.grid.weights.Pretrained``.
        model_name: timm's name of the backbone, for ``order``.
        module: The name of the segmentor's submodule into which the weights are loaded.

    Raises:
        ConfigError: if the file is damaged, or lacks a tensor of the backbone.
    """
    backbone = model.get_submodule(module)
    backbone = getattr(backbone, "timm_model", backbone)
    weights = read_weights(path)
    if names == "adapted":
        load_adapted(backbone, path)
        return
    if names == "order":
        weights = rename_by_order(weights, model_name, path)
    available = {comparable(name): value for name, value in weights.items()}
    expected = backbone.state_dict()
    problems = []
    for name, value in expected.items():
        tensor = available.get(comparable(name))
        if tensor is None:
            # A counter that only matters for a cumulative average of batch statistics; old files lack it.
            if not name.endswith("num_batches_tracked"):
                problems.append(f"{name} is missing")
        elif tensor.shape != value.shape:
            problems.append(f"{name} has the shape {tuple(tensor.shape)}, expected {tuple(value.shape)}")
    if problems:
        more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
        raise ConfigError(f"{path} holds the weights of another model: {problems[0]}{more}")
    backbone.load_state_dict({name: available.get(comparable(name), value) for name, value in expected.items()})


def prepare_timm(model: dict) -> None:
    """Import timm if a model's backbone is a timm model.

    Raises:
        ConfigError: if timm is not installed.
    """
    if model["backbone"]["type"] == "TIMMBackbone":
        try:
            import_timm()
        except ImportError as error:
            raise ConfigError(
                f"{model['backbone'].get('model_name')} needs timm: pip install 'segloss[bench]'"
            ) from error
