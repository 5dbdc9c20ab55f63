"""The arguments of every verb of the command line."""

import argparse
import os
from collections.abc import Callable
from typing import Annotated, Any

from segloss.datasets import DATASETS
from segloss.grid.listing import KINDS
from segloss.options import AtLeast, AtMost, Count, NonNegative, Positive, describe, fits

Parser = argparse.ArgumentParser
Interval = Annotated[float, AtLeast(0.1), AtMost(86400)]
Workers = Annotated[int, AtLeast(0)]


def number(convert: Callable[[str], Any], annotation: Any) -> Callable[[str], Any]:
    """The ``type`` of an option: a number inside the range of an annotation."""

    def parse(text: str) -> Any:
        try:
            value = convert(text)
        except ValueError:
            value = None
        if not fits(value, annotation):
            raise argparse.ArgumentTypeError(f"expected {describe(annotation)}, got {text!r}")
        return value

    return parse


def add_grid(parser: Parser) -> None:
    """The argument of verbs that take a grid."""
    parser.add_argument("grid", help="a name in configs/grids or the path of a grid file")


def add_results(parser: Parser) -> None:
    """The option of verbs that read or write cells."""
    parser.add_argument("--results", help="folder of the cells (default: results)")


def add_data_root(parser: Parser) -> None:
    """The option of verbs that read data sets."""
    parser.add_argument("--data-root", help="folder of the data sets (default: $SEGLOSS_DATA, else data)")


def prepare_options(parser: Parser) -> None:
    """The arguments of ``segloss prepare``."""
    parser.add_argument("dataset", nargs="?", help=f"one of {', '.join(DATASETS)}")
    parser.add_argument("--list", action="store_true", help="list all data sets: ready or not, size, terms")
    parser.add_argument("--weights", metavar="GRID", help="list the pretrained weights of a grid")
    add_data_root(parser)


def new_options(parser: Parser) -> None:
    """The arguments of ``segloss new``."""
    parser.add_argument("kind", choices=("dataset",), help="dataset: describe a folder of images and labels")
    parser.add_argument("folder", help="the folder")
    parser.add_argument("--name", help="name of the data set (default: that of the folder)")


def list_options(parser: Parser) -> None:
    """The arguments of ``segloss list``."""
    parser.add_argument("kind", nargs="?", choices=tuple(KINDS), help="only names of this kind (default: all)")


def plan_options(parser: Parser) -> None:
    """The arguments of ``segloss plan``."""
    add_grid(parser)
    add_results(parser)
    add_data_root(parser)
    parser.add_argument(
        "--from-scratch", action="store_true", help="ignore the results, data and weights on this machine"
    )


def train_options(parser: Parser) -> None:
    """The arguments of ``segloss train``."""
    parser.add_argument("cell", help="<dataset>/<model>/<schedule>/<labels>/<loss>/seed<k>")
    add_results(parser)
    add_data_root(parser)
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: the GPU if there is one")
    parser.add_argument(
        "--cells-per-gpu",
        type=number(int, Count),
        default=os.environ.get("SEGLOSS_CELLS_PER_GPU", "1"),
        help="cells that may share a GPU (default: $SEGLOSS_CELLS_PER_GPU, else 1)",
    )
    parser.add_argument(
        "--processes",
        type=number(int, Count),
        help="processes that share each batch, with a GPU each if there are GPUs (default: those of the loss, else 1)",
    )
    parser.add_argument(
        "--threads", type=number(int, Count), default=1, help="CPU threads, shared by the processes (default: 1)"
    )
    parser.add_argument(
        "--precision",
        choices=("fp32", "bf16", "fp16"),
        default="fp32",
        help="precision of the training's forward and backward pass; evaluation uses fp32 (default: fp32)",
    )
    parser.add_argument("--channels-last", action="store_true", help="use the channels-last memory format")
    parser.add_argument("--compile", action="store_true", help="compile the backbone with torch.compile")
    parser.add_argument("--fused", action="store_true", help="use the optimiser's fused implementation")
    parser.add_argument(
        "--workers",
        type=number(int, Workers),
        help="data loading processes; they do not affect results (default: 0 on a CPU, 4 with a GPU)",
    )
    parser.add_argument(
        "--weights",
        choices=("keep", "drop"),
        default="keep",
        help="weights and checkpoints once the record is written (default: keep)",
    )
    parser.add_argument(
        "--checkpoint-seconds",
        type=number(float, NonNegative),
        default=30,
        help="time between two checkpoints (default: 30)",
    )


