"""CCP, Clothing Co-Parsing: 1 004 street fashion photographs, every garment labelled; three in four pixels background.

Yang, Luo and Lin, Clothing Co-Parsing by Joint Image Segmentation and Labeling, 2014,
https://doi.org/10.1109/CVPR.2014.407. Official home: https://github.com/bearpaw/clothing-co-parsing (Apache-2.0; the
photographs come from the web, their photographers' rights are not stated, and people can be seen in them).

Two data sets read one folder: ``ccp59`` with the owners' classes, of which four occur in no image, and ``ccp12`` with
the groups of ``GROUPS``. Photographs and labels have half the original size. The owners publish no split: photographs
whose number ends in 7 are val, those that end in 8 or 9 are test.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from segloss.datasets._dataset import Dataset, Entry
from segloss.datasets._folders import published
from segloss.datasets._lookup import distinct_colours, ids_of_values, value_table
from segloss.datasets._read import DatasetError, read_label

COUNTS = {"train": 704, "val": 100, "test": 200}
_NAMES = """
null accessories bag belt blazer blouse bodysuit boots bra bracelet cape cardigan clogs coat dress earrings flats
glasses gloves hair hat heels hoodie intimate jacket jeans jumper leggings loafers necklace panties pants pumps purse
ring romper sandals scarf shirt shoes shorts skin skirt sneakers socks stockings suit sunglasses sweater sweatshirt
swimwear t-shirt tie tights top vest wallet watch wedges
"""
CLASSES = tuple(_NAMES.split())
GROUPS = {
    "background": "null",
    "skin": "skin",
    "hair": "hair",
    "top": "blouse shirt t-shirt top sweater sweatshirt hoodie jumper cardigan bodysuit vest bra intimate",
    "outerwear": "coat jacket blazer cape suit",
    "dress": "dress romper swimwear",
    "trousers": "pants jeans leggings",
    "skirt-shorts": "skirt shorts panties",
    "legwear": "stockings tights socks",
    "shoes": "shoes boots flats loafers heels pumps sneakers sandals clogs wedges",
    "bag": "bag purse wallet",
    "accessories": "accessories belt scarf hat gloves tie sunglasses glasses necklace bracelet watch ring earrings",
}
LABELS_SHA256 = "3ad67c93ab58ffa28ec1d6102ec3b1bf6e9fe024b6723e6e14a04431be2cc96e"
INSTRUCTIONS = (
    "halve photos/ (area means) and annotations/pixel-level/ (nearest) of "
    "https://github.com/bearpaw/clothing-co-parsing to ccp/images/<nnnn>.jpg and ccp/labels59/<nnnn>.png, and write "
    "the numbers of each split to ccp/{train,val,test}.txt"
)
GROUP_OF_CLASS = value_table(
    {CLASSES.index(name): group for group, names in enumerate(GROUPS.values()) for name in names.split()}
)


def read_list(folder: Path, split: str) -> list[Entry]:
    """Image and label of each photograph of a split.

    Raises:
        DatasetError: There is no such list.
    """
    path = Path(folder) / f"{split}.txt"
    if not path.is_file():
        raise DatasetError(f"ccp: {path} is missing; {INSTRUCTIONS}")
    return [(f"images/{name}.jpg", f"labels59/{name}.png") for name in path.read_text().split()]


def read_groups(path: Path) -> np.ndarray:
    """A label as the 12 groups, uint8 (height, width)."""
    return ids_of_values(read_label(path), GROUP_OF_CLASS, path)


CCP59 = published(
    Dataset(
        name="ccp59",
        classes=CLASSES,
        palette=distinct_colours(len(CLASSES)),
        void=None,
        raters=0,
        generated=False,
        instructions=INSTRUCTIONS,
        terms="Apache-2.0; rights of the photographs not stated",
        folder="ccp",
        read_list=read_list,
    ),
    COUNTS,
    LABELS_SHA256,
)
CCP12 = replace(
    CCP59, name="ccp12", classes=tuple(GROUPS), palette=distinct_colours(len(GROUPS)), read_label=read_groups
)
