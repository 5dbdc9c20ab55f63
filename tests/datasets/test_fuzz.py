"""Damaged image, label and NIfTI files and descriptions: a sentence that names the file, or a result; nothing else."""

import gzip
import io
import logging
import random
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_described import YAML, make
from test_qubiq import nifti

from segloss.datasets import DatasetError, training_config
from segloss.datasets._described import described
from segloss.datasets._nifti import read_nifti
from segloss.datasets._read import read_foreground, read_image, read_label
from tests.conftest import in_memory

IDS = np.random.default_rng(0).integers(5, size=(24, 31)).astype(np.uint8)
WORDS = ("null", "true", "-1", "[]", "{}", '"*"', "1e400", ".nan", "{any: []}", "!!x", "*a", "65536", '"\\0"', "../..")


def encoded(pixels: np.ndarray, kind: str, **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def whole_files() -> dict[str, bytes]:
    exif = Image.Exif()
    exif[0x0112] = 6
    kinds = {"png": "PNG", "tif": "TIFF", "bmp": "BMP", "ppm": "PPM", "gif": "GIF", "jpg": "JPEG"}
    files = {f"a.{ending}": encoded(IDS, kind) for ending, kind in kinds.items()}
    files |= {"wide.png": encoded(IDS.astype(np.uint16) * 700, "PNG"), "float.tif": encoded(IDS.astype("f4"), "TIFF")}
    files |= {"turned.jpg": encoded(IDS, "JPEG", exif=exif), "b.png.gz": gzip.compress(files["a.png"])}
    return files | {"v.nii": nifti(IDS.astype("f4")), "v.nii.gz": gzip.compress(nifti(IDS.astype("f4")))}


def mutated(content: bytes, draw: random.Random) -> bytes:
    content = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 8))):
        if not content:
            break
        place = draw.randrange(min(len(content), draw.choice((200, 10**6))))
        kind = draw.random()
        if kind < 0.6:
            content[place] = draw.randrange(256)
        elif kind < 0.8:
            del content[place:]
        else:
            content[place:place] = draw.randbytes(4)
    return bytes(content)


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory: thousands of files are written."""
    yield from in_memory(tmp_path)


def test_files(tmp_path, monkeypatch):
    monkeypatch.setattr(logging.root.manager, "disable", logging.CRITICAL)
    draw, files, sentences = random.Random(1), whole_files(), []
    for _ in range(1500):
        name = draw.choice(sorted(files))
        path = tmp_path / name
        path.write_bytes(mutated(files[name], draw))
        for reader in (read_nifti,) if "nii" in name else (read_image, read_label, read_foreground):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # Pillow's and nibabel's, of damaged tags
                    reader(path)
            except DatasetError as error:
                sentences.append((str(path), str(error)))
    assert len(sentences) > 1000
    assert [(path, text) for path, text in sentences if path not in text or "\n" in text] == []


def test_descriptions(tmp_path):
    make(tmp_path / "pictures")
    draw, sentences = random.Random(2), []
    for n in range(400):
        text = YAML + 'void: [1, 2, 3]\nraters: ["masks/*_mask.png"]\nresize: [16, 24]\n'
        for _ in range(draw.choice((1, 1, 2, 4))):
            token = draw.choice(list(re.finditer(r"[^\s,:\[\]{}]+", text)))
            text = text[: token.start()] + draw.choice(WORDS) + text[token.end() :]
        file = tmp_path / f"{n}.yaml"
        file.write_text(text)
        try:
            dataset = described(file)
            training_config(file)
            for split in dataset.splits:
                dataset.read_list(dataset.location, split)
        except DatasetError as error:
            sentences.append(str(error))
    assert len(sentences) > 200
    assert [text for text in sentences if "\n" in text] == []


def test_the_whole_files_can_be_read(tmp_path):
    """All but one that is refused as a label for its orientation, and one with ids that are too high."""
    for name, content in whole_files().items():
        (tmp_path / name).write_bytes(content)
        if name not in ("turned.jpg", "wide.png"):
            assert (read_nifti if "nii" in name else read_label)(tmp_path / name).shape == IDS.shape
