"""Import MMSegmentation where mmcv has no compiled operators, and timm with a CPU build of torch.

``mmseg.models`` imports ``mmcv._ext``, though no model of the benchmark calls it. mmcv-lite, the only mmcv 2.x with
wheels everywhere, lacks it. A stub takes its place during the import alone: afterwards MMEngine must not find a full
mmcv. Where the full mmcv is installed, nothing is replaced.

PyPI's torchvision, which timm imports, is a CUDA build: with a CPU build of torch, its import fails because two
operators are missing. Declaring them is enough as long as no model calls them.
"""

import importlib
import importlib.machinery
import importlib.util
import sys
import types
import warnings
from collections.abc import Callable
from typing import Any

import torch

# Operators that torchvision expects to be declared when it is imported.
TORCHVISION_OPERATORS = ("nms", "qnms")
_libraries: list[torch.library.Library] = []  # a library's operators exist as long as it does


class _Stub(types.ModuleType):
    """A module that has every operator; calling one raises an error that names what is missing."""

    def __getattr__(self, name: str) -> Callable:
        if name.startswith("__"):
            raise AttributeError(name)

        def missing(*_: object, **__: object) -> None:
            raise RuntimeError(
                f"the compiled operator {name} needs the full mmcv; the installed mmcv-lite has no compiled operators"
            )

        return missing


def declare_torchvision_operators() -> None:
    """Declare torchvision's operators where its own library cannot be loaded; imports no torchvision."""
    spec = importlib.util.find_spec("torchvision")
    if _libraries or spec is None or torch.version.cuda is not None:
        return
    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in TORCHVISION_OPERATORS:
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _libraries.append(library)


def import_mmseg() -> None:
    """Import mmseg and its models unless they are imported already, with the stub for ``mmcv._ext`` if it is missing.

    timm, whose import takes seconds, is imported by ``import_timm`` when a model needs it.
    """
    if "mmseg.models" in sys.modules:
        return
    declare_torchvision_operators()
    name = "mmcv._ext"
    replaced: dict[str, Any] = {} if "timm" in sys.modules else {"timm": None}
    if importlib.util.find_spec(name) is None:
        replaced[name] = stub = _Stub(name)
        stub.__spec__ = importlib.machinery.ModuleSpec(name, loader=None)
    sys.modules.update(replaced)
    # mmcv's version checks and old syntax warn on import; none of it concerns the reader of a training log.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import mmseg.datasets
            import mmseg.models  # noqa: F401
        finally:
            for module in replaced:
                del sys.modules[module]


def import_timm() -> None:
    """Import timm for MMSegmentation's TIMMBackbone.

    Raises:
        ImportError: if it is not installed.
    """
    backbone = importlib.import_module("mmseg.models.backbones.timm_backbone")
    if backbone.timm is None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            backbone.timm = importlib.import_module("timm")
