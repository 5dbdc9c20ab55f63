"""A picture of a few images of a described data set with their labels."""

from pathlib import Path

import numpy as np
from PIL import Image

from segloss.datasets._described import described
from segloss.files import write_atomic


def contact_sheet(file: Path, count: int = 5, side: int = 240) -> Path:
    """Write some images of a described data set, with their labels in the palette's colours, to a PNG next to the file.

    Args:
        file: The description.
        count: Number of images. Default 5.
        side: Side of a picture in pixels. Default 240.

    Raises:
        DatasetError: The description or one of the shown pairs is wrong.
    """
    dataset = described(file)
    entries = [entry for split in dataset.splits for entry in dataset.read_list(dataset.location, split)]
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(dataset.palette)] = dataset.palette
    palette[255] = 128  # void
    rows = []
    for image_path, label_path, *_ in entries[:: max(1, len(entries) // count)][:count]:
        image = dataset.load_image(dataset.location / image_path)
        label = palette[dataset.load_label(dataset.location / label_path, image.shape[:2])]
        mixed = ((image[..., :3].astype(int) + label) // 2).astype(np.uint8)
        row = Image.new("RGB", (3 * side, side), "white")
        for place, pixels in enumerate((image[..., :3], label, mixed)):
            picture = Image.fromarray(np.ascontiguousarray(pixels))
            picture.thumbnail((side - 4, side - 4), Image.Resampling.NEAREST)
            row.paste(picture, (place * side + 2, 2))
        rows.append(row)
    sheet = Image.new("RGB", (3 * side, side * len(rows)), "white")
    for place, row in enumerate(rows):
        sheet.paste(row, (0, place * side))
    path = file.with_name(f"{file.stem}-pairs.png")
    write_atomic(path, lambda target: sheet.save(target, "PNG"))
    return path
