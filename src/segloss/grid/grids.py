"""Grid files: the product of their axes as experiments, and the cells that are skipped, with the reason."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from segloss.grid.cells import LONGEST, Cell, is_name
from segloss.grid.configs import SCHEMAS, Configs, model_name
from segloss.grid.controls import CONTROLS, control_cell
from segloss.grid.errors import ConfigError, unknown, validate
from segloss.grid.experiments import Experiment
from segloss.grid.resolution import folds_variant, resolve
from segloss.grid.weights import NONE
from segloss.grid.yaml_files import read_yaml


@dataclass(frozen=True)
class Grid:
    """The experiments of a grid file in its order, and the cells that are skipped.

    Attributes:
        name: Its name, and that of its reports' folder.
        title: Its title in reports.
        experiments: Those that can be trained.
        skipped: Cells that are not applicable, with the reason.
        titles: Titles of ``losses`` and ``labels``.
        argument: The name or path by which it was requested.
        controls: The controls of its data sets, if it has any.
    """

    name: str
    title: str
    experiments: tuple[Experiment, ...]
    skipped: Mapping[Cell, str]
    titles: Mapping[str, Mapping[str, str]]
    argument: str
    controls: tuple[Experiment, ...] = ()

    @property
    def evaluated(self) -> tuple[Experiment, ...]:
        """The experiments and the controls: everything that leaves a record."""
        return (*self.experiments, *self.controls)

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The cells of the experiments."""
        return tuple(experiment.cell for experiment in self.experiments)


def grid_file(name: str, configs: Configs) -> Path:
    """The file of a grid given by its name in configs/grids or by the path of a .yaml file."""
    if name.endswith((".yaml", ".yml")):
        if len(Path(name).name) > LONGEST or not Path(name).is_file():
            raise ConfigError(f"no grid file {name}")
        if not is_name(Path(name).stem):  # it becomes the name of the reports' folder
            raise ConfigError(
                f"{name}: a grid file's name must consist of letters, digits and ._+- and begin with a letter or digit"
            )
        return Path(name)
    file = configs.folder / "grids" / f"{name}.yaml"
    if not is_name(name) or not file.is_file():
        raise unknown("grid", name, configs.names("grids"))
    return file


def model_variants(entry: str, pretrained: str | list[str]) -> list[str]:
    """The names of a model in cells, one for each of the pretrained weights; no suffix stands for none."""
    variants = [pretrained] if isinstance(pretrained, str) else pretrained
    name = model_name(entry)
    return [name if variant == NONE or "@" in name else f"{name}@{variant}" for variant in variants]


def dataset_suffix(content: Mapping[str, Any]) -> str:
    """The suffix of data sets in cells: the folds that are pooled; nothing without folds."""
    return f"@{folds_variant(sorted(map(int, content['folds'])))}" if "folds" in content else ""


def read_grid(file: Path) -> dict[str, Any]:
    """The content of a grid file, checked against its schema.

    Raises:
        ConfigError: if it cannot be read or violates the schema.
    """
    content = read_yaml(file)
    validate(content, SCHEMAS / "grid.schema.json", str(file))
    return content


def load_grid(name: str, configs: Configs) -> Grid:
    """Read and check a grid file and everything its names refer to.

    Raises:
        ConfigError: one sentence with what is wrong and what is possible.
    """
    file = grid_file(name, configs)
    content = read_grid(file)
    models = [name for entry in content["models"] for name in model_variants(entry, content.get("pretrained", NONE))]
    datasets = [f"{name}{dataset_suffix(content)}" for name in content["datasets"]]
    datasets += [f"{other}@{name}" for other in content.get("evaluate_on", ()) for name in content["datasets"]]
    schedule = content["schedule"] + (f"@{int(content['iterations'])}" if "iterations" in content else "")
    # JSON Schema accepts YAML's 3.0 as an integer.
    seeds = list(map(int, content["seeds"])) if isinstance(content["seeds"], list) else range(int(content["seeds"]))
    losses = configs.losses if content["losses"] == "all" else content["losses"]
    experiments, skipped = [], {}
    for point in product(datasets, models, [schedule], content["labels"], losses, seeds):
        try:
            experiment = resolve(Cell(*point), configs)
        except ConfigError as error:
            raise ConfigError(f"{file}: {error}") from error
        if experiment.not_applicable:
            skipped[experiment.cell] = experiment.not_applicable
        else:
            experiments.append(experiment)
    if not experiments:
        raise ConfigError(f"{file}: no cell is left: {'; '.join(sorted(set(skipped.values())))}")
    titles, controls = configs.titles, []
    if content.get("controls"):
        titles = titles | {"losses": titles["losses"] | CONTROLS}
        controls = [resolve(control_cell(name, control), configs) for name in datasets for control in CONTROLS]
    # The posterior is known for few data sets: its absence on the others is not a gap in their tables.
    controls = tuple(control for control in controls if not control.not_applicable)
    return Grid(file.stem, content["title"], tuple(experiments), skipped, titles, name, controls)
