"""Numbers published by others, to be shown next to measured ones; none of them is filled in from memory.

``published.csv`` holds numbers read from repositories and articles, one per line. The results of MMSegmentation's
model zoo are read from the metafiles of the installed wheel. A field that its source does not state is empty; no source
gave a spread. The tables of arXiv 2302.05666, 2303.16296 and 2310.19252 could not be read and are not included.
"""

import functools
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from segloss.grid.yaml_files import SafeLoader

COLUMNS = (
    "source", "url", "date", "dataset", "split", "model", "method", "loss", "labels", "protocol", "metric", "value",
    "unit", "n",
)  # fmt: skip
FILE = Path(__file__).with_name("published.csv")
# What differs from this project's cells, by source.
NOTES = {
    "JDTLosses README": "own recipe and teacher; windows' logits averaged; seeds and split not stated",
    "CIRKD README": "own recipe; seeds not stated",
    "UniMatch README": "own recipe and lists of labelled images; seeds not stated",
    "Loss Odyssey": "nnU-Net V1 on volumes; seeds not stated",
    "MMSegmentation PR #919": "MMSegmentation's recipe, photometric distortion; Dice of the vessels; seeds not stated",
    "Average Calibration Losses": "own recipe on volumes, one seed; macro and micro means as its source defines them",
    "MMSegmentation 1.2.2": "MMSegmentation's recipe, photometric distortion; windows' logits averaged; one training",
}
ZOO = "MMSegmentation 1.2.2"
CODE = "https://github.com/open-mmlab/mmsegmentation/tree/v1.2.2"
# The data sets of the zoo's metafiles that this project has.
ZOO_DATASETS = {
    "Cityscapes": "cityscapes",
    "ADE20K": "ade20k",
    "Pascal VOC 2012 + Aug": "pascal-voc",
    "COCO-Stuff 164k": "coco-stuff",
    "Pascal Context 59": "pascal-context",
    "Mapillary Vistas v1.2": "mapillary-vistas",
    "STARE": "stare",
}
# Metrics of the metafiles: name and how predictions are made. Dice is that of the vessels; depth errors are left out.
ZOO_METRICS = {
    "mIoU": ("mIoU", "single scale"),
    "mIoU(ms+flip)": ("mIoU", "multi-scale and flip"),
    "mDice": ("mDice", "single scale"),
    "Dice": ("Dice", "single scale"),
}
# Their losses match masks to queries; all other models of the zoo train with cross-entropy unless named otherwise.
MASK_CLASSIFIERS = ("maskformer", "mask2former", "san")


def published(
    dataset: str, *, model: str | None = None, loss: str | None = None, metric: str | None = None
) -> pd.DataFrame:
    """The published numbers of a data set, with a note on what differs from this project's protocol.

    Args:
        dataset: Name of the data set as in ``segloss.datasets``, or as its source names it if it is none of those.
        model: Default: None: all. A config of MMSegmentation's zoo has the same name as in a grid.
        loss: As its source names it. Default: None: all.
        metric: ``mIoU``, ``Dice``, ... Default: None: all.

    Returns:
        One row per number: ``COLUMNS`` and ``note``; empty if nothing was published. ``n`` is the number of trainings,
        NaN where the source does not state it.
    """
    rows = table()
    chosen = rows.dataset == dataset
    for column, wanted in (("model", model), ("loss", loss), ("metric", metric)):
        if wanted is not None:
            chosen &= rows[column] == wanted
    numbers = rows[chosen].reset_index(drop=True)
    return numbers.assign(note=numbers.source.map(NOTES))


@functools.cache
def table() -> pd.DataFrame:
    """All published numbers; all ``COLUMNS`` contain text except ``value`` and ``n``."""
    text = {column: str for column in COLUMNS if column not in ("value", "n")}
    read = pd.read_csv(FILE, dtype=text, keep_default_na=False, na_values={"n": [""], "value": [""]})
    zoo = pd.DataFrame(list(zoo_rows()), columns=list(COLUMNS))
    return pd.concat([read.astype({"n": float}), zoo.astype({"n": float})], ignore_index=True)


def zoo_rows() -> Iterator[dict[str, Any]]:
    """Every number of the metafiles in MMSegmentation's wheel; nothing where it is not installed."""
    spec = importlib.util.find_spec("mmseg")
    if spec is None:
        return
    for file in sorted((Path(spec.origin).parent / ".mim" / "configs").glob("*/metafile.yaml")):
        for entry in yaml.load(file.read_text(encoding="utf-8"), Loader=SafeLoader)["Models"]:
            yield from _numbers(entry, file.parent.name)


def _numbers(entry: dict[str, Any], family: str) -> Iterator[dict[str, Any]]:
    """The numbers of one model of a metafile."""
    results, metadata = entry["Results"], entry.get("Metadata") or {}
    for result in results if isinstance(results, list) else [results]:
        name = str(result["Dataset"])
        if name.startswith("#"):  # a comment that slipped into the metafile: not stated
            name = ""
        for key, value in (result["Metrics"] or {}).items():
            if key not in ZOO_METRICS:
                continue
            metric, views = ZOO_METRICS[key]
            batch, machine = metadata.get("Batch Size"), metadata.get("Training Resources")
            yield {
                "source": ZOO,
                "url": entry.get("Weights") or f"{CODE}/{entry['Config']}",
                "date": "wheel 1.2.2",
                "dataset": ZOO_DATASETS.get(name, name.lower().replace("_", "-")),
                "split": "",
                "model": entry["Name"],
                "method": "",
                "loss": _loss(entry["Name"], family),
                "labels": "hard",
                "protocol": ", ".join(filter(None, (views, f"batch {batch}" if batch else "", machine))),
                "metric": metric,
                "value": value,
                "unit": "%",
                "n": 1 if entry.get("Weights") else None,
            }


def _loss(name: str, family: str) -> str:
    """The loss of a model of the zoo, inferred from its name."""
    if family in MASK_CLASSIFIERS:
        return ""
    return "CE + Dice 1:3" if "ce-1.0-dice-3.0" in name else "CE"
