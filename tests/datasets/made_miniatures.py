"""Miniatures of the articles' large data sets, made from seeds in their owners' layout, with their classes.

Each maker writes a handful of small images below a data root and returns the classes of every label file. Raw values
are written from separate tables, not from those of the readers.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image
from scipy.io import savemat

from segloss.datasets import (
    ade20k,
    camvid_original,
    cityscapes,
    coco_stuff,
    dark_zurich,
    deepglobe,
    deepglobe_building,
    mapillary_vistas,
    nighttime_driving,
    pascal_context,
    pascal_voc,
)

VOID = 255
Labels = dict[str, np.ndarray]  # path relative to the data set's folder -> class ids, void as 255

CITYSCAPES_IDS = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
LAND_COLOURS = [(0, 255, 255), (255, 255, 0), (255, 0, 255), (0, 255, 0), (0, 0, 255), (255, 255, 255)]
CAMVID_COLOURS = [
    (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (128, 128, 192), (192, 192, 0), (192, 128, 128),
    (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192),
]  # fmt: skip


def class_map(rng: np.random.Generator, classes: int, size: tuple[int, int], void: bool = True) -> np.ndarray:
    """Blocks of 8 x 8 pixels of random classes and, if wanted, some void."""
    rows, columns = (-(-length // 8) for length in size)
    blocks = rng.integers(0, classes, (rows, columns)).astype(np.uint8)
    if void:
        blocks[rng.random((rows, columns)) < 0.15] = VOID
        blocks[0, 0] = VOID
    blocks[-1, -1] = classes - 1
    return blocks.repeat(8, 0).repeat(8, 1)[: size[0], : size[1]]


def save(path: Path, pixels: np.ndarray, **options: object) -> None:
    """An image file, its folders included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


def photograph(rng: np.random.Generator, labels: np.ndarray) -> np.ndarray:
    """An image whose brightness depends on the class."""
    noise = rng.integers(0, 60, (*labels.shape, 3))
    return (noise + (labels.astype(int) * 37 % 180)[..., None]).astype(np.uint8)


def raw(labels: np.ndarray, values: list[int], void: int) -> np.ndarray:
    """The file's values of class ids: the k-th of ``values`` for class k."""
    table = np.full(256, void, np.uint16)
    table[: len(values)] = values
    coded = table[labels]
    return coded if coded.max() > 255 else coded.astype(np.uint8)


def plain(
    folder: Path,
    pattern: Mapping[str, tuple[str, str]],
    values: list[int],
    void: int,
    size: tuple[int, int] = (40, 56),
    **options: object,
) -> Labels:
    """Images and labels at ``{split: (image, label)}``, patterns with {} for the number; four to train, else two."""
    rng, read = np.random.default_rng(0), {}
    for split, (image, label) in pattern.items():
        for number in range(4 if split == "train" else 2):
            labels = class_map(rng, len(values), (size[0] + 8 * (number % 2), size[1]))
            save(folder / image.format(number), photograph(rng, labels))
            save(folder / label.format(number), raw(labels, values, void), **options)
            read[label.format(number)] = labels
    return read


def make_cityscapes(root: Path) -> Labels:
    city = {"train": "aachen/aachen", "val": "munster/munster"}
    pattern = {
        split: (
            f"leftImg8bit/{split}/{name}_{{:06d}}_000019_leftImg8bit.png",
            f"gtFine/{split}/{name}_{{:06d}}_000019_gtFine_labelIds.png",
        )
        for split, name in city.items()
    }
    return plain(root / "cityscapes", pattern, CITYSCAPES_IDS, void=4)


def make_nighttime_driving(root: Path) -> Labels:
    pattern = (
        "leftImg8bit/test/night/0_night_{:04d}_leftImg8bit.png",
        "gtCoarse_daytime_trainvaltest/test/night/0_night_{:04d}_gtCoarse_labelTrainIds.png",
    )
    return plain(root / "NighttimeDrivingTest", {"test": pattern}, list(range(19)), VOID)


