"""Dark Zurich: the 50 validation images at night, 1920 x 1080, with Cityscapes' 19 classes; for evaluation only.

Sakaridis, Dai and Van Gool, Guided Curriculum Model Adaptation and Uncertainty-Aware Evaluation for Semantic Nighttime
Image Segmentation, 2019, https://arxiv.org/abs/1901.05946. Models are trained on Cityscapes.
"""

from pathlib import Path

from segloss.datasets import cityscapes
from segloss.datasets._dataset import Entry
from segloss.datasets._image_folders import folder_dataset, pairs
from segloss.datasets._lookup import VOID
from segloss.datasets.nighttime_driving import read_label

COUNTS = {"test": 50}
INSTRUCTIONS = (
    "unpack https://data.vision.ee.ethz.ch/csakarid/shared/GCMA_UIoU/Dark_Zurich_val_anon.zip (research; check the "
    "owners' terms) to dark-zurich/{rgb_anon,gt}/val/night/GOPR0356/"
)


def label_of(image: str) -> str:
    """The label of an image, both relative to the folder."""
    return image.replace("rgb_anon/", "gt/", 1).replace("_rgb_anon.png", "_gt_labelTrainIds.png")


def entries(folder: Path, split: str) -> list[Entry]:
    """Image and label of each of the owners' validation images, sorted by name."""
    return pairs(folder, "rgb_anon/val/night/*/*_rgb_anon.png", label_of)


DARK_ZURICH = folder_dataset(
    name="dark-zurich",
    classes=tuple(cityscapes.CLASSES),
    palette=cityscapes.PALETTE,
    void=VOID,
    counts=COUNTS,
    instructions=INSTRUCTIONS,
    terms="research; check the owners' page",
    entries=entries,
    read_label=read_label,
    splits=("test",),
    why_no_other=" since it is for evaluation only: train on cityscapes",
)
