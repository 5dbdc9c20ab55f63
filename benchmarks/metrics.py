"""Time to count one 1024x2048 image of 19 classes, compared with its floor, the peers, and the network's prediction.

    python -m benchmarks.metrics [--threads 2] [--repeats 5] [--device cpu]

The floor is softmax + argmax + one bincount. The peers, where installed: torchmetrics' calibration error together with
MMSegmentation's IoUMetric (with the argmax it needs). The network is the smallest that a grid could contain, a U-Net of
width 8 with logits at full size; its evaluation is forward pass, softmax and counting. Predictions are random (most
costly) and smooth. All are timed in turn, so a busy machine slows all of them equally; the median of each is given.
Also: metrics of a record of 500 images and 150 classes.
On a machine with fewer free cores than threads set OMP_WAIT_POLICY=passive, or idle threads spin and slow the others.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch

from segloss.metrics import Boundaries, Counts, IsotonicFit, TemperatureFit, VectorScalingFit, per_class, summarize

CLASSES, SIZE = 19, (1024, 2048)


def floor(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    predicted = logits.softmax(1).argmax(1)
    return torch.bincount((labels * CLASSES + predicted).flatten(), minlength=CLASSES**2)


def counting(probabilities: torch.Tensor, labels: torch.Tensor, classwise: bool) -> Callable[[], None]:
    return lambda: Counts(CLASSES, classwise=classwise).update(probabilities, labels)


class SmallUNet(torch.nn.Module):
    """A U-Net with two convolutions per level, widths 8 to 64, logits at the image's size."""

    def __init__(self, widths: tuple[int, ...] = (8, 16, 32, 64)):
        super().__init__()
        self.down = torch.nn.ModuleList(double(low, high) for low, high in pairwise((3, *widths)))
        self.up = torch.nn.ModuleList(double(high + low, low) for low, high in pairwise(widths))
        self.head = torch.nn.Conv2d(widths[0], CLASSES, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        levels = [self.down[0](image)]
        for block in self.down[1:]:
            levels.append(block(torch.nn.functional.max_pool2d(levels[-1], 2)))
        features = levels.pop()
        for block in reversed(self.up):
            enlarged = torch.nn.functional.interpolate(features, scale_factor=2, mode="nearest")
            features = block(torch.cat([enlarged, levels.pop()], 1))
        return self.head(features)


def double(inputs: int, outputs: int) -> torch.nn.Sequential:
    """Two convolutions with ReLU."""
    convolutions = (torch.nn.Conv2d(width, outputs, 3, padding=1) for width in (inputs, outputs))
    return torch.nn.Sequential(*(layer for convolution in convolutions for layer in (convolution, torch.nn.ReLU())))


def smooth(classes: int, generator: torch.Generator) -> torch.Tensor:
    """Logits (1, C, H, W) like those of a trained network: confident within regions, less so along their boundaries."""
    coarse = 6 * torch.randn(1, classes, 16, 32, generator=generator)
    return torch.nn.functional.interpolate(coarse, size=SIZE, mode="bilinear")


def peers(probabilities: torch.Tensor, labels: torch.Tensor) -> Callable[[], None] | None:
    try:
        from mmseg.evaluation.metrics import IoUMetric
        from torchmetrics.classification import MulticlassCalibrationError

        import segloss.engine  # noqa: F401  (lets mmseg and, for torchmetrics, torchvision be imported)
    except ImportError as error:
        print(f"without the peers: {error}")
        return None

    def run():
        calibration = MulticlassCalibrationError(CLASSES, n_bins=10).to(labels.device)
        calibration.update(probabilities, labels)
        calibration.compute()
        predicted = probabilities.argmax(1)
        IoUMetric.intersect_and_union(predicted[0], labels[0], CLASSES, 255)

    return run


@torch.no_grad()
def forward(network: torch.nn.Module, image: torch.Tensor) -> torch.Tensor:
    return network(image)


def interleaved(runs: dict[str, Callable], repeats: int, device: str) -> dict[str, float]:
    """Median seconds of each, over rounds in which each runs once."""
    seconds = {name: [] for name in runs}
    for repeat in range(repeats + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if device != "cpu":
                torch.cuda.synchronize()
            if repeat:  # the first round warms up
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}


def record_seconds(images: int = 500, classes: int = 150) -> float:
    """Seconds of all metrics of a record; its counts are 25 images of 32x32, repeated under new names."""
    generator = torch.Generator().manual_seed(0)
    probabilities = torch.randn(25, classes, 32, 32, generator=generator).softmax(1)
    labels = torch.randint(classes, (25, 32, 32), generator=generator)
    counts = Counts(classes)
    for start in range(0, images, 25):
        counts.update(probabilities, labels, names=[f"{start + index:04}" for index in range(25)])
    start = time.perf_counter()
    summarize(counts)
    per_class(counts)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    generator = torch.Generator().manual_seed(0)
    logits = (3 * torch.randn(1, CLASSES, *SIZE, generator=generator)).to(arguments.device)
    labels = torch.randint(CLASSES, (1, *SIZE), generator=generator).to(arguments.device)
    probabilities = logits.softmax(1)
    image = torch.randn(1, 3, *SIZE, generator=generator).to(arguments.device)
    network = SmallUNet().to(arguments.device).eval()
    trained = smooth(CLASSES, generator).to(arguments.device)
    certain, noisy = trained.softmax(1), (trained + smooth(CLASSES, generator).to(arguments.device)).argmax(1)
    regions = dict(classwise=False, boundaries=Boundaries(iou_width=0.02))
    surfaces = dict(classwise=False, boundaries=Boundaries(surface_tolerance=2))
    fewer = (..., slice(None, None, 22), slice(None, None, 22))  # FIT_PIXELS of an evaluation
    fits = {"temperature": TemperatureFit, "vector scaling": VectorScalingFit, "isotonic": IsotonicFit}
    runs = {
        "floor: softmax + argmax + bincount": lambda: floor(logits, labels),
        "Counts.update, no class-wise histograms": counting(probabilities, labels, classwise=False),
        "Counts.update": counting(probabilities, labels, classwise=True),
        "Counts.update, smooth predictions": counting(certain, noisy, classwise=True),
        "  with boundary IoU, no class-wise": lambda: Counts(CLASSES, **regions).update(certain, noisy),
        "  with surface Dice, no class-wise": lambda: Counts(CLASSES, **surfaces).update(certain, noisy),
        **{
            f"{name}: 4 371 pixels added": lambda kind=kind: kind(CLASSES).update(certain[fewer], noisy[fewer])
            for name, kind in fits.items()
        },
        "U-Net of width 8, forward": lambda: forward(network, image),
        "  forward + softmax + Counts.update": lambda: Counts(CLASSES).update(
            forward(network, image).softmax(1), labels
        ),
    }
    if peer := peers(probabilities, labels):
        runs["torchmetrics ECE + mmseg IoUMetric"] = peer
    seconds = interleaved(runs, arguments.repeats, arguments.device)
    base = next(iter(seconds.values()))
    print(f"{arguments.device}, {arguments.threads} threads, median of {arguments.repeats} interleaved rounds")
    for name, value in seconds.items():
        print(f"{name:42s} {1e3 * value:9.1f} ms {value / base:6.2f} x floor")
    print(f"{'metrics of 500 images, 150 classes':42s} {1e3 * np.median([record_seconds() for _ in range(3)]):9.1f} ms")


if __name__ == "__main__":
    main()
