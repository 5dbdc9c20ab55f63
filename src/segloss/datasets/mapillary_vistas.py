"""Mapillary Vistas v1.2: street scenes from all over the world, of many sizes up to 22 million pixels, 65 classes.

Neuhold et al., The Mapillary Vistas Dataset for Semantic Understanding of Street Scenes, 2017,
https://doi.org/10.1109/ICCV.2017.534. Official home: https://www.mapillary.com/dataset/vistas (research edition).

The owners' label files are palette images whose indices are the classes 0..64, and 65 for unlabelled pixels. Newer
archives of the owners keep them in ``<split>/v1.2/labels``, older ones in ``<split>/labels``.
"""

from pathlib import Path

import numpy as np

from segloss.datasets._dataset import Entry
from segloss.datasets._image_folders import folder_dataset, pairs
from segloss.datasets._lookup import VOID, distinct_colours, ids_of_values, value_table
from segloss.datasets._read import read_values

COUNTS = {"train": 18000, "val": 2000}
FOLDERS = {"train": "training", "val": "validation"}
INSTRUCTIONS = (
    "get the research edition at https://www.mapillary.com/dataset/vistas (CC BY-NC-SA; check the owners' terms) and "
    "unpack it to mapillary-vistas/{training,validation}/{images,v1.2/labels}/"
)
CLASSES = tuple(
    """bird, ground animal, curb, fence, guard rail, barrier, wall, bike lane, crosswalk - plain, curb cut, parking,
    pedestrian area, rail track, road, service lane, sidewalk, bridge, building, tunnel, person, bicyclist,
    motorcyclist, other rider, lane marking - crosswalk, lane marking - general, mountain, sand, sky, snow, terrain,
    vegetation, water, banner, bench, bike rack, billboard, catch basin, CCTV camera, fire hydrant, junction box,
    mailbox, manhole, phone booth, pothole, street light, pole, traffic sign frame, utility pole, traffic light,
    traffic sign (back), traffic sign (front), trash can, bicycle, boat, bus, car, caravan, motorcycle, on rails,
    other vehicle, trailer, truck, wheeled slow, car mount, ego vehicle""".replace("\n    ", " ").split(", ")
)
TABLE = value_table({**{index: index for index in range(len(CLASSES))}, len(CLASSES): VOID})


def entries(folder: Path, split: str) -> list[Entry]:
    """Image and label of each image of a split, sorted by name."""
    part = FOLDERS[split]
    labels = f"{part}/v1.2/labels" if (Path(folder) / part / "v1.2").is_dir() else f"{part}/labels"
    return pairs(folder, f"{part}/images/*.jpg", lambda image: f"{labels}/{Path(image).stem}.png")


def read_label(path: Path) -> np.ndarray:
    """The class ids, uint8 (height, width), of a palette image of Mapillary's indices.

    Raises:
        DatasetError: It holds an index other than 0..65.
    """
    return ids_of_values(read_values(path), TABLE, path)


MAPILLARY_VISTAS = folder_dataset(
    name="mapillary-vistas",
    classes=CLASSES,
    palette=distinct_colours(len(CLASSES)),
    void=VOID,
    counts=COUNTS,
    instructions=INSTRUCTIONS,
    terms="CC BY-NC-SA research edition; check the owners' page",
    entries=entries,
    read_label=read_label,
)