def status_options(parser: Parser) -> None:
    """The arguments of ``segloss status``."""
    add_grid(parser)
    add_results(parser)
    add_data_root(parser)
    parser.add_argument("--cells", action="store_true", help="list every cell with its state")
    parser.add_argument(
        "--watch",
        type=number(float, Interval),
        nargs="?",
        const=5.0,
        metavar="SECONDS",
        help="refresh (default: every 5 s)",
    )


def collect_options(parser: Parser) -> None:
    """The arguments of ``segloss collect``."""
    add_grid(parser)
    add_results(parser)
    add_data_root(parser)
    parser.add_argument("--output", required=True, help="results.csv to write")
    parser.add_argument("--partial", action="store_true", help="accept cells without a record, and list them")


def report_options(parser: Parser) -> None:
    """The arguments of ``segloss report``."""
    add_grid(parser)
    parser.add_argument("table", help="results.csv; the report is written next to it")
    add_results(parser)
    add_data_root(parser)


def table_options(parser: Parser) -> None:
    """The arguments of ``segloss table``."""
    add_grid(parser)
    parser.add_argument("--table", help="its results.csv (default: reports/<grid>/results.csv)")
    add_results(parser)
    parser.add_argument(
        "--rows",
        default="loss",
        help="the axis of the rows: dataset, model, schedule, labels or loss, or loss.<option> or labels.<option> for "
        "an ablation (default: loss)",
    )
    parser.add_argument("--columns", default="dataset,labels", help="axes of the columns (default: dataset,labels)")
    parser.add_argument(
        "--metrics",
        default="paper",
        help="metrics, or sets of them: paper, calibration, soft, levels, worst, classes (default: paper)",
    )
    parser.add_argument("--style", choices=("paper",), default="paper", help="the layout (default: paper)")
    parser.add_argument("--format", choices=("latex", "markdown", "csv"), default="latex", help="default: latex")
    parser.add_argument(
        "--spread",
        choices=("sd", "interval", "none"),
        default="sd",
        help="standard deviation over seeds, 95 %% interval, or none (default: sd)",
    )
    parser.add_argument(
        "--only", action="append", default=[], metavar="AXIS=NAME,...", help="keep these values of an axis; repeatable"
    )
    parser.add_argument(
        "--published",
        nargs="?",
        const="known",
        help="also print published numbers: those that come with segloss, or those in a CSV file (axes, metric, value)",
    )
    parser.add_argument(
        "--width",
        type=number(float, Positive),
        default=397,
        help="width of the text in points for LaTeX (default: 397)",
    )
    parser.add_argument("--output", help="file to write (default: the terminal)")


def findings_options(parser: Parser) -> None:
    """The arguments of ``segloss findings``."""
    add_results(parser)
    parser.add_argument("--output", help="the Markdown file to write (default: reports/README.md)")


def compare_options(parser: Parser) -> None:
    """The arguments of ``segloss compare``."""
    parser.add_argument("first", help="a results folder")
    parser.add_argument("second", help="another results folder")


def dashboard_options(parser: Parser) -> None:
    """The arguments of ``segloss dashboard``."""
    add_grid(parser)
    add_results(parser)
    parser.add_argument("--report", help="folder of the grid's report (default: reports/<grid>)")


def clean_options(parser: Parser) -> None:
    """The arguments of ``segloss clean``."""
    add_grid(parser)
    add_results(parser)
    add_data_root(parser)
    parser.add_argument("--yes", action="store_true", help="remove the files (default: show them)")


def sync_options(parser: Parser) -> None:
    """The arguments of ``segloss sync``."""
    add_results(parser)


# Adds the arguments of each verb to its parser.
ARGUMENTS = {
    "list": list_options,
    "prepare": prepare_options,
    "new": new_options,
    "plan": plan_options,
    "train": train_options,
    "status": status_options,
    "collect": collect_options,
    "report": report_options,
    "table": table_options,
    "findings": findings_options,
    "compare": compare_options,
    "clean": clean_options,
    "dashboard": dashboard_options,
    "sync": sync_options,
}
