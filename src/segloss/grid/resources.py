"""What a cell needs of a machine, as the files in configs/mmseg declare it: for schedulers, never for the result.

A data set, a model or a schedule may say ``needs = {"gpus": 1, "cpus": 6, "memory_gb": 24, "minutes": 300}``, or a part
of it. Where several say something the largest counts, where none does the default. Imports no torch.
"""

import functools

from segloss.grid.configs import ConfigError, declared, mmengine_file, unknown

# Of a training of which nothing is known: a GPU, cores for the training and for loading images, a limit of a day.
DEFAULTS = {"gpus": 1, "cpus": 6, "memory_gb": 32, "minutes": 1440}


@functools.cache
def needs_of(dataset: str, model: str, schedule: str) -> dict[str, int]:
    """GPUs, CPU cores, gigabytes of main memory, and minutes of a cell on that data set with that model and schedule.

    The time is a limit, not a forecast: a cell that hits it goes on where it stopped.

    Raises:
        ConfigError: if a file declares something else, or less than nothing.
    """
    found: dict[str, list[int]] = {name: [] for name in DEFAULTS}
    for kind, name in (("datasets", dataset), ("models", model), ("schedules", schedule)):
        file = mmengine_file(kind, name)
        for key, value in (declared(file, "needs") or {}).items():
            if key not in DEFAULTS:
                raise ConfigError(f"{file}: needs: {unknown('key', key, DEFAULTS)}")
            if not isinstance(value, int) or value < (key != "gpus"):
                raise ConfigError(f"{file}: needs: {key}={value!r}: expected a whole number from {int(key != 'gpus')}")
            found[key].append(value)
    return {key: max(values, default=DEFAULTS[key]) for key, values in found.items()}
