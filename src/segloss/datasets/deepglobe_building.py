"""DeepGlobe Building, which is SpaceNet 2: satellite images of four cities, 650 x 650 pixels, building footprints.

Demir et al., DeepGlobe 2018, https://arxiv.org/abs/1805.06561; Van Etten, Lindenbaum and Bacastow, SpaceNet: A Remote
Sensing Dataset and Challenge Series, 2018, https://arxiv.org/abs/1807.01232. Home: https://spacenet.ai (CC BY-SA).

The owners' files are read as they are: images of 16 bits per channel are scaled to 8, each channel from its minimum to
its maximum (as gdal_translate -scale), and footprints in longitude and latitude are rasterised using the image's
geographic tags: a pixel is a building if its centre is inside a footprint (as gdal_rasterize). Each city's images
are divided into five folds by number as text; ``train`` and ``val`` are those of fold 0 of the four cities.
"""

import json
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from segloss.datasets._dataset import Dataset, Entry
from segloss.datasets._folds import fold_of
from segloss.datasets._image_folders import folder_dataset
from segloss.datasets._read import DatasetError

COUNTS = {"train": 8476, "val": 2117}
AREAS = ("AOI_2_Vegas", "AOI_3_Paris", "AOI_4_Shanghai", "AOI_5_Khartoum")
INSTRUCTIONS = (
    "get the training tiles of SpaceNet 2 at https://spacenet.ai (CC BY-SA; check the owners' terms) and unpack them "
    f"to deepglobe-building/{{{','.join(AREAS)}}}_Train/{{RGB-PanSharpen,geojson/buildings}}/"
)
PIXEL_SCALE, TIE_POINT = 33550, 33922  # tags of the GeoTIFF standard


def entries(folder: Path, split: str, fold: int = 0) -> list[Entry]:
    """Image and footprints of each tile of a split of one of five folds of every city."""
    listed = []
    for area in AREAS:
        images = Path(folder).glob(f"{area}_Train/RGB-PanSharpen/*.tif")
        numbers = [re.search(r"img(\d+)\.tif$", image.name) for image in images]
        # As text, 1000 before 100 before 1: the order of files named <city>_<number>_sat.
        numbers = sorted((match[1] for match in numbers if match), key=lambda number: f"{number}_")
        tiles = [
            (
                f"{area}_Train/RGB-PanSharpen/RGB-PanSharpen_{area}_img{number}.tif",
                f"{area}_Train/geojson/buildings/buildings_{area}_img{number}.geojson",
            )
            for number in numbers
        ]
        train, val = fold_of(tiles, fold)
        listed += train if split == "train" else val
    return listed


def read_tiff(path: Path) -> tuple[np.ndarray, dict[int, Sequence[float]]]:
    """Pixels and geographic tags of a GeoTIFF.

    Raises:
        DatasetError: It is missing, damaged, compressed in a way that needs another package, or without those tags.
    """
    import tifffile  # here, since nothing else needs it

    try:
        with tifffile.TiffFile(path) as file:
            page = file.pages[0]
            tags = {code: page.tags[code].value for code in (PIXEL_SCALE, TIE_POINT)}
            return page.asarray(), tags
    except FileNotFoundError as error:
        raise DatasetError(f"{path} is missing") from error
    except Exception as error:  # tifffile raises whatever the damaged bytes lead to
        raise DatasetError(f"{path} cannot be read as a GeoTIFF ({type(error).__name__}: {error})") from error


def read_image(path: Path) -> np.ndarray:
    """A tile as uint8 (height, width, 3) RGB, each channel scaled from its minimum and maximum to 0..255.

    Raises:
        DatasetError: It cannot be read, or does not have three channels.
    """
    values, _ = read_tiff(path)
    if values.ndim != 3 or values.shape[-1] != 3:
        raise DatasetError(f"{path} must have three channels, got an array of shape {values.shape}")
    low, high = values.min((0, 1)).astype(float), values.max((0, 1)).astype(float)
    return np.rint(255 * (values - low) / np.maximum(high - low, 1)).astype(np.uint8)


