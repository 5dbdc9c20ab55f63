"""Our data loader compared with MMSegmentation's, and how long `segloss prepare` takes to verify large images.

    python -m benchmarks.loader [--passes 5] [--workers 0] [--out reports/perf/loader.md]

Loaders: the training images of CamVid, the data set's own training pipeline (decoding, random resize, crop, flip,
colour distortion), batches of 8. Ours decodes an image only once and caches it; the first pass, in which both decode,
is not counted. The loaders take turns, pass by pass. Verification: generated PNGs of 1024x2048 with 19 classes, read by
as many threads as there are cores, as `prepare` does.
"""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS as MMSEG_DATASETS
from PIL import Image
from torch.utils.data import DataLoader, RandomSampler

import segloss.engine  # noqa: F401  (registers the transforms)
from benchmarks.stock import loader as stock_loader
from segloss.cli.paths import default_data_root
from segloss.datasets import DATASETS, locate
from segloss.datasets._checks import check_sizes
from segloss.engine.data import SampleSequence, complete
from segloss.engine.machine import limit_threads

BATCH = 8


def ours(folder: Path, pipeline: list, workers: int, samples: int) -> DataLoader:
    """The loader of a cell, its images in the order of the training."""
    dataset = MMSEG_DATASETS.build(
        dict(type="ListDataset", source="camvid", folder=str(folder), split="train", pipeline=complete(pipeline))
    )
    sequence = SampleSequence(dataset, 0, samples)
    return DataLoader(sequence, BATCH, num_workers=workers, persistent_workers=workers > 0, collate_fn=pseudo_collate)


def stock(folder: Path, place: Path, pipeline: list, workers: int, samples: int) -> DataLoader:
    """MMSegmentation's loader with the same transforms."""
    config = stock_loader(DATASETS["camvid"], folder, place, "train", pipeline, BATCH)
    dataset = MMSEG_DATASETS.build(config["dataset"])
    order = RandomSampler(dataset, num_samples=samples)
    return DataLoader(
        dataset, BATCH, sampler=order, num_workers=workers, persistent_workers=workers > 0, collate_fn=pseudo_collate
    )


def speeds(loaders: dict[str, Iterable], passes: int, samples: int) -> dict[str, list[float]]:
    """Images/s of each pass of each loader, taking turns, without the first pass."""
    measured: dict[str, list[float]] = {name: [] for name in loaders}
    for turn in range(passes + 1):
        for name, batches in loaders.items():
            start = time.perf_counter()
            for _ in batches:
                pass
            if turn:
                measured[name].append(samples / (time.perf_counter() - start))
    return measured


def made_images(folder: Path, number: int) -> list[tuple[str, str]]:
    """Write large images and labels: ten different ones, hard-linked to ``number`` names."""
    random = np.random.default_rng(0)
    for index in range(10):
        image = random.integers(0, 256, (64, 128, 3), np.uint8).repeat(16, 0).repeat(16, 1)
        noise = random.integers(0, 8, image.shape, np.uint8)
        Image.fromarray(image // 2 + noise).save(folder / f"image{index}.png")
        Image.fromarray(random.integers(0, 19, (64, 128), np.uint8).repeat(16, 0).repeat(16, 1)).save(
            folder / f"label{index}.png"
        )
    for index in range(10, number):
        for kind in ("image", "label"):
            os.link(folder / f"{kind}{index % 10}.png", folder / f"{kind}{index}.png")
    return [(f"image{index}.png", f"label{index}.png") for index in range(number)]


def seconds_of(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loader", description=__doc__.splitlines()[0])
    parser.add_argument("--passes", type=int, default=5, help="counted passes over the images (default 5)")
    parser.add_argument("--workers", type=int, default=0, help="processes that load (default 0)")
    parser.add_argument("--images", type=int, default=1000, help="images to verify (default 1000)")
    parser.add_argument("--out", type=Path, help="write the tables into this Markdown file, too")
    arguments = parser.parse_args()
    limit_threads(1)
    init_default_scope("mmseg")
    folder = locate("camvid", default_data_root())
    pipeline = Config.fromfile("configs/mmseg/datasets/camvid.py").train_pipeline
    with TemporaryDirectory() as place:
        samples = len(DATASETS["camvid"].read_list(folder, "train"))
        loaders = {
            "segloss": ours(folder, pipeline, arguments.workers, samples),
            "MMSegmentation": stock(folder, Path(place), pipeline, arguments.workers, samples),
        }
        measured = speeds(loaders, arguments.passes, samples)
    ratios = [a / b for a, b in zip(*measured.values(), strict=True)]
    with TemporaryDirectory() as place:
        entries = made_images(Path(place), arguments.images)
        large = replace(
            DATASETS["camvid"],
            classes=tuple(f"class {index}" for index in range(19)),
            palette=tuple((index, index, index) for index in range(19)),
            void=255,
            splits=("train",),
            read_list=lambda folder, split: entries,
        )
        verified = seconds_of(lambda: check_sizes(large, Path(place)))
    rows = [
        f"| {name} | {' | '.join(f'{value:.0f}' for value in values)} | {statistics.median(values):.0f} |"
        for name, values in measured.items()
    ]
    turns = range(1, arguments.passes + 1)
    text = "\n".join(
        [
            "# Loading images\n",
            __doc__.split("\n\n", 2)[2],
            f"{platform.platform()}, {os.cpu_count()} cores with a load of {os.getloadavg()[0]:.1f}.\n",
            f"| images/s, {arguments.workers} workers | {' | '.join(f'pass {turn}' for turn in turns)} | median |",
            f"|:--|{'--:|' * (arguments.passes + 1)}",
            *rows,
            f"\n**{statistics.median(ratios):.2f} x** as fast (median of the passes' ratios).\n",
            f"{arguments.images} images of 1024x2048 with their labels verified in **{verified:.0f} s**.\n",
        ]
    )
    print(text)
    if arguments.out:
        arguments.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
