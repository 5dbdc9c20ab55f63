"""The data of experiments: where they are, and their fingerprints. Imports no torch."""

from collections.abc import Iterable
from pathlib import Path

from segloss.datasets import DatasetError, find, fingerprints, locate
from segloss.grid.experiments import Experiment, settings_hash

Fingerprints = dict[str, str]


def sources(experiment: Experiment) -> tuple[str, ...]:
    """The data sets that an experiment reads: its own, its folds', and the one on which the weights were trained."""
    if experiment.folds:
        return tuple(source for fold in experiment.folds for source in sources(fold))
    return (experiment.source, experiment.trained.source) if experiment.trained else (experiment.source,)


def experiment_fingerprints(experiment: Experiment, data_root: Path) -> Fingerprints:
    """SHA-256 of the labels an experiment is trained on (``training``) and evaluated on (``evaluation``).

    Raises:
        DatasetError: if a data set is not on this machine, or a list is missing.
    """
    if experiment.folds:
        folds = [experiment_fingerprints(fold, data_root) for fold in experiment.folds]
        return {kind: settings_hash([fold[kind] for fold in folds]) for kind in ("training", "evaluation")}
    training = experiment.trained or experiment
    prints = {
        source: fingerprints(find(source), locate(source, data_root), training.scenario.get("labelled"))
        for source in sources(experiment)
    }
    return {"training": prints[training.source]["training"], "evaluation": prints[experiment.source]["evaluation"]}


def known_fingerprints(experiments: Iterable[Experiment], data_root: Path) -> dict[tuple[str, ...], Fingerprints]:
    """The fingerprints of experiments' data, by ``Experiment.data_key``; data missing on this machine is left out."""
    known: dict[tuple[str, ...], Fingerprints] = {}
    missing = set()
    for experiment in experiments:
        key = experiment.data_key
        if key in known or key in missing:
            continue
        try:
            known[key] = experiment_fingerprints(experiment, data_root)
        except (DatasetError, OSError):
            missing.add(key)
    return known
