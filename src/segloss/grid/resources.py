"""Resources that a cell requests from a scheduler, as declared in configs/mmseg; they do not affect results.

A data set, a model or a schedule may assign ``resources = {"gpus": 1, "cpus": 6, "memory_gb": 24, "minutes": 300}``, or
some of these. The largest request counts; without any, the default. Requests are for one process: a cell whose loss
prescribes several processes requests the sum of their GPUs, cores and memory.
"""

from collections.abc import Iterable

from segloss.grid.errors import ConfigError, unknown
from segloss.grid.mmengine_files import MMEngineFile

# For a training of unknown size: a GPU, cores for training and for loading images, a limit of a day.
DEFAULTS = {"gpus": 1, "cpus": 6, "memory_gb": 32, "minutes": 1440}


def resources(files: Iterable[MMEngineFile], processes: int = 1) -> dict[str, int]:
    """GPUs, CPU cores, gigabytes of main memory and minutes of a cell with these configs.

    The time is a limit, not a forecast: a cell that reaches it continues from its checkpoint.

    Raises:
        ConfigError: if a file requests something else, or a negative number.
    """
    requests: dict[str, list[int]] = {name: [] for name in DEFAULTS}
    for file in files:
        requested = file.literals.get("resources") or {}
        if not isinstance(requested, dict):
            raise ConfigError(f"{file.path}: resources: expected a dictionary, got {requested!r}")
        for key, value in requested.items():
            if key not in DEFAULTS:
                raise ConfigError(f"{file.path}: resources: {unknown('key', str(key), DEFAULTS)}")
            least = int(key != "gpus")
            if type(value) is not int or value < least:
                raise ConfigError(f"{file.path}: resources: {key}={value!r}: expected a whole number from {least}")
            requests[key].append(value)
    largest = {key: max(values, default=DEFAULTS[key]) for key, values in requests.items()}
    return {key: value * (1 if key == "minutes" else processes) for key, value in largest.items()}