def fill(rings: Sequence[np.ndarray], height: int, width: int) -> np.ndarray:
    """The pixels whose centres are inside a polygon, bool (height, width).

    Args:
        rings: Outline and holes, each (points, 2) columns and rows; the pixel in row r and column c has its centre at
            (c + .5, r + .5). A ring need not be closed. A centre is inside if an odd number of edges lies to its left.
    """
    crossings = np.zeros((height, width + 1), np.int64)
    for ring in rings:
        (x0, y0), (x1, y1) = ring.T, np.roll(ring, -1, 0).T
        for ax, ay, bx, by in zip(x0, y0, x1, y1, strict=True):
            first, last = np.clip(np.ceil(np.sort([ay, by]) - 0.5), 0, height).astype(int)
            rows = np.arange(first, last)  # those whose centres the edge crosses, the lower end included
            if len(rows):
                columns = ax + (rows + 0.5 - ay) * (bx - ax) / (by - ay)
                crossings[rows, np.clip(np.ceil(columns - 0.5), 0, width).astype(int)] += 1
    return crossings.cumsum(1)[:, :width] % 2 == 1


def polygons(path: Path) -> list[list[np.ndarray]]:
    """The rings of every polygon of a GeoJSON file, each (points, 2) longitudes and latitudes.

    Points and lines are skipped.

    Raises:
        DatasetError: It is missing or not GeoJSON.
    """
    try:
        geometries = [feature["geometry"] for feature in json.loads(Path(path).read_text(encoding="utf-8"))["features"]]
        shapes = []
        for geometry in filter(None, geometries):
            if geometry["type"] not in ("Polygon", "MultiPolygon"):
                continue  # an outline cut by the tile's border to a point or a line covers no pixel
            parts = [geometry["coordinates"]] if geometry["type"] == "Polygon" else geometry["coordinates"]
            shapes += [[np.array([point[:2] for point in ring], float) for ring in part] for part in parts if part]
    except FileNotFoundError as error:
        raise DatasetError(f"{path} is missing") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path} cannot be read as GeoJSON ({type(error).__name__}: {error})") from error
    return shapes


def image_of(label: Path) -> Path:
    """The tile that a file of footprints belongs to."""
    name = label.name.replace("buildings_", "RGB-PanSharpen_", 1).replace(".geojson", ".tif")
    return label.parents[2] / "RGB-PanSharpen" / name


def read_label(path: Path) -> np.ndarray:
    """The class ids, uint8 (height, width), 1 in the footprints of a GeoJSON file; size and position are from the tile.

    Raises:
        DatasetError: The footprints or the tile cannot be read.
    """
    path = Path(path)
    shapes = polygons(path)
    values, tags = read_tiff(image_of(path))
    height, width = values.shape[:2]
    (scale_x, scale_y), (column, row, _, longitude, latitude) = tags[PIXEL_SCALE][:2], tags[TIE_POINT][:5]
    labels = np.zeros((height, width), bool)
    for rings in shapes:
        pixels = [
            np.stack([column + (ring[:, 0] - longitude) / scale_x, row + (latitude - ring[:, 1]) / scale_y], 1)
            for ring in rings
        ]
        labels |= fill(pixels, height, width)
    return labels.astype(np.uint8)


def dataset(fold: int | None = None) -> Dataset:
    """The description with the split of one fold; by default of fold 0."""
    return folder_dataset(
        name="deepglobe-building" + ("" if fold is None else f"-fold{fold}"),
        classes=("background", "building"),
        palette=((0, 0, 0), (255, 255, 255)),
        void=None,
        counts=COUNTS,
        instructions=INSTRUCTIONS,
        terms="CC BY-SA; check the owners' page",
        entries=partial(entries, fold=fold or 0),
        read_label=read_label,
        read_image=read_image,
        folder="deepglobe-building",
        with_fold=dataset if fold is None else None,
    )


DEEPGLOBE_BUILDING = dataset()
