"""An estimate of a cell's GPU-hours: operations divided by an assumed throughput. Imports no torch."""

from collections.abc import Mapping

from segloss.grid import Configs, Experiment
from segloss.grid.cells import split_variant
from segloss.grid.yaml_files import read_yaml

# A training step costs a forward pass and a backward pass of twice its operations; a teacher adds one forward pass.
TRAINED, TAUGHT = 3, 1
OPERATIONS_PER_SECOND = 30e12
IMAGES_PER_SECOND = 100  # small networks are bound by memory bandwidth and data loading
ASSUMPTION = (
    f"operations of the training alone (configs/model_costs.yaml) at {OPERATIONS_PER_SECOND / 1e12:.0f} TFLOP/s "
    f"achieved on a GPU, at most {IMAGES_PER_SECOND} images/s; assumed, not measured"
)


def model_costs(configs: Configs) -> Mapping[str, float]:
    """Billions of multiply-adds of a forward pass on 512x512 pixels, by model."""
    return read_yaml(configs.folder / "model_costs.yaml")


def estimated_hours(experiment: Experiment, configs: Configs, costs: Mapping[str, float]) -> float | None:
    """Hours of a cell's training on one GPU; 0 for a cell that trains nothing, None if its model's cost is unknown."""
    if experiment.trained or experiment.control or experiment.folds:
        return 0.0
    cost = costs.get(split_variant(experiment.cell.model)[0])
    dataset, schedule = (
        configs.values(configs.mmengine_file(kind, split_variant(name)[0]))
        for kind, name in (("datasets", experiment.cell.dataset), ("schedules", experiment.cell.schedule))
    )
    crop, size = dataset.get("crop_size"), schedule.get("batch_size")
    iterations = experiment.iterations or schedule.get("iterations")
    if cost is None or not crop or not size or not iterations:
        return None
    passes = TRAINED * cost
    if experiment.teachers:
        teacher = costs.get(split_variant(experiment.teachers[0].cell.model)[0])
        if teacher is None:
            return None
        passes += TAUGHT * teacher
    if "mean_teacher" in experiment.scenario:  # as many unlabelled images, labelled by the mean teacher
        passes += (TRAINED + TAUGHT) * cost
    operations = 2e9 * passes * crop[0] * crop[1] / 512**2
    seconds = max(operations / OPERATIONS_PER_SECOND, 1 / IMAGES_PER_SECOND)
    return iterations * size * seconds / 3600
