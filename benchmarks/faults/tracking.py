"""``python -m benchmarks.faults.tracking``: what a W&B server that hangs, fails, drops or refuses costs a grid's cells.

Rounds of one cell with each kind of server, in forks of this process: the imports, which no server delays, would only
make a difference look smaller. Time in which other programs had the processor is left out.
"""

import argparse
import os
import shutil
import statistics
import tempfile
from pathlib import Path

from benchmarks.faults import place
from benchmarks.faults.kills import fork
from tests.wandb_server import serving

KINDS = ("offline", "well", "hang", "fail", "drop", "drop amid", "hang amid", "refuse")


def seconds(folder: Path, kind: str) -> float:
    """The life of one cell's training and evaluation beside that kind of server."""
    results = folder / "results"
    shutil.rmtree(results, ignore_errors=True)
    cell = place.cells(folder)[0]
    with serving() as server:
        server.fault = kind.split()[0] if kind.split()[0] in ("hang", "fail", "drop") else None
        server.faults_after = 4 if "amid" in kind else 0
        url = "http://127.0.0.1:9" if kind == "refuse" else server.url
        mode = "offline" if kind == "offline" else "online"
        process = fork(
            folder, folder / "log", ["train", cell], WANDB_MODE=mode, WANDB_BASE_URL=url, WANDB_API_KEY="0" * 40
        )
        _, status = os.waitpid(process, 0)
        log = (folder / "log").read_text()
        assert status == 0, log[-2000:]
    return float(log.rsplit("lived for ", 1)[1])


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="default: 9")
    parser.add_argument("--out", type=Path, help="where the table goes (default: printed only)")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as temporary:
        folder = place.make(Path(temporary) / "place", ("ce",), 1)
        place.run([str(place.BIN / "segloss"), "prepare", "phantom"], folder)
        import wandb  # noqa: F401

        import segloss.engine.cell  # noqa: F401

        seconds(folder, "well")
        taken = {kind: [] for kind in KINDS}
        for number in range(arguments.rounds):
            for kind in KINDS[number % len(KINDS) :] + KINDS[: number % len(KINDS)]:
                taken[kind].append(seconds(folder, kind))
    lines = [
        "# What a W&B server at fault costs a cell",
        "",
        f"`python -m benchmarks.faults.tracking --rounds {arguments.rounds}`; one cell, without its imports",
        "and without the time in which other programs had the processor.",
        "",
        "| W&B server | Seconds of a cell, median | Ratio to a well server in the same round, median (quartiles) |",
        "|:--|--:|--:|",
    ]
    for kind, values in taken.items():
        ratios = [value / well for value, well in zip(values, taken["well"], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        lines.append(f"| {kind} | {statistics.median(values):.2f} | {middle:.3f} ({low:.3f} to {high:.3f}) |")
    text = "\n".join(lines) + "\n"
    print(text)
    if arguments.out:
        arguments.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
