"""The files of configs/, read and checked once, down to the options of every loss. Imports no torch."""

import difflib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from segloss.datasets import DATASETS, DatasetError, add_described, find, training_config
from segloss.files import write_text
from segloss.grid.cells import is_name
from segloss.grid.controls import CONTROLS
from segloss.grid.errors import ConfigError, unknown, validate
from segloss.grid.mmengine_files import ZOO_PREFIX, MMEngineFile, read_mmengine_file, zoo
from segloss.grid.mmengine_names import check_dataset, check_model, check_schedule
from segloss.grid.mmengine_values import config_values
from segloss.grid.options import check_options, signatures
from segloss.grid.yaml_files import read_yaml

SCHEMAS = Path(__file__).with_name("schemas")
# Keys of a line of labels.yaml besides its title, its target and the target's options.
TRAINING_KEYS = ("teacher", "labelled", "mean_teacher")
# Keys of a line of losses.yaml besides its loss or terms.
LINE_KEYS = ("title", "auxiliary_share", "exchange", "processes")
CHECKPOINTS = ("last", "best")  # which weights of a training are evaluated


def loss_terms(line: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A line of losses.yaml as terms ``{loss, weight, options...}``; a single loss is one term of weight 1."""
    exchange = {"exchange": line["exchange"]} if "exchange" in line else {}
    if "terms" in line:
        return [term | exchange for term in line["terms"]]
    return [{"weight": 1.0} | {key: value for key, value in line.items() if key not in LINE_KEYS} | exchange]


def check_ramp(term: Mapping[str, Any], weights: set[str], where: str) -> None:
    """Check that a term's ``ramp`` names numbers of the term that may be 0, and that each begins before it ends.

    Args:
        term: A term as `loss_terms` returns it.
        weights: ``{"weight"}`` if the term's weight may be ramped too.
        where: The beginning of the error message.

    Raises:
        ConfigError: if a ramp does not.
    """
    numbers = {name for name, value in term.items() if type(value) in (int, float)} - {"weight"} | weights
    for name, (start, end) in term.get("ramp", {}).items():
        if name not in numbers:
            raise ConfigError(f"{where}: {unknown('number', name, numbers)}")
        if start >= end:
            raise ConfigError(f"{where}: {name} must begin before it ends, got [{start}, {end}]")
        if name != "weight":
            check_options("losses", term["loss"], {name: 0.0}, where)


def pair_side(side: str) -> tuple[str, str, str]:
    """Schedule, label scenario and loss of a side of a claim's pair; each may be ``*``."""
    schedule, labels, loss = side.split("/") if side.count("/") == 2 else ("*", *side.split("/"))
    return schedule, labels, loss


def model_name(entry: str) -> str:
    """The name of a model in a grid, ``mmseg::<folder>/<config>`` included, as a single path component."""
    return Path(entry.removeprefix(ZOO_PREFIX)).name.removesuffix(".py") if entry.startswith(ZOO_PREFIX) else entry


class Configs:
    """The configs of one checkout. Everything is read once, on first use.

    Args:
        root: The checkout, the folder that contains ``configs``.

    Raises:
        ConfigError: if there is no such folder.
    """

    def __init__(self, root: Path = Path()) -> None:
        self.root, self.folder = Path(root), Path(root) / "configs"
        if not self.folder.is_dir():
            raise ConfigError(
                f"no configs/ in {self.root.absolute()}: run this in a checkout of segloss or name it with --root"
            )
        self._files: dict[tuple[str, str], MMEngineFile] = {}
        self._values: dict[Path, Mapping[str, Any]] = {}
        self._checked: set[Any] = set()
        self.reasons: dict[Any, Any] = {}  # why a model cannot be trained, by what this depends on
        self.experiments: dict[Any, Any] = {}  # resolved cells, by cell
        self.first_seeds: dict[Any, Any] = {}  # the first of those that differ in their seed alone, by their axes

    @cached_property
    def losses(self) -> dict[str, dict[str, Any]]:
        """The lines of losses.yaml."""
        path = self.folder / "losses.yaml"
        lines = read_yaml(path)
        validate(lines, SCHEMAS / "losses.schema.json", str(path))
        for name, line in lines.items():
            if name in CONTROLS:
                raise ConfigError(f"{path}: {name} is the name of a control: choose another")
            if "terms" in line and (extra := set(line) - {*LINE_KEYS, "terms"}):
                raise ConfigError(f"{path}: {name}: {unknown('key', min(extra), (*LINE_KEYS, 'terms'))}")
            if "auxiliary_share" in line and all(term["loss"] != "cross_entropy" for term in loss_terms(line)):
                raise ConfigError(
                    f"{path}: {name}: auxiliary_share applies to the cross-entropy, and the loss has none"
                )
            if line.get("exchange") is False and "processes" not in line:
                raise ConfigError(
                    f"{path}: {name}: exchange: false needs the number of processes, for example processes: 2"
                )
            for term in loss_terms(line):
                apart = {"loss", "weight", "exchange", "ramp", *(("defer",) if "loss" in line else ())}
                settings = {key: value for key, value in term.items() if key not in apart}
                check_options("losses", term["loss"], settings, f"{path}: {name}")
                for option in term.get("defer", {}):
                    if option not in settings:
                        kind = f"option of {term['loss']} to defer"
                        raise ConfigError(f"{path}: {name}: {unknown(kind, option, settings)}")
                check_ramp(term, {"weight"} if "terms" in line else set(), f"{path}: {name}: ramp")
        return lines

    @cached_property
    def labels(self) -> dict[str, dict[str, Any]]:
        """The lines of labels.yaml."""
        path = self.folder / "labels.yaml"
        lines = read_yaml(path)
        validate(lines, SCHEMAS / "labels.schema.json", str(path))
        lines = {name: line for name, line in lines.items() if not name.startswith(".")}  # shared parts, merged by <<
        for name, line in lines.items():
            settings = {key: value for key, value in line.items() if key not in ("title", "target", *TRAINING_KEYS)}
            check_options("labels", line["target"], settings, f"{path}: {name}")
            self._check_teacher(line, lines, f"{path}: {name}")
        return lines

    def _check_teacher(self, line: Mapping[str, Any], lines: Mapping[str, Mapping[str, Any]], where: str) -> None:
        has_teacher = "teacher" in line
        needs_teacher = "teacher_logits" in signatures("labels")[line["target"]].get("needs", ())
        if has_teacher != needs_teacher:
            raise ConfigError(
                f"{where}: the target {line['target']} {'needs a' if needs_teacher else 'has no'} teacher"
            )
        if not has_teacher:
            return
        teacher = line["teacher"]
        if teacher["labels"] not in lines:
            raise ConfigError(f"{where}: teacher: {unknown('label scenario', teacher['labels'], lines)}")
        if "teacher" in lines[teacher["labels"]]:
            raise ConfigError(f"{where}: teacher: its label scenario {teacher['labels']} would need a teacher itself")
        if teacher["loss"] not in self.losses:
            raise ConfigError(f"{where}: teacher: {unknown('loss', teacher['loss'], self.losses)}")

    @cached_property
    def titles(self) -> dict[str, dict[str, str]]:
        """The titles of losses and label scenarios in reports."""
        lines = {"losses": self.losses, "labels": self.labels}
        return {axis: {name: line["title"] for name, line in entries.items()} for axis, entries in lines.items()}

    @cached_property
    def claims(self) -> dict[str, dict[str, Any]]:
        """The entries of claims.yaml."""
        path = self.folder / "claims.yaml"
        claims = read_yaml(path)
        validate(claims, SCHEMAS / "claims.schema.json", str(path))
        known = {"schedule": self.names("schedules"), "label scenario": self.labels, "loss": self.losses}
        for name, claim in claims.items():
            for side in (pair_side(side) for pair in claim.get("pairs", ()) for side in pair):
                for (kind, names), given in zip(known.items(), side, strict=True):
                    if given != "*" and given not in names:
                        raise ConfigError(f"{path}: {name}: pairs: {unknown(kind, given, names)}")
        return claims

    def names(self, kind: str) -> list[str]:
        """The names of configs of a kind: ``grids``, ``datasets``, ``models`` or ``schedules``."""
        files = [*self.folder.glob(f"mmseg/{kind}/*.py"), *self.folder.glob(f"{kind}/*.yaml")]
        return sorted({file.stem for file in files if file.is_file()})

    @cached_property
    def zoo(self) -> dict[str, Path]:
        """MMSegmentation's model zoo: the name of each config and its file."""
        return zoo()

    def mmengine_file(self, kind: str, name: str) -> MMEngineFile:
        """The MMEngine config of a data set, model or schedule.

        Args:
            kind: ``datasets``, ``models`` or ``schedules``.
            name: A file of configs/mmseg/<kind>, or for models one of MMSegmentation's zoo.

        Raises:
            ConfigError: if there is no such config, or it cannot be read.
        """
        if (kind, name) not in self._files:
            self._files[kind, name] = read_mmengine_file(self._mmengine_path(kind, name))
        return self._files[kind, name]

    def values(self, file: MMEngineFile) -> Mapping[str, Any]:
        """The variables of an MMEngine config and its bases that can be evaluated (``mmengine_values``)."""
        if file.path not in self._values:
            self._values[file.path] = config_values(file.path)
        return self._values[file.path]

    def _mmengine_path(self, kind: str, name: str) -> Path:
        folder = self.folder / "mmseg" / kind
        if is_name(name) and (folder / f"{name}.py").is_file():
            return folder / f"{name}.py"
        if kind == "datasets" and is_name(name) and (self.folder / kind / f"{name}.yaml").is_file():
            return self._described_dataset(name)
        if kind != "models":
            raise unknown(kind.rstrip("s").replace("dataset", "data set"), name, self.names(kind))
        if name in self.zoo:
            return self.zoo[name]
        raise self._unknown_model(name, self.names("models"))

    def _unknown_model(self, name: str, known: list[str]) -> ConfigError:
        near = difflib.get_close_matches(name, self.zoo, n=3)
        zoo = f"; nearest in MMSegmentation's zoo: {', '.join(f'mmseg::{entry}' for entry in near)}" if near else ""
        return unknown("model", name, known, f" or a config of MMSegmentation's zoo as mmseg::<name>{zoo}")

    def _described_dataset(self, name: str) -> Path:
        """The config of a data set that configs/datasets/<name>.yaml describes, written below data/."""
        file, path = self.folder / "datasets" / f"{name}.yaml", self.root / "data" / ".described" / f"{name}.py"
        try:
            add_described(file)
            text = training_config(file)
        except DatasetError as error:
            raise ConfigError(str(error)) from None
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            write_text(path, text)
        return path

    def source(self, dataset: str) -> str:
        """The data on disk (a name of segloss.datasets) that a data set of configs/mmseg/datasets reads."""
        file = self.mmengine_file("datasets", dataset)
        source = file.literals.get("source")
        if not isinstance(source, str) or source not in DATASETS:
            raise ConfigError(f"{file.path}: {unknown('source', str(source), DATASETS)}")
        return source

    def check_files(self, dataset: str, model: str, schedule: str, iterations: int | None = None) -> None:
        """Raise ConfigError unless three configs assign all required variables, with values in range.

        Args:
            dataset: The name of a data set's config.
            model: The name of a model's config.
            schedule: The name of a schedule's config.
            iterations: The number of iterations that replaces the schedule's own. Default: its own.
        """
        data, network, training = (
            self.mmengine_file(kind, name)
            for kind, name in (("datasets", dataset), ("models", model), ("schedules", schedule))
        )
        if data.path not in self._checked:
            check_dataset(data, self.values(data), find(self.source(dataset)))
        if network.path not in self._checked:
            check_model(network, self.values(network))
        if training.path not in self._checked:
            check_schedule(training, self.values(training))
        if iterations is not None and (training.path, iterations) not in self._checked:
            check_schedule(training, config_values(training.path, {"iterations": iterations}))
        self._checked |= {data.path, network.path, training.path, (training.path, iterations)}

    def check_validation(self, dataset: str, schedule: str, source: str) -> None:
        """Raise ConfigError unless the data set declares its validation and the schedule the weights to evaluate."""
        data, file = self.mmengine_file("datasets", dataset), self.mmengine_file("schedules", schedule)
        split, reason = data.literals.get("val_split"), data.literals.get("no_validation")
        if (split is None) == (reason is None):
            raise ConfigError(f"{data.path} must assign either val_split or, in a sentence, why there is no_validation")
        if split is not None and split not in find(source).splits:  # a fold without the validation list of its data set
            split, reason = None, f"{source} has no list {split!r}"
        choice, interval = file.literals.get("checkpoint") or "last", file.literals.get("validation_interval")
        if choice not in CHECKPOINTS:
            raise ConfigError(f"{file.path}: {unknown('checkpoint', str(choice), CHECKPOINTS)}")
        if (choice == "best") != (type(interval) is int and interval > 0):
            raise ConfigError(
                f'{file.path}: checkpoint = "best" and validation_interval, a whole number from 1, require each other; '
                f"got {choice!r} and {interval!r}"
            )
        if choice == "best" and split is None:
            raise ConfigError(f'{file.path}: checkpoint = "best" needs validation images; {dataset} has none: {reason}')
