"""Time to make each label scenario's target, compared with a training step of DeepLabV3+ on ResNet-18.

    python -m benchmarks.labels [--threads 1] [--repeats 7] [--device cpu] [--batch 4] [--size 256]

The step is forward, cross-entropy and backward of configs/mmseg/models/deeplabv3plus-r18.py and an update by AdamW, on
the same batch. All are timed in turn, so a busy machine slows all of them equally; the median of each is given. There
are ten raters, each a copy of one map shifted by a few pixels, so they disagree along boundaries as people do. The cost
of a teacher itself, one forward pass, is not included.
"""

import argparse
from collections.abc import Callable

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import Tensor

import segloss.engine  # noqa: F401
from benchmarks.metrics import interleaved
from segloss.labels import CATALOGUE

RATERS = 10
# Options that have no default.
OPTIONS = {"boundary_smoothing": dict(epsilon=0.5, kernel_size=3), "uniform_smoothing": dict(epsilon=0.1)}


def regions(batch: int, size: int, classes: int, generator: torch.Generator) -> Tensor:
    """Class maps int64 (B, H, W) of blobs, with a bar of void (255)."""
    coarse = torch.randn(batch, classes, size // 32, size // 32, generator=generator)
    maps = torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic").argmax(1)
    maps[:, : size // 16] = 255
    return maps


def moved(maps: Tensor, generator: torch.Generator) -> Tensor:
    """Ten raters' maps (B, R, H, W)."""
    moves = torch.randint(-3, 4, (RATERS, 2), generator=generator).tolist()
    return torch.stack([maps.roll(move, (-2, -1)) for move in moves], 1)


def targets(maps: Tensor, raters: Tensor, classes: int, generator: torch.Generator) -> dict[str, Callable[[], object]]:
    """A call for every scenario of the catalogue."""
    given = {
        "draws": torch.rand(len(maps), generator=generator).to(maps.device),
        "rater_weights": torch.rand(len(maps), RATERS, generator=generator).to(maps.device),
        "teacher_logits": torch.randn(len(maps), classes, *maps.shape[1:], generator=generator).to(maps.device),
    }
    calls = {}
    for name, scenario in CATALOGUE.items():
        labels = raters if scenario.source == "raters" else maps
        options = OPTIONS.get(name, {}) | {need: given[need] for need in scenario.needs}
        calls[name] = lambda scenario=scenario, labels=labels, options=options: scenario(
            labels, labels != 255, classes, **options
        )
    return calls


def training_step(images: Tensor, labels: Tensor, classes: int) -> Callable[[], None]:
    """A call that runs one training step of the model."""
    from mmseg.registry import MODELS

    init_default_scope("mmseg")
    config = Config.fromfile("configs/mmseg/models/deeplabv3plus-r18.py").model
    config.data_preprocessor = None
    for part in (config.backbone, config.decode_head, config.auxiliary_head):
        part.norm_cfg = dict(type="BN")
    config.decode_head.num_classes = config.auxiliary_head.num_classes = classes
    model = MODELS.build(config).to(images.device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def step() -> None:
        features = model.extract_feat(images)
        logits = (model.decode_head(features), model.auxiliary_head(features))
        upsampled = (torch.nn.functional.interpolate(output, labels.shape[-2:], mode="bilinear") for output in logits)
        loss = sum(torch.nn.functional.cross_entropy(output, labels, ignore_index=255) for output in upsampled)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--size", type=int, default=256)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    batch, size = arguments.batch, arguments.size
    print(f"{arguments.device}, {arguments.threads} threads, median of {arguments.repeats} interleaved rounds")
    print(f"batch {batch} x {size} x {size}; {RATERS} raters; share of a training step of DeepLabV3+ R18")
    for classes in (2, 19):
        generator = torch.Generator().manual_seed(0)
        maps = regions(batch, size, classes, generator)
        raters = moved(maps, generator).to(arguments.device)
        maps = maps.to(arguments.device)
        images = torch.rand(batch, 3, size, size, generator=generator).to(arguments.device)
        runs = {"training step": training_step(images, maps, classes), **targets(maps, raters, classes, generator)}
        seconds = interleaved(runs, arguments.repeats, arguments.device)
        step = seconds["training step"]
        print(f"\n{classes} classes")
        for name, value in seconds.items():
            print(f"{name:22s} {1e3 * value:9.1f} ms {100 * value / step:7.1f} %")


if __name__ == "__main__":
    main()
