"""What the page shows of a cell when it is opened: record, curves, counts and pictures."""

import base64
import json
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from segloss.datasets import Dataset, find
from segloss.grid import Cell
from segloss.reports.points import PointStatistics

CURVE_POINTS = 60  # of a training curve; more cannot be told apart on the page
PICTURE_BYTES = 5_000_000  # of all pictures of a page
PICTURE_SIDE = 256  # pixels; larger pictures are reduced


def read_record(results: Path, cell: Cell) -> dict[str, Any]:
    """The record of a finished cell, which `records.collect` has verified."""
    return json.loads((results / str(cell) / "record.json").read_text(encoding="utf-8"))


def curve(rows: Sequence[Mapping[str, float]], name: str, points: int = CURVE_POINTS) -> list[list[float]]:
    """[iteration, value] of a measurement, means over windows where there are more rows than points."""
    measured = [(row["iteration"], row[name]) for row in rows if name in row]
    windows = np.array_split(np.array(measured, dtype=float).reshape(-1, 2), max(1, min(points, len(measured))))
    return [[float(window[-1, 0]), float(f"{window[:, 1].mean():.5g}")] for window in windows if len(window)]


def cell_details(record: Mapping[str, Any], place: int, counts: PointStatistics) -> dict[str, Any]:
    """Record, curves and counts of one seed, the `place`-th of its point."""
    training = record["training"]
    rows = training["rows"]
    shown = {**record, "training": {**training, "rows": f"{len(rows)} rows, in the file"}}
    return {
        "record": shown,
        "curves": {name: curve(rows, name) for name in ("train/loss", "train/lr")},
        "validations": [[row["iteration"], row["mIoU"]] for row in training["checkpoint"]["validations"]],
        "classes": counts.overlap[place].tolist(),
        "bins": [[float(f"{number:.8g}") for number in row] for row in counts.calibration[place].tolist()],
    }


def failure_traceback(results: Path, cell: Cell) -> str | None:
    """The traceback a failed cell left, if any."""
    try:
        left = json.loads((results / str(cell) / "failure.json").read_text(encoding="utf-8"))
        return str(left["traceback"]) if left.get("traceback") else None
    except (OSError, ValueError, KeyError, AttributeError):
        return None


class Pictures:
    """The pictures of a page, each stored once, within a limit of bytes.

    Predictions of a cell are read from its predictions.npz: class maps (H, W) by name of the image, and as far as they
    are there `label/<name>`, `confidence/<name>` (uint8, 255 is certain) and `image/<name>` (H, W, 3).

    Args:
        cells: Number of cells that share the limit.
        limit: Bytes of all pictures.
    """

    def __init__(self, cells: int, limit: int = PICTURE_BYTES) -> None:
        self.stored: dict[bytes, int] = {}
        self.share = limit / max(1, cells)

    def of_cell(self, results: Path, cell: Cell, source: str) -> list[dict[str, Any]]:
        """For each image its name and the numbers of its pictures by kind; fewer images where bytes run out."""
        try:
            with np.load(results / str(cell) / "predictions.npz", allow_pickle=False) as file:
                maps = dict(file)
        except (OSError, ValueError, KeyError):
            return []
        shown, left = [], self.share
        for name in sorted(name for name, array in maps.items() if array.ndim == 2 and not name.startswith(KINDS)):
            pictures = draw(maps, name, find(source))
            left -= sum(len(picture) for picture in pictures.values() if picture not in self.stored)
            if left < 0:
                break
            numbers = {kind: self.stored.setdefault(png, len(self.stored)) for kind, png in pictures.items()}
            shown.append({"name": name, "pictures": numbers})
        return shown

    def encoded(self) -> list[str]:
        """All pictures in base64, in the order of their numbers."""
        return [base64.b64encode(picture).decode() for picture in self.stored]


KINDS = ("image/", "label/", "confidence/")


def draw(maps: Mapping[str, np.ndarray], name: str, dataset: Dataset) -> dict[str, bytes]:
    """PNGs of one image by kind: image, label, prediction, confidence, error; those whose data are there."""
    palette = np.full((256, 3), 255, np.uint8)
    palette[: len(dataset.palette)] = dataset.palette
    predicted = maps[name]
    pictures = {}
    if f"image/{name}" in maps and dataset.redistributable:
        pictures["image"] = png(Image.fromarray(maps[f"image/{name}"]))
    if f"label/{name}" in maps:
        pictures["label"] = png(indexed(maps[f"label/{name}"], palette))
    pictures["prediction"] = png(indexed(predicted, palette))
    if f"confidence/{name}" in maps:
        pictures["confidence"] = png(Image.fromarray(maps[f"confidence/{name}"]))
    if f"label/{name}" in maps:
        label = maps[f"label/{name}"]
        wrong = np.where(label >= len(dataset.classes), 2, (label != predicted).astype(np.uint8))
        pictures["error"] = png(indexed(wrong.astype(np.uint8), ERROR_PALETTE))
    return pictures


ERROR_PALETTE = np.array([(226, 226, 226), (213, 94, 0), (255, 255, 255)], np.uint8)  # right, wrong, void


def indexed(classes: np.ndarray, palette: np.ndarray) -> Image.Image:
    """A class map as a picture with a palette."""
    picture = Image.fromarray(classes.astype(np.uint8), mode=None)
    picture = picture.convert("P") if picture.mode != "P" else picture
    picture.putpalette(palette.tobytes())
    return picture


def png(picture: Image.Image) -> bytes:
    """A picture as PNG, reduced to `PICTURE_SIDE`; class maps keep their classes."""
    scale = PICTURE_SIDE / max(picture.size)
    if scale < 1:
        size = tuple(max(1, round(side * scale)) for side in picture.size)
        picture = picture.resize(size, Image.Resampling.NEAREST if picture.mode == "P" else Image.Resampling.BOX)
    buffer = BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
