"""The MMEngine config, as text, for training on a data set described by a YAML file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segloss.datasets._described import read_description, splits_of

CROP_SIZE = (256, 256)
FLIPS = {
    "horizontal": 'prob=0.5, direction="horizontal"',
    "all": 'prob=[0.25, 0.25, 0.25], direction=["horizontal", "vertical", "diagonal"]',
}


def training_config(file: Path) -> str:
    """A Python file as in configs/mmseg/datasets for the data set that a YAML file describes.

    With ``resize`` (height, width), images are trained on and predicted at that size, and scored at their own. Without
    it, crops of ``crop_size`` (default 256 x 256) are trained on and whole images predicted.

    Raises:
        DatasetError: The file cannot be read or is not a description.
    """
    file = Path(file).absolute()
    description = read_description(file)
    resize = description.get("resize")
    height, width = description.get("crop_size") or resize or CROP_SIZE
    load, label, pack = 'dict(type="LoadImage")', 'dict(type="LoadLabel")', 'dict(type="PackSegInputs")'
    size = [f'dict(type="Resize", scale=({resize[1]}, {resize[0]}))'] if resize else []
    train = [load, label, *size, *_augmentation(description, (height, width), resize), pack]
    lines = [
        f"# Made from {file.name}: change that file instead.",
        f"source = {file.stem!r}",
        # A literal, so that it is part of a cell's identity; the folder's location does not matter.
        f"description = { {key: value for key, value in description.items() if key not in ('folder', 'terms')}!r}",
        f"reference = {description.get('reference', 'label')!r}",
        f"crop_size = ({height}, {width})",
        _list("train_pipeline", train),
        _list("test_pipeline", [load, *size, label, pack]),
        *_validation(description),
        'test_split = "test"',
        f'test_cfg = dict(mode="whole"{"" if resize else ", size_divisor=32"})',
    ]
    channels = description.get("channels", 3)
    if channels != 3:
        lines.append(f"normalisation = dict(mean={[127.5] * channels}, std={[64.0] * channels}, bgr_to_rgb=False)")
    return "\n".join(lines) + "\n"


def _augmentation(description: Mapping[str, Any], size: tuple[int, int], resize: list[int] | None) -> list[str]:
    flip = description.get("flip", "horizontal")
    cropped = resize is None or list(size) != list(resize)
    return [
        *(["dict(type='RandomCrop', crop_size=crop_size)".replace("'", '"')] if cropped else []),
        *([f'dict(type="RandomFlip", {FLIPS[flip]})'] if flip != "none" else []),
        *(['dict(type="PhotoMetricDistortion")'] if description.get("colour_jitter") else []),
    ]


def _validation(description: Mapping[str, Any]) -> list[str]:
    if "val" in splits_of(description):
        return ['val_split = "val"']
    return ['no_validation = "its description has no validation images"']


def _list(name: str, steps: list[str]) -> str:
    return "\n".join([f"{name} = [", *(f"    {step}," for step in steps), "]"])
