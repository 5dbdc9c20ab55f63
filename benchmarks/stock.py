"""Our workflow compared with MMSegmentation's own train.py and test.py on the same cells, in one run.

    python -m benchmarks.stock [--seeds 3] [--rounds 2] [--camvid-rounds 5] [--out reports/perf/stock.md]

The cells: phantom, unet-tiny, hard labels, cross-entropy and Dice, each with its seeds; MMSegmentation with its own
losses, IoUMetric, and the config its users write: the same model, schedule, batch size, transforms, and evaluation at
the end. Its cells run one after another with all threads, ours as `snakemake --cores` runs them. The order is ours,
stock, ours, stock; each side's faster round counts, since other load on the machine can only slow it down. Then, taking
turns, short trainings of a CamVid cell: images/s at the same number of threads, the median over the rows of the log
after the first pass over the images (of nine in a full training). Last, what a cell of ours costs beyond its training
loop, run in a separate process with all threads.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mmengine.config import Config

from benchmarks.faults.place import BIN, copy_workflow
from segloss import records
from segloss.datasets import DATASETS, Dataset
from segloss.engine.model_config import IMAGENET
from segloss.grid import Cell

TOOLS = Path(find_spec("mmseg").origin).parent / ".mim" / "tools"
LOSSES = {"ce": "CrossEntropyLoss", "dice": "DiceLoss"}
# Iterations in which every image of CamVid is seen at least once; ours decodes and caches them in this pass.
FIRST_PASS = 50
# MMSegmentation requires compiled operators when it is imported.
LAUNCH = "import runpy, sys, segloss.engine.mmcv_stub as ops; ops.import_mmseg(); sys.argv = sys.argv[1:]; "
LAUNCH += "runpy.run_path(sys.argv[0], run_name='__main__')"

HOOKS = dict(
    timer=dict(type="IterTimerHook"),
    logger=dict(type="LoggerHook", interval=10, log_metric_by_epoch=False),
    param_scheduler=dict(type="ParamSchedulerHook"),
    checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=2000),
    sampler_seed=dict(type="DistSamplerSeedHook"),
)


def loader(source: Dataset, folder: Path, place: Path, split: str, pipeline: list, batch_size: int) -> dict:
    """A data loader of a split as in MMSegmentation's configs, with its loading transforms in our pipeline."""
    readers = {"LoadImage": "LoadImageFromFile", "LoadLabel": "LoadAnnotations"}
    pipeline = [{**step, "type": readers.get(step["type"], step["type"])} for step in pipeline]
    entries = source.read_list(folder, split)
    names = place / f"{source.name}-{split}.txt"
    names.write_text("".join(f"{Path(image).stem}\n" for image, *_ in entries))
    images, labels = (str(Path(name).parent) for name in entries[0][:2])
    train = split == "train"
    return dict(
        batch_size=batch_size,
        num_workers=0,
        sampler=dict(type="InfiniteSampler" if train else "DefaultSampler", shuffle=train),
        dataset=dict(
            type="BaseSegDataset",
            metainfo=dict(classes=source.classes, palette=source.palette),
            data_root=str(folder),
            data_prefix=dict(img_path=images, seg_map_path=labels),
            ann_file=str(names),
            img_suffix=Path(entries[0][0]).suffix,
            reduce_zero_label=False,
            ignore_index=255 if source.void is None else source.void,
            pipeline=pipeline,
        ),
    )


def stock_config(place: Path, cell: Cell, folder: Path, validate: bool = True) -> Path:
    """Write the config of a cell as a user of MMSegmentation would write it."""
    parts = [("datasets", cell.dataset), ("models", cell.model), ("schedules", cell.schedule)]
    data, model, schedule = (Config.fromfile(place / "configs/mmseg" / kind / f"{name}.py") for kind, name in parts)
    source = DATASETS[data.source]
    void = 255 if source.void is None else source.void
    preprocessor = dict(type="SegDataPreProcessor", size=data.crop_size, pad_val=0, seg_pad_val=255, **IMAGENET)
    model.model.update(data_preprocessor=preprocessor, test_cfg=dict(mode="whole"))
    model.model.decode_head.update(
        num_classes=len(source.classes), ignore_index=void, loss_decode=dict(type=LOSSES[cell.loss])
    )
    settings = dict(
        default_scope="mmseg",
        model=model.model,
        train_dataloader=loader(source, folder, place, "train", data.train_pipeline, schedule.batch_size),
        test_dataloader=loader(source, folder, place, "test", data.test_pipeline, 1),
        optim_wrapper=dict(type="OptimWrapper", optimizer=schedule.optimizer),
        param_scheduler=schedule.param_scheduler,
        train_cfg=dict(type="IterBasedTrainLoop", max_iters=schedule.iterations, val_interval=schedule.iterations),
        test_cfg=dict(type="TestLoop"),
        test_evaluator=dict(type="IoUMetric", iou_metrics=["mIoU"], ignore_index=void),
        default_hooks=HOOKS,
        env_cfg=dict(mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0), dist_cfg=dict(backend="gloo")),
        visualizer=dict(type="SegLocalVisualizer", vis_backends=[dict(type="LocalVisBackend")], name="visualizer"),
        log_processor=dict(by_epoch=False),
        randomness=dict(seed=cell.seed),
    )
    if validate:
        settings |= dict(
            val_dataloader=loader(source, folder, place, "val", data.test_pipeline, 1),
            val_cfg=dict(type="ValLoop"),
            val_evaluator=settings["test_evaluator"],
        )
    path = place / f"stock-{cell.loss}-{cell.seed}.py"
    Config(settings).dump(path)
    return path


