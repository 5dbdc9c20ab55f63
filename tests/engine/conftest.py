"""MMSegmentation is imported the way segloss imports it, before any test imports a part of it."""

from pathlib import Path
from typing import TYPE_CHECKING

import segloss.engine  # noqa: F401
from segloss.datasets import DATASETS, fingerprints
from tests.conftest import experiment_of

if TYPE_CHECKING:
    from mmengine.config import Config


def config_of(cell: str, folder: Path = Path("data/phantom")) -> "Config":
    """The MMEngine config of a cell whose data set is in that folder."""
    from segloss.engine.config import experiment_config

    experiment = experiment_of(cell)
    labelled = experiment.scenario.get("labelled")
    return experiment_config(
        experiment, folder, fingerprints(DATASETS[experiment.source], folder, labelled)["training"]
    )
