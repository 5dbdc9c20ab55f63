"""``python -m benchmarks.faults``: kills and faults in a small grid, compared with an undisturbed one."""

import argparse
import os
import random
import shutil
import tempfile
import time
from collections import Counter
from pathlib import Path

from benchmarks.faults import kills, place
from benchmarks.faults.damage import FAULTS
from benchmarks.faults.disks import NoDisk
from segloss.runtime import forkserver
from segloss.workflow import PRELOAD

# What is killed, by which function, and what is compared each time it ends on its own.
KINDS = {
    "a trainer, with all its processes": (kills.kill_trainers, "finished cells"),
    "collect or report": (kills.kill_reports, "finished reports"),
    "Snakemake, with all it started": (kills.kill_snakemake, "finished grids"),
}
INTRO = """\
`make faults`. After every kill and every fault the same command was started again, and no lock was removed by hand.
What came out was compared with an undisturbed grid: `results.csv`, `table.csv`, `table.tex`, `comparisons.csv` byte
by byte, `table.md` without its paragraph of hours and commit, and of every cell the counts, the predicted maps, all
metrics and the losses of its training.
"""


def campaign(
    folder: Path, counts: dict[str, int], faults: list[str], seed: int, losses: list[str], seeds: int
) -> list[str]:
    """Kill and damage, finish and compare; return the lines of the summary.

    A difference after kills raises; one after a fault is a line FAILED.
    """
    started = time.monotonic()
    undisturbed = place.make(folder / "undisturbed", losses, seeds)
    place.finish(undisturbed)
    expected = place.outcome(undisturbed)
    lines = [f"Undisturbed grid: {len(losses) * seeds} cells of 40 iterations, {time.monotonic() - started:.0f} s.", ""]
    # Only now, for the forks: Snakemake must not inherit it.
    forkserver.preload_modules(PRELOAD)
    import segloss.reports  # noqa: F401

    chance = random.Random(seed)
    grid = place.make(folder / "disturbed", losses, seeds)
    lines += ["| Killed | When it | Kills |", "|:--|:--|--:|"]
    total, compared = Counter(), []
    for what, count in counts.items():
        began = time.monotonic()
        kill, ended = KINDS[what]
        if kill is kills.kill_reports:
            for name in ("data", "results"):
                shutil.copytree(undisturbed / name, grid / name, dirs_exist_ok=True)
        phases, same = kill(grid, expected, count, chance)
        lines += [f"| {what} | was {phase} | {hits} |" for phase, hits in sorted(phases.items())]
        compared.append(f"{same} {ended}")
        total[what] = phases.total()
        print(f"{what}: {dict(phases)}, {same} compared, {time.monotonic() - began:.0f} s", flush=True)
    place.finish(grid)
    differing = place.differences(place.outcome(grid), expected)
    assert not differing, differing
    lines += [
        "",
        f"**{total.total()} kills.** Compared: {', '.join(compared)}, and the grid at the end: every number the same.",
    ]
    lines += ["", "| Fault | Seen |", "|:--|:--|"]
    outcomes = Counter()
    for name in faults:
        began = time.monotonic()
        try:
            seen = FAULTS[name](grid)
            if differing := place.differences(place.outcome(grid), expected):
                raise AssertionError(f"{differing} differ")
            outcomes["ended with the undisturbed table"] += 1
        except NoDisk as error:
            seen = f"not tried: {error}"
            outcomes["could not be tried here"] += 1
            place.finish(grid)
        except Exception as error:
            seen = f"**FAILED**: {type(error).__name__}: {' '.join(str(error).split())[-300:]}"
            outcomes["FAILED"] += 1
            shutil.rmtree(grid / "results", ignore_errors=True)
            place.finish(grid)
        lines.append(f"| {name} | {seen} |")
        print(f"{name}: {seen}, {time.monotonic() - began:.0f} s", flush=True)
    lines += ["", f"Of {len(faults)} faults {', '.join(f'{count} {how}' for how, count in outcomes.items())}."]
    return [*lines, f"{(time.monotonic() - started) / 60:.0f} minutes in all."]


def main() -> None:
    """Run the campaign and write its summary."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trainers", type=int, default=150, help="kills of single trainers (default: 150)")
    parser.add_argument("--reports", type=int, default=20, help="kills of collect and report (default: 20)")
    parser.add_argument("--snakemakes", type=int, default=40, help="kills of whole Snakemake runs (default: 40)")
    parser.add_argument("--faults", nargs="*", default=list(FAULTS), choices=list(FAULTS), help="default: all")
    parser.add_argument("--losses", nargs="+", default=list(place.LOSSES), help="of the grid (default: ce jml)")
    parser.add_argument("--seeds", type=int, default=place.SEEDS, help="of the grid (default: 2)")
    parser.add_argument("--seed", type=int, default=0, help="of the instants (default: 0)")
    parser.add_argument("--out", type=Path, help="where the summary goes (default: printed only)")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    counts = dict(zip(KINDS, (arguments.trainers, arguments.reports, arguments.snakemakes), strict=True))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        lines = campaign(Path(folder), counts, arguments.faults, arguments.seed, arguments.losses, arguments.seeds)
    text = "\n".join(["# Faults", "", INTRO, *lines]) + "\n"
    print(text)
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