def run(place: Path, threads: int, *command: str) -> float:
    """Run a command in a folder and return its seconds; its output is shown if it fails."""
    single = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    environment = {**os.environ, **single, "WANDB_MODE": "offline"}
    environment["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"  # without it test.py cannot load what train.py wrote
    environment["PATH"] = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    started = time.monotonic()
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{command}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return time.monotonic() - started


def stock(place: Path, threads: int, config: Path, work: Path, test: bool = True) -> float:
    """Seconds of train.py, and of test.py on its last checkpoint."""
    shutil.rmtree(work, ignore_errors=True)
    launch = (sys.executable, "-W", "ignore", "-c", LAUNCH)
    seconds = run(place, threads, *launch, str(TOOLS / "train.py"), str(config), "--work-dir", str(work))
    if test:
        checkpoint = (work / "last_checkpoint").read_text()
        arguments = (str(TOOLS / "test.py"), str(config), checkpoint, "--work-dir", str(work))
        seconds += run(place, threads, *launch, *arguments)
    return seconds


def grid_rounds(place: Path, seeds: int, cores: int, rounds: int) -> tuple[list[float], list[float]]:
    """Seconds of the whole grid: ours and stock's, round by round."""
    (place / "configs/grids/side.yaml").write_text(
        "{title: Side by side, datasets: [phantom], models: [unet-tiny], schedule: demo,"
        f" labels: [hard], losses: [{', '.join(LOSSES)}], seeds: {seeds}}}\n"
    )
    folder = DATASETS["phantom"].prepare(place / "data")
    ours, theirs = [], []
    for number in range(rounds):
        for name in ("results", "reports", ".snakemake"):
            shutil.rmtree(place / name, ignore_errors=True)
        ours.append(run(place, 1, "snakemake", "--cores", str(cores), "--config", "grid=side"))
        seconds = 0.0
        for loss in LOSSES:
            for seed in range(seeds):
                config = stock_config(place, Cell("phantom", "unet-tiny", "demo", "hard", loss, seed), folder)
                seconds += stock(place, cores, config, place / "stock")
        theirs.append(seconds)
        print(f"round {number + 1}: ours {ours[-1]:.0f} s, stock {theirs[-1]:.0f} s", flush=True)
    return ours, theirs


def train(place: Path, folder: Path, cell: Cell, threads: int, *more: str) -> tuple[float, dict[str, Any]]:
    """Train a cell of ours in a separate process; return the seconds from its start to its end, and its record."""
    shutil.rmtree(place / "results", ignore_errors=True)
    options = ("--threads", str(threads), "--device", "cpu", "--data-root", str(folder), *more)
    seconds = run(place, threads, "segloss", "train", str(cell), *options)
    return seconds, json.loads((place / "results" / str(cell) / "record.json").read_text())


def camvid_rounds(place: Path, folder: Path, rounds: int) -> dict[str, list[float]]:
    """Images/s of a CamVid cell's training with one thread, round by round, after its first pass over the images."""
    # Evaluated on fewer images, since evaluation is not measured here.
    (place / "configs/mmseg/datasets/briefly.py").write_text('_base_ = ["./camvid-cpu.py"]\ntest_split = "val"\n')
    cell = Cell("briefly", "unet-small", "short", "hard", "ce", 0)
    config = stock_config(place, cell, folder / "camvid", validate=False)

    def ours(*options: str) -> float:
        rows = train(place, folder, cell, 1, *options)[1]["training"]["rows"]
        return statistics.median(row["train/images_per_second"] for row in rows if row["iteration"] > FIRST_PASS)

    def theirs() -> float:
        stock(place, 1, config, place / "stock", test=False)
        (log,) = (place / "stock").glob("*/vis_data/scalars.json")
        steps = [json.loads(line) for line in log.read_text().splitlines()]
        return 8 / statistics.median(step["time"] for step in steps if step["step"] > FIRST_PASS)

    sides = {"segloss": ours, "train.py": theirs, "segloss --channels-last": lambda: ours("--channels-last")}
    speeds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds):
        for name, side in sides.items():
            speeds[name].append(side())
        summary = ", ".join(f"{name} {values[-1]:.1f}" for name, values in speeds.items())
        print(f"round {number + 1}: {summary} images/s", flush=True)
    return speeds