def make_dark_zurich(root: Path) -> Labels:
    pattern = (
        "rgb_anon/val/night/GOPR0356/GOPR0356_frame_{:06d}_rgb_anon.png",
        "gt/val/night/GOPR0356/GOPR0356_frame_{:06d}_gt_labelTrainIds.png",
    )
    return plain(root / "dark-zurich", {"test": pattern}, list(range(19)), VOID)


def make_mapillary_vistas(root: Path, labels: str = "v1.2/labels") -> Labels:
    pattern = {
        split: (f"{part}/images/mini{{:04d}}.jpg", f"{part}/{labels}/mini{{:04d}}.png")
        for split, part in (("train", "training"), ("val", "validation"))
    }
    read = plain(root / "mapillary-vistas", pattern, list(range(65)), void=65, size=(64, 112))
    for path in (root / "mapillary-vistas" / label for label in read):  # a palette image, as the owners' are
        image = Image.open(path)
        image.putpalette(list(range(198)))
        image.save(path)
    return read


def make_ade20k(root: Path) -> Labels:
    pattern = {
        split: (f"images/{part}/ADE_{{:08d}}.jpg", f"annotations/{part}/ADE_{{:08d}}.png")
        for split, part in (("train", "training"), ("val", "validation"))
    }
    return plain(root / "ADEChallengeData2016", pattern, list(range(1, 151)), void=0)


def make_coco_stuff(root: Path) -> Labels:
    pattern = {
        split: (f"images/{part}/{{:012d}}.jpg", f"annotations/{part}/{{:012d}}.png")
        for split, part in (("train", "train2017"), ("val", "val2017"))
    }
    given_up = {11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90}
    return plain(root / "coco-stuff", pattern, [value for value in range(182) if value not in given_up], VOID)


def make_pascal_voc(root: Path) -> Labels:
    """Two images of VOC to train on, three of SBD of which one is VOC's val, and two to validate on."""
    folder, rng, read = root / "VOCdevkit", np.random.default_rng(0), {}
    lists = {"train": ["2007_000001", "2007_000002"], "val": ["2007_000003", "2007_000004"]}
    extra = {"train": ["2008_000001", "2007_000001"], "val": ["2008_000002", "2007_000003"]}
    sbd = folder / "benchmark_RELEASE" / "dataset"
    (sbd / "cls").mkdir(parents=True)
    (folder / "VOC2012/ImageSets/Segmentation").mkdir(parents=True)
    for split in ("train", "val"):
        (folder / f"VOC2012/ImageSets/Segmentation/{split}.txt").write_text("\n".join(lists[split]) + "\n")
        (sbd / f"{split}.txt").write_text("\n".join(extra[split]) + "\n")
    voc_names = lists["train"] + lists["val"]
    for name in sorted({*voc_names, *extra["train"], *extra["val"]}):
        labels = class_map(rng, 21, (40, 56), void=name in voc_names)
        save(folder / f"VOC2012/JPEGImages/{name}.jpg", photograph(rng, labels))
        if name in voc_names:
            image = Image.fromarray(labels).convert("P")
            path = folder / f"VOC2012/SegmentationClass/{name}.png"
            path.parent.mkdir(exist_ok=True)
            image.putpalette(list(range(256)) * 3)
            image.save(path)
            read[f"VOC2012/SegmentationClass/{name}.png"] = labels
        if name not in voc_names or name == "2007_000001":  # where both have a label, VOC's counts
            path = f"benchmark_RELEASE/dataset/cls/{name}.mat"
            written = labels if name not in voc_names else np.zeros_like(labels)
            parts = {"Boundaries": np.zeros((1, 1)), "Segmentation": written, "CategoriesPresent": np.array([1])}
            savemat(folder / path, {"GTcls": parts})
            read |= {path: labels} if name not in voc_names else {}
    return read


