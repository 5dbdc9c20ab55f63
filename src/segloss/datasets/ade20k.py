"""ADE20K, the 150 classes of the MIT Scene Parsing Benchmark: photographs of indoor and outdoor scenes, of many sizes.

Zhou et al., Scene Parsing through ADE20K Dataset, 2017, https://doi.org/10.1109/CVPR.2017.544. Official home:
http://sceneparsing.csail.mit.edu. Of classes with several names, the first one is used. In the owners' label files, 0
is "other objects", which belong to no class: it becomes void, and 1..150 become the classes 0..149.
"""

from pathlib import Path

import numpy as np

from segloss.datasets._dataset import Entry
from segloss.datasets._image_folders import folder_dataset, pairs
from segloss.datasets._lookup import VOID, distinct_colours, ids_of_values, value_table
from segloss.datasets._read import read_values

COUNTS = {"train": 20210, "val": 2000}
FOLDERS = {"train": "training", "val": "validation"}
INSTRUCTIONS = (
    "unpack http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip (research; check the owners' terms) "
    "to ADEChallengeData2016/{images,annotations}/{training,validation}/"
)
CLASSES = tuple(
    """wall, building, sky, floor, tree, ceiling, road, bed, windowpane, grass, cabinet, sidewalk, person, earth, door,
    table, mountain, plant, curtain, chair, car, water, painting, sofa, shelf, house, sea, mirror, rug, field,
    armchair, seat, fence, desk, rock, wardrobe, lamp, bathtub, railing, cushion, base, box, column, signboard,
    chest of drawers, counter, sand, sink, skyscraper, fireplace, refrigerator, grandstand, path, stairs, runway,
    case, pool table, pillow, screen door, stairway, river, bridge, bookcase, blind, coffee table, toilet, flower,
    book, hill, bench, countertop, stove, palm, kitchen island, computer, swivel chair, boat, bar, arcade machine,
    hovel, bus, towel, light, truck, tower, chandelier, awning, streetlight, booth, television receiver, airplane,
    dirt track, apparel, pole, land, bannister, escalator, ottoman, bottle, buffet, poster, stage, van, ship,
    fountain, conveyer belt, canopy, washer, plaything, swimming pool, stool, barrel, basket, waterfall, tent, bag,
    minibike, cradle, oven, ball, food, step, tank, trade name, microwave, pot, animal, bicycle, lake, dishwasher,
    screen, blanket, sculpture, hood, sconce, vase, traffic light, tray, ashcan, fan, pier, crt screen, plate,
    monitor, bulletin board, shower, radiator, glass, clock, flag""".replace("\n    ", " ").split(", ")
)
TABLE = value_table({0: VOID, **{index + 1: index for index in range(len(CLASSES))}})


def entries(folder: Path, split: str) -> list[Entry]:
    """Image and label of each image of a split, sorted by name."""
    part = FOLDERS[split]
    return pairs(folder, f"images/{part}/*.jpg", lambda image: f"annotations/{part}/{Path(image).stem}.png")


def read_label(path: Path) -> np.ndarray:
    """The class ids, uint8 (height, width), of a file of ADE20K's values.

    Raises:
        DatasetError: It holds a value other than 0..150.
    """
    return ids_of_values(read_values(path), TABLE, path)


ADE20K = folder_dataset(
    name="ade20k",
    classes=CLASSES,
    palette=distinct_colours(len(CLASSES)),
    void=VOID,
    counts=COUNTS,
    instructions=INSTRUCTIONS,
    terms="research; annotations BSD-3; check the owners' page",
    entries=entries,
    read_label=read_label,
    folder="ADEChallengeData2016",
)
