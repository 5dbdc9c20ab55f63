"""What a model's config can be used for, determined before the first job from its types alone. Imports no torch.

Every ``type`` of MMSegmentation 1.2.2 that needs another package, a compiled operator or its own target has a line
below. tests/engine/test_zoo.py builds all models of the zoo and compares them with these lines.
"""

import functools
import importlib.util
import json
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

Model = Mapping[str, Any]

SEGMENTORS = ("EncoderDecoder", "CascadeEncoderDecoder")
# Heads that cannot be trained with a chosen loss, with the reason.
REFUSED_HEADS = {
    "MaskFormerHead": "predicts masks of queries, which are matched to segments; its loss cannot be chosen",
    "Mask2FormerHead": "predicts masks of queries, which are matched to segments; its loss cannot be chosen",
    "SideAdapterCLIPHead": "predicts masks of queries, which are matched to segments; its loss cannot be chosen",
    "IterativeDecodeHead": "contains heads with their own losses (K-Net); its loss cannot be chosen",
    "VPDDepthHead": "predicts depth, not classes",
    "PIDHead": "needs an edge map in addition to each label map, which no data set here has",
}
# Types that call an operator compiled only in the full mmcv.
COMPILED = {"PSAHead": "psamask"}
# Heads with their own target: they keep their loss, and no label scenario changes their target.
OWN_TARGET = ("STDCHead",)
# Heads with several outputs in training, each with its loss: the first takes the cell's, the others cross-entropy.
OUTPUTS = {"DDRHead": 2}
# Backbones whose position embeddings are tied to one image size.
ONE_SIZE = ("BEiT", "MAE")
# Heads whose pooling needs features of at least 49 pixels at stride 8: the minimum side of crops.
SMALLEST = {"LRASPPHead": 392}
# Heads that sample points of the label map: soft targets would have to be sampled with them.
POINT_HEADS = ("PointHead",)
# The files with the addresses of named weights in mmengine/hub, by the scheme of the name.
HUBS = {"open-mmlab": "openmmlab.json", "mmcls": "mmcls.json", "torchvision": "torchvision_0.12.json"}


def heads(model: Model) -> Iterator[Model]:
    """The decode heads and auxiliary heads of a model."""
    for key in ("decode_head", "auxiliary_head"):
        entry = model.get(key)
        yield from [] if entry is None else entry if isinstance(entry, list | tuple) else [entry]


def types(node: Any) -> Iterator[str]:
    """Every ``type`` in a config, at any depth."""
    if isinstance(node, Mapping):
        if isinstance(node.get("type"), str):
            yield node["type"]
        node = list(node.values())
    if isinstance(node, list | tuple):
        for item in node:
            yield from types(item)


@functools.cache
def installed(module: str) -> bool:
    """True if a package, or a module of it, is installed."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def cannot_build(model: Model) -> str | None:
    """The reason why a model cannot be built or trained on this machine; None if it can."""
    if model.get("type") in ("MultimodalEncoderDecoder", "DepthEstimator"):
        return f"it is a {model['type']}, which takes more than images or predicts no classes"
    channels = (model.get("backbone") or {}).get("in_channels", 3)
    if channels != 3:
        return f"its backbone takes images of {channels} channels; those of the data sets have 3"
    for head in heads(model):
        if reason := REFUSED_HEADS.get(head.get("type")):
            return f"its {head['type']} {reason}"
    for name in types(model):
        package = name.split(".")[0]
        if "." in name and not installed(package):
            return f"its {name} needs {package}, which is not installed"
        if name in COMPILED and not installed("mmcv._ext"):
            return f"its {name} needs the compiled operator {COMPILED[name]} of the full mmcv; mmcv-lite is installed"
    return None


def cannot_take(model: Model, crop_size: Any, mode: Any) -> str | None:
    """The reason why a model cannot be trained on crops of that size; None if it can.

    Args:
        model: The model of its config.
        crop_size: Height and width of a data set's crops.
        mode: ``whole`` or ``slide``: how the data set's images are evaluated.
    """
    if crop_size is None:
        return None
    for head in heads(model):
        if (smallest := SMALLEST.get(head.get("type"), 0)) > min(crop_size):
            return f"its {head['type']} takes crops of at least {smallest} pixels a side"
    backbone = model.get("backbone") or {}
    if backbone.get("type") not in ONE_SIZE:
        return None
    size = backbone.get("img_size", 224)
    size = (size, size) if isinstance(size, int) else tuple(size)
    if tuple(crop_size) == size and mode == "slide":
        return None
    text = "x".join(map(str, size))
    return (
        f"its {backbone['type']} takes crops of {text} only, in training and in windows; the data set uses other sizes"
    )


def cannot_train(model: Model, soft: bool, pixelwise: bool) -> str | None:
    """The reason why a model cannot be trained with a loss and a label scenario; None if it can.

    Args:
        model: The model of its config.
        soft: Whether its target is not the label map but probabilities or the predictions of a teacher.
        pixelwise: Whether all terms of the loss are means over pixels.
    """
    if reason := cannot_build(model):
        return reason
    if soft and model.get("type") not in SEGMENTORS:
        return f"it is a {model.get('type')}: this label scenario needs one of {', '.join(SEGMENTORS)}"
    for head in heads(model):
        if soft and head["type"] in POINT_HEADS:
            return f"its {head['type']} samples points of a label map: it takes hard labels only"
        sampler = head.get("sampler") or {}
        if sampler.get("type") == "OHEMPixelSampler" and sampler.get("thresh") is None and not pixelwise:
            return f"its {head['type']} samples pixels by their loss: it takes losses that are means over pixels only"
    return None


def named_weights(model: Model) -> tuple[str, str] | None:
    """The ImageNet weights that a config names.

    Returns:
        Their address, path or name, and the module of the segmentor to which they belong. None if it names none.
    """
    backbone = model.get("backbone") or {}
    if isinstance(model.get("pretrained"), str):
        return model["pretrained"], "backbone"
    nested = backbone.get("backbone_cfg") or {}
    within = "backbone.context_path.backbone" if backbone.get("type") == "BiSeNetV1" else "backbone.backbone"
    for entry, module in ((backbone, "backbone"), (nested, within)):
        start = entry.get("init_cfg")
        if (
            isinstance(start, Mapping)
            and start.get("type") == "Pretrained"
            and isinstance(start.get("checkpoint"), str)
        ):
            return start["checkpoint"], module
    return None


@functools.cache
def _hub(scheme: str) -> Mapping[str, str]:
    spec = importlib.util.find_spec("mmengine")
    file = Path(spec.origin).parent / "hub" / HUBS[scheme] if spec and spec.origin else None
    return json.loads(file.read_text(encoding="utf-8")) if file and file.is_file() else {}


def address(name: str) -> tuple[str, str | None]:
    """File name and address of weights that a config names; the address is None where only a path is known."""
    scheme, separator, rest = name.partition("://")
    if scheme in HUBS:
        name = _hub(scheme).get(rest, "")
        if not name:
            return f"{PurePosixPath(rest).name}.pth", None
        separator = "://"
    return PurePosixPath(name.partition("?")[0]).name, name if separator else None