def make_pascal_context(root: Path) -> Labels:
    """The owners' MATLAB files with 459 classes."""
    folder, rng, read = root / "VOCdevkit", np.random.default_rng(0), {}
    ids = [2, 9, 18, 19, 22, 23, 25, 31, 33, 34, 44, 45, 46, 59, 65, 68, 72, 80, 85, 98, 104, 105, 113, 115, 144, 158,
           159, 162, 187, 189, 207, 220, 232, 258, 259, 260, 284, 295, 296, 308, 324, 326, 347, 349, 354, 355, 360, 366,
           368, 397, 415, 416, 420, 424, 427, 440, 445, 454, 458]  # fmt: skip
    (folder / "VOC2010/ImageSets/Main").mkdir(parents=True)
    (folder / "VOC2010/trainval").mkdir()
    for split, names in {"train": ["2008_000002", "2008_000003"], "val": ["2008_000007"]}.items():
        (folder / f"VOC2010/ImageSets/Main/{split}.txt").write_text("\n".join(names))
        for name in names:
            labels = class_map(rng, 59, (64, 72))
            save(folder / f"VOC2010/JPEGImages/{name}.jpg", photograph(rng, labels))
            savemat(folder / f"VOC2010/trainval/{name}.mat", {"LabelMap": raw(labels, ids, void=100)})
            read[f"VOC2010/trainval/{name}.mat"] = labels
    return read


def make_coloured(
    folder: Path,
    names: list[str],
    image: str,
    label: str,
    colours: list[tuple[int, int, int]],
    impure: int = 0,
    void: bool = True,
) -> Labels:
    """Images and labels in colours, which may be off by ``impure``."""
    rng, read = np.random.default_rng(0), {}
    for name in names:
        labels = class_map(rng, len(colours), (48, 48), void)
        table = np.zeros((256, 3), int)
        table[: len(colours)] = colours
        noise = rng.integers(0, impure + 1, (*labels.shape, 1))
        pixels = np.abs(table[labels] - noise).astype(np.uint8)
        save(folder / image.format(name), photograph(rng, labels))
        save(folder / label.format(name), pixels)
        read[label.format(name)] = labels
    return read


def make_deepglobe_land(root: Path) -> Labels:
    names = ["100", "119", "20", "3", "44"]
    return make_coloured(
        root / "deepglobe-land", names, "train/{}_sat.jpg", "train/{}_mask.png", LAND_COLOURS, impure=40
    )


def make_deepglobe_road(root: Path) -> Labels:
    names, colours = ["100", "119", "20", "3", "44"], [(0, 0, 0), (255, 255, 255)]
    folder = root / "deepglobe-road"
    return make_coloured(folder, names, "train/{}_sat.jpg", "train/{}_mask.png", colours, impure=100, void=False)


def make_camvid_original(root: Path) -> Labels:
    folder = root / "camvid-960"
    splits = {"train": ["0001TP_006690", "0001TP_006720"], "val": ["0016E5_08101"], "test": ["Seq05VD_f00000"]}
    read = make_coloured(
        folder,
        [name for names in splits.values() for name in names],
        "701_StillsRaw_full/{}.png",
        "LabeledApproved_full/{}_L.png",
        CAMVID_COLOURS,
    )
    for split, names in splits.items():
        lines = [f"/SegNet/CamVid/{split}/{name}.png /SegNet/CamVid/{split}annot/{name}.png" for name in names]
        (folder / f"{split}.txt").write_text("\n".join(lines) + "\n")
    return read


