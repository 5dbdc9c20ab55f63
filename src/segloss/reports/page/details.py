"""What the page shows when a cell is opened: record, curves, counts and pictures."""

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from PIL import Image

from segloss.datasets import Dataset, find
from segloss.grid import Cell
from segloss.records import measured
from segloss.reports.points import PointStatistics

CURVE_POINTS = 60  # of a training curve; more cannot be told apart on the page
PICTURE_BYTES = 5_000_000  # of all pictures of a page
PICTURE_SIDE = 256  # pixels; larger pictures are reduced
FEW_CELLS = 200  # a page of more cells has pictures of half that size


def read_record(results: Path, cell: Cell) -> dict[str, Any]:
    """The record of a finished cell, which `records.collect` has verified."""
    return json.loads((results / str(cell) / "record.json").read_text(encoding="utf-8"))


def curve(rows: Sequence[Mapping[str, float]], name: str, points: int = CURVE_POINTS) -> list[list[float]]:
    """[iteration, value] of a measurement, means over windows where there are more rows than points."""
    measured = [(row["iteration"], row[name]) for row in rows if name in row]
    windows = np.array_split(np.array(measured, dtype=float).reshape(-1, 2), max(1, min(points, len(measured))))
    return [[float(window[-1, 0]), float(f"{window[:, 1].mean():.5g}")] for window in windows if len(window)]


def cell_details(record: Mapping[str, Any], place: int, counts: PointStatistics) -> dict[str, Any]:
    """Record, metrics, curves and class counts of one seed, the `place`-th of its point."""
    training = record["training"]
    rows = training["rows"]
    shown = {**record, "training": {**training, "rows": f"{len(rows)} rows, in the file"}}
    return {
        "record": shown,
        "values": dict(measured(record)),
        "curves": {name: curve(rows, name) for name in ("train/loss", "train/lr")},
        "validations": [[row["iteration"], row["mIoU"]] for row in training["checkpoint"]["validations"]],
        "classes": counts.overlap[place].tolist(),
    }


def failure_traceback(results: Path, cell: Cell) -> str | None:
    """The traceback a failed cell left, if any."""
    try:
        left = json.loads((results / str(cell) / "failure.json").read_text(encoding="utf-8"))
        return str(left["traceback"]) if left.get("traceback") else None
    except (OSError, ValueError, KeyError, AttributeError):
        return None


KINDS = ("image/", "label/", "confidence/")


class Pictures:
    """The pictures of a page, each stored once, within a byte limit.

    Predictions of a cell are read from its predictions.npz: class maps (H, W) by name of the image, and, if present,
    `label/<name>`, `confidence/<name>` (uint8, 255 is certain) and `image/<name>` (H, W, 3).

    Args:
        cells: Number of cells that share the limit; with many cells the pictures are also smaller.
        limit: Total bytes of all pictures.
    """

    def __init__(self, cells: int, limit: int = PICTURE_BYTES) -> None:
        self.stored: dict[bytes, int] = {}
        self.share = limit / max(1, cells)
        self.side = PICTURE_SIDE if cells <= FEW_CELLS else PICTURE_SIDE // 2

    def of_cell(self, results: Path, cell: Cell, source: str) -> list[dict[str, Any]]:
        """For each image its name and the numbers of its pictures by kind; fewer images if bytes run out."""
        shown: list[dict[str, Any]] = []
        try:
            with np.load(results / str(cell) / "predictions.npz", allow_pickle=False) as maps:
                left = self.share
                for name in sorted(name for name in maps.files if not name.startswith(KINDS)):
                    if shown and left * len(shown) < self.share - left:  # another one of average size would not fit
                        break
                    pictures = draw(maps, name, find(source), self.side)
                    if not shown and self.new_bytes(pictures) > left:  # a part is better than nothing
                        pictures = {kind: pictures[kind] for kind in ("prediction", "error") if kind in pictures}
                    left -= self.new_bytes(pictures)
                    if left < 0:
                        break
                    numbers = {kind: self.stored.setdefault(png, len(self.stored)) for kind, png in pictures.items()}
                    shown.append({"name": name, "pictures": numbers})
        except (OSError, ValueError, KeyError, BadZipFile, zlib.error):  # absent or damaged: the numbers remain
            pass
        return shown

    def new_bytes(self, pictures: Mapping[str, bytes]) -> int:
        """Bytes of those pictures that are not stored yet."""
        return sum(len(picture) for picture in pictures.values() if picture not in self.stored)

    def encoded(self) -> list[str]:
        """All pictures in base64, in the order of their numbers."""
        return [base64.b64encode(picture).decode() for picture in self.stored]


def draw(maps: Mapping[str, np.ndarray], name: str, dataset: Dataset, side: int = PICTURE_SIDE) -> dict[str, bytes]:
    """PNGs of one image by kind: image, label, prediction, confidence, error; those whose data exist."""
    palette = np.full((256, 3), 255, np.uint8)
    palette[: len(dataset.palette)] = dataset.palette
    drawn = {"prediction": indexed(maps[name], palette)}
    if f"image/{name}" in maps and dataset.redistributable:
        drawn["image"] = Image.fromarray(maps[f"image/{name}"])
    if f"confidence/{name}" in maps:
        drawn["confidence"] = Image.fromarray(maps[f"confidence/{name}"] // 16 * 17)  # 16 greys: half the bytes
    if f"label/{name}" in maps:
        label = maps[f"label/{name}"]
        drawn["label"] = indexed(label, palette)
        drawn["error"] = indexed(np.where(label >= len(dataset.classes), 2, label != maps[name]), ERROR_PALETTE)
    return {kind: png(drawn[kind], side) for kind in ORDER if kind in drawn}


ORDER = ("image", "label", "prediction", "confidence", "error")
ERROR_PALETTE = np.array([(226, 226, 226), (213, 94, 0), (255, 255, 255)], np.uint8)  # right, wrong, void


def indexed(classes: np.ndarray, palette: np.ndarray) -> Image.Image:
    """A class map as a picture with a palette."""
    picture = Image.fromarray(classes.astype(np.uint8))
    picture.putpalette(palette.tobytes())
    return picture


def png(picture: Image.Image, side: int) -> bytes:
    """A picture as PNG, reduced to sides of at most `side` pixels; class maps keep their classes."""
    scale = side / max(picture.size)
    if scale < 1:
        size = tuple(max(1, round(length * scale)) for length in picture.size)
        picture = picture.resize(size, Image.Resampling.NEAREST if picture.mode == "P" else Image.Resampling.BOX)
    buffer = BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()
