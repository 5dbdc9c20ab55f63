"""CCP, Clothing Co-Parsing: 1 004 street fashion photographs, every garment labelled; three of four pixels background.

Yang, Luo and Lin, Clothing Co-Parsing by Joint Image Segmentation and Labeling, 2014,
https://doi.org/10.1109/CVPR.2014.407. Official home: https://github.com/bearpaw/clothing-co-parsing (Apache-2.0; the
photographs come from the web, their photographers' rights are not stated, and people can be seen in them).

Two data sets read one folder: ``ccp59`` with the owners' classes, of which four occur in no image, and ``ccp12`` with
the groups of ``GROUPS``. Photographs and labels have half the owners' size. The owners publish no split: photographs
whose number ends in 7 are val, those that end in 8 or 9 are test.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from segloss.datasets._checks import check_files_of_lists, check_labels, check_sizes
from segloss.datasets._dataset import Dataset, DatasetError, Entry, distinct_colours, put_there_by_hand, read_label

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
HOW_TO_GET = (
    "halve photos/ (area means) and annotations/pixel-level/ (nearest) of "
    "https://github.com/bearpaw/clothing-co-parsing to ccp/images/<nnnn>.jpg and ccp/labels59/<nnnn>.png, and write "
    "the numbers of each split to ccp/{train,val,test}.txt"
)
GROUP_OF_CLASS = np.array(
    [next(group for group, members in enumerate(GROUPS.values()) if name in members.split()) for name in CLASSES],
    np.uint8,
)


def read_list(folder: Path, split: str) -> list[Entry]:
    """Image and label of each photograph of a split.

    Raises:
        DatasetError: There is no such list.
    """
    path = Path(folder) / f"{split}.txt"
    if not path.is_file():
        raise DatasetError(f"ccp: {path} is missing; {HOW_TO_GET}")
    return [(f"images/{name}.jpg", f"labels59/{name}.png") for name in path.read_text().split()]


def read_groups(path: Path) -> np.ndarray:
    """A label as the 12 groups, uint8 (height, width)."""
    labels = read_label(path)
    if labels.max(initial=0) >= len(CLASSES):
        raise DatasetError(f"{path} must hold classes 0..{len(CLASSES) - 1}, got {labels.max()}")
    return GROUP_OF_CLASS[labels]


def verify(folder: Path) -> None:
    """Raise DatasetError, in one sentence, unless the folder holds all photographs and the labels unchanged."""
    check_files_of_lists(CCP59, folder, COUNTS)
    check_labels(CCP59, folder, LABELS_SHA256)
    check_sizes(CCP59, folder)


CCP59 = Dataset(
    name="ccp59",
    classes=CLASSES,
    palette=distinct_colours(len(CLASSES)),
    void=None,
    raters=0,
    generated=False,
    prepare=put_there_by_hand("ccp", verify, HOW_TO_GET),
    verify=verify,
    how_to_get=HOW_TO_GET,
    folder="ccp",
    read_list=read_list,
)
CCP12 = replace(
    CCP59, name="ccp12", classes=tuple(GROUPS), palette=distinct_colours(len(GROUPS)), read_label=read_groups
)