def fixed_costs(place: Path, folder: Path, cells: Sequence[Cell], threads: int) -> list[str]:
    """What each cell costs beyond its training loop, as a table in Markdown."""
    lines = ["| seconds beyond the training loop | in all | start and imports | set-up | evaluation | images |"]
    lines.append("|:--|--:|--:|--:|--:|--:|")
    for cell in cells:
        seconds, record = train(place, folder, cell, threads)
        training, evaluation = record["training"]["seconds"], record["evaluation"]["seconds"]
        start = seconds - record["seconds"]
        images = record["data"]["images"] + (record["validation"] or {"images": 0})["images"]
        parts = (seconds - training, start, record["seconds"] - training - evaluation, evaluation)
        name = f"{cell.dataset}, {cell.model}"
        lines.append(f"| {name} | {' | '.join(f'{part:.1f}' for part in parts)} | {images} |")
    return [*lines, ""]


def table(title: str, rows: dict[str, list[float]], digits: int, summary: Callable[[list[float]], float]) -> list[str]:
    """A Markdown table of rounds, their summary last."""
    count = len(next(iter(rows.values())))
    lines = [f"| {title} | {' | '.join(f'round {n + 1}' for n in range(count))} | {summary.__name__} |"]
    lines.append("|:--|" + "--:|" * (count + 1))
    for name, values in rows.items():
        lines.append(f"| {name} | {' | '.join(f'{value:.{digits}f}' for value in [*values, summary(values)])} |")
    return [*lines, ""]


def main() -> None:
    """Measure, and print or write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="of each loss, as in the demo (default: 3)")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--camvid-rounds", type=int, default=5)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--camvid", type=Path, help="folder that holds camvid/ (default: $SEGLOSS_DATA, else data/)")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    data = arguments.camvid or Path(os.environ.get("SEGLOSS_DATA", "data"))
    machine, versions = records.machine(), records.versions()
    lines = ["# Beside MMSegmentation's own tools", "", *__doc__.split("\n\n")[2].strip().splitlines(), ""]
    lines += [
        f"{machine['platform']}, {arguments.cores} of {machine['cores']} cores, no GPU,"
        f" torch {versions['torch']}, mmsegmentation {versions['mmsegmentation']}.",
        "",
    ]
    with TemporaryDirectory() as folder:
        place = Path(folder)
        copy_workflow(place)
        if arguments.rounds:
            ours, theirs = grid_rounds(place, arguments.seeds, arguments.cores, arguments.rounds)
            rows = {"segloss: train, evaluate, report": ours, "train.py and test.py": theirs}
            lines += table(f"seconds for {len(LOSSES) * arguments.seeds} cells", rows, 0, min)
            lines += [f"**{min(theirs) / min(ours):.2f} x** as fast.", ""]
        chosen = [Cell("phantom", "unet-tiny", "demo", "hard", "ce", 0)]
        if (data / "camvid").is_dir():
            schedule = (place / "configs/mmseg/schedules/camvid-cpu.py").read_text()
            short = schedule.replace("iterations = 400", "iterations = 110")
            (place / "configs/mmseg/schedules/short.py").write_text(short)
            if arguments.camvid_rounds:
                speeds = camvid_rounds(place, data, arguments.camvid_rounds)
                lines += table("images/s, CamVid at 96x128, unet-small, CE, one thread", speeds, 1, statistics.median)
                ratios = [our / their for our, their in zip(speeds["segloss"], speeds["train.py"], strict=True)]
                low, middle, high = statistics.quantiles(ratios, n=4)
                lines += [
                    f"**{middle:.2f} x** as fast (median of the rounds' ratios, quartiles {low:.2f} to {high:.2f}).",
                    "",
                ]
            chosen.append(Cell("camvid-cpu", "unet-small", "short", "hard", "ce", 0))
        lines += fixed_costs(place, data, chosen, arguments.cores)
    text = "\n".join(lines) + "\n"
    print(text)
    if arguments.out:
        arguments.out.write_text(text)


if __name__ == "__main__":
    main()