def make_deepglobe_building(root: Path) -> Labels:
    """Five tiles of each city, 16 bit: a rectangle with a hole, another in the hole, and one over the border."""
    rng, read = np.random.default_rng(0), {}
    scale, west, north = 2.7e-6, -115.3, 36.2
    tags = [(33550, "d", 3, (scale, scale, 0.0)), (33922, "d", 6, (0.0, 0.0, 0.0, west, north, 0.0))]

    def ring(left: float, top: float, right: float, bottom: float) -> list[list[float]]:
        corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
        return [[west + column * scale, north - row * scale, 0.0] for column, row in corners]

    for area in deepglobe_building.AREAS:
        folder = root / "deepglobe-building" / f"{area}_Train"
        (folder / "RGB-PanSharpen").mkdir(parents=True)
        (folder / "geojson" / "buildings").mkdir(parents=True)
        for number in (1, 2, 10, 100, 1000):
            labels = np.zeros((48, 40), np.uint8)
            labels[5:20, 6:30], labels[8:12, 10:20], labels[30:48, 35:40] = 1, 0, 1
            labels[9:11, 12:16] = 1
            geometries = [
                {"type": "Polygon", "coordinates": [ring(6, 5, 30, 20), ring(10, 8, 20, 12)]},
                {"type": "MultiPolygon", "coordinates": [[ring(12, 9, 16, 11)], [ring(35, 30, 60, 70)]]},
                {"type": "LineString", "coordinates": ring(0, 0, 3, 3)},
            ]
            features = [{"type": "Feature", "geometry": geometry, "properties": {}} for geometry in geometries]
            name = f"{area}_img{number}"
            label = folder / f"geojson/buildings/buildings_{name}.geojson"
            label.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
            pixels = (photograph(rng, labels).astype(np.uint16) * 7) + 100
            image = folder / f"RGB-PanSharpen/RGB-PanSharpen_{name}.tif"
            tifffile.imwrite(image, pixels, photometric="rgb", extratags=tags)
            read[label.relative_to(root / "deepglobe-building").as_posix()] = labels
    return read


@dataclass(frozen=True)
class Miniature:
    """How a data set's miniature is made, and how many images it has.

    Attributes:
        make: Writes it below a data root and returns the classes of its labels.
        counts: The numbers of images of its module, as they are patched; ``images`` are the miniature's.
    """

    make: Callable[[Path], Labels]
    counts: dict[str, int]
    images: dict[str, int]


MINIATURES = {
    "cityscapes": Miniature(make_cityscapes, cityscapes.COUNTS, {"train": 4, "val": 2}),
    "nighttime-driving": Miniature(make_nighttime_driving, nighttime_driving.COUNTS, {"test": 2}),
    "dark-zurich": Miniature(make_dark_zurich, dark_zurich.COUNTS, {"test": 2}),
    "mapillary-vistas": Miniature(make_mapillary_vistas, mapillary_vistas.COUNTS, {"train": 4, "val": 2}),
    "camvid-960": Miniature(make_camvid_original, camvid_original.COUNTS, {"train": 2, "val": 1, "test": 1}),
    "camvid-960-trainval": Miniature(make_camvid_original, camvid_original.TRAINVAL_COUNTS, {"train": 3, "test": 1}),
    "ade20k": Miniature(make_ade20k, ade20k.COUNTS, {"train": 4, "val": 2}),
    "coco-stuff": Miniature(make_coco_stuff, coco_stuff.COUNTS, {"train": 4, "val": 2}),
    "pascal-voc": Miniature(make_pascal_voc, pascal_voc.COUNTS, {"train": 4, "val": 2}),
    "pascal-context": Miniature(make_pascal_context, pascal_context.COUNTS["mat"], {"train": 2, "val": 1}),
    "deepglobe-land": Miniature(make_deepglobe_land, deepglobe.LAND_COUNTS, {"train": 4, "val": 1}),
    "deepglobe-road": Miniature(make_deepglobe_road, deepglobe.ROAD_COUNTS, {"train": 4, "val": 1}),
    "deepglobe-building": Miniature(make_deepglobe_building, deepglobe_building.COUNTS, {"train": 16, "val": 4}),
}
