"""STARE: vessels in 20 images of the retina, drawn by two observers.

Hoover, Kouznetsova and Goldbaum, Locating Blood Vessels in Retinal Images, 2000, https://doi.org/10.1109/42.845178.
Official home: https://cecas.clemson.edu/~ahoover/stare/probing/index.html (research use).

As in the literature the label is the first observer (ah); both are raters. No official split exists: this one, ten
images against ten, is V-GAN's (Son et al., 2017, https://arxiv.org/abs/1706.09318).
"""

from pathlib import Path

from segloss.datasets._dataset import Dataset, Entry
from segloss.datasets._folders import published
from segloss.datasets._read import DatasetError, read_foreground

SPLITS = {
    "train": (1, 2, 3, 4, 5, 44, 77, 81, 82, 139),
    "test": (162, 163, 235, 236, 239, 240, 255, 291, 319, 324),
}
OBSERVERS = ("ah", "vk")
LABELS_SHA256 = "967c6a282a2540c33144f75f90a905271418d3a83ad06d00495e3982fb9972fb"
INSTRUCTIONS = (
    "unpack stare-images.tar, labels-ah.tar and labels-vk.tar of "
    "https://cecas.clemson.edu/~ahoover/stare/probing/index.html to stare/{stare-images,labels-ah,labels-vk}/"
)


def read_list(folder: Path, split: str) -> list[Entry]:
    """Image, first observer as label, and both observers as raters, of each image of a split.

    Raises:
        DatasetError: There is no such split.
    """
    if split not in SPLITS:
        raise DatasetError(f"stare has no list {split!r}; known: {', '.join(SPLITS)}")
    entries = []
    for number in SPLITS[split]:
        maps = [f"labels-{observer}/im{number:04d}.{observer}.ppm.gz" for observer in OBSERVERS]
        entries.append((f"stare-images/im{number:04d}.ppm.gz", maps[0], *maps))
    return entries


STARE = published(
    Dataset(
        name="stare",
        classes=("background", "vessel"),
        palette=((0, 0, 0), (213, 94, 0)),
        void=None,
        raters=len(OBSERVERS),
        generated=False,
        instructions=INSTRUCTIONS,
        terms="research use",
        splits=tuple(SPLITS),
        read_list=read_list,
        read_label=read_foreground,
    ),
    {split: len(numbers) for split, numbers in SPLITS.items()},
    LABELS_SHA256,
)
