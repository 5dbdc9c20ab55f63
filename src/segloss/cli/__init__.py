"""The command line: ``segloss <verb>``. Its verbs are functions of the modules planning, training and results."""

import argparse
import os
import shlex
import sys
from collections.abc import Sequence

from segloss import __version__
from segloss.cli import planning, results
from segloss.cli.arguments import ARGUMENTS
from segloss.cli.paths import enter_root
from segloss.cli.training import train
from segloss.datasets import DatasetError
from segloss.grid import ConfigError
from segloss.records import RecordError
from segloss.runtime import forkserver
from segloss.runtime.leases import LeaseError

VERBS = {
    "list": planning.list_names,
    "prepare": planning.prepare,
    "new": planning.new,
    "plan": planning.plan,
    "train": train,
    "status": results.status,
    "collect": results.collect,
    "report": results.report,
    "table": results.table,
    "findings": results.findings,
    "compare": results.compare,
    "clean": results.clean,
    "dashboard": results.dashboard,
    "sync": results.sync,
}


def build_parser() -> argparse.ArgumentParser:
    """The parser of all verbs."""
    parser = argparse.ArgumentParser(prog="segloss", description="Train, evaluate and tabulate segmentation losses.")
    parser.add_argument("--version", action="version", version=f"segloss {__version__}")
    verbs = parser.add_subparsers(required=True, metavar="verb")
    for name, function in VERBS.items():
        verb = verbs.add_parser(name, help=function.__doc__, description=function.__doc__)
        verb.set_defaults(run=function)
        verb.add_argument("--root", help="a checkout of segloss (default: the one around the working directory)")
        ARGUMENTS[name](verb)
    return parser


def command_line() -> Sequence[str]:
    """The typed arguments; those of SEGLOSS_TRAIN come right after ``train``, so that typed ones override them."""
    words, options = sys.argv[1:], os.environ.get("SEGLOSS_TRAIN", "")
    if words[:1] == ["train"]:
        try:
            words[1:1] = shlex.split(options)
        except ValueError as error:
            raise ConfigError(f"SEGLOSS_TRAIN={options!r} is not a list of options: {error}") from None
    return words


def main() -> None:
    """Run a verb; errors that a user can fix end in one sentence."""
    # Read when torch is imported: waiting OpenMP threads then sleep instead of spinning; the machine may be shared.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        arguments = build_parser().parse_args(command_line())
        if arguments.run is train:
            forkserver.run_in_server(sys.argv[1:])
        enter_root(arguments)
        arguments.run(arguments)
    except (ConfigError, DatasetError, LeaseError, RecordError) as error:
        sys.exit(f"segloss: {error}")
    except BrokenPipeError:  # the reader of a pipe, such as head, has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:  # from the file system: no permission, no space, a file where a folder is expected
        if error.errno is None:
            raise
        sys.exit(f"segloss: {f'{error.filename}: ' if error.filename else ''}{error.strerror}")
