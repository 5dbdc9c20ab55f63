"""COCO-Stuff 164k: the photographs of COCO 2017 with 80 kinds of things and 91 of stuff, of many sizes.

Caesar, Uijlings and Ferrari, COCO-Stuff: Thing and Stuff Classes in Context, 2018, https://arxiv.org/abs/1612.03716.
Official home: https://github.com/nightrome/cocostuff. The owners' label files hold the ids 0..181, of which eleven were
dropped, and 255 for void; a table maps them to the 171 classes.
"""

from pathlib import Path

import numpy as np

from segloss.datasets._dataset import Entry
from segloss.datasets._image_folders import folder_dataset, pairs
from segloss.datasets._lookup import VOID, distinct_colours, ids_of_values, value_table
from segloss.datasets._read import read_values

COUNTS = {"train": 118287, "val": 5000}
FOLDERS = {"train": "train2017", "val": "val2017"}
INSTRUCTIONS = (
    "unpack train2017.zip and val2017.zip of http://images.cocodataset.org/zips/ to coco-stuff/images/ and "
    "stuffthingmaps_trainval2017.zip of https://github.com/nightrome/cocostuff to coco-stuff/annotations/ (annotations "
    "CC BY 4.0, photographs under Flickr's terms; check the owners' pages)"
)
UNUSED = (11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90)  # ids no pixel has
CLASSES = tuple(
    """person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, stop sign,
    parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, backpack, umbrella,
    handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove, skateboard,
    surfboard, tennis racket, bottle, wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange,
    broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed, dining table, toilet, tv, laptop,
    mouse, remote, keyboard, cell phone, microwave, oven, toaster, sink, refrigerator, book, clock, vase, scissors,
    teddy bear, hair drier, toothbrush, banner, blanket, branch, bridge, building-other, bush, cabinet, cage, cardboard,
    carpet, ceiling-other, ceiling-tile, cloth, clothes, clouds, counter, cupboard, curtain, desk-stuff, dirt,
    door-stuff, fence, floor-marble, floor-other, floor-stone, floor-tile, floor-wood, flower, fog, food-other, fruit,
    furniture-other, grass, gravel, ground-other, hill, house, leaves, light, mat, metal, mirror-stuff, moss, mountain,
    mud, napkin, net, paper, pavement, pillow, plant-other, plastic, platform, playingfield, railing, railroad, river,
    road, rock, roof, rug, salad, sand, sea, shelf, sky-other, skyscraper, snow, solid-other, stairs, stone, straw,
    structural-other, table, tent, textile-other, towel, tree, vegetable, wall-brick, wall-concrete, wall-other,
    wall-panel, wall-stone, wall-tile, wall-wood, water-other, waterdrops, window-blind, window-other,
    wood""".replace("\n    ", " ").split(", ")
)
TABLE = value_table(
    {VOID: VOID, **{value: index for index, value in enumerate(id for id in range(182) if id not in UNUSED)}}
)


def entries(folder: Path, split: str) -> list[Entry]:
    """Image and label of each image of a split, sorted by name."""
    part = FOLDERS[split]
    return pairs(folder, f"images/{part}/*.jpg", lambda image: f"annotations/{part}/{Path(image).stem}.png")


def read_label(path: Path) -> np.ndarray:
    """The class ids, uint8 (height, width), of a file of COCO-Stuff's ids.

    Raises:
        DatasetError: It holds a value that is neither the id of a class nor 255.
    """
    return ids_of_values(read_values(path), TABLE, path)


COCO_STUFF = folder_dataset(
    name="coco-stuff",
    classes=CLASSES,
    palette=distinct_colours(len(CLASSES)),
    void=VOID,
    counts=COUNTS,
    instructions=INSTRUCTIONS,
    terms="annotations CC BY 4.0, photographs under Flickr's terms; check the owners' pages",
    entries=entries,
    read_label=read_label,
)
