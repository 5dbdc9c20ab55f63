"""Options checked while planning, compared with the signatures and the behaviour of the installed packages."""

import inspect
import random
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import pytest
import torch
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from mmengine.registry import OPTIMIZERS, PARAM_SCHEDULERS
from torch import nn

from segloss.engine.evaluation import CALIBRATORS
from segloss.grid import ConfigError, library_options, protocol, schedules
from segloss.metrics import Boundaries


def test_signatures_are_those_of_the_installed_packages() -> None:
    """Every optimiser and scheduler of the registries: the same options, the same of them required."""
    for registry, known, given in (
        (OPTIMIZERS, library_options.optimisers(), {"params"}),
        (PARAM_SCHEDULERS, library_options.schedulers(), {"optimizer"}),
    ):
        registered = {name for name in registry.module_dict if name not in library_options.UNUSABLE}
        registered -= {"ZeroRedundancyOptimizer", "PolyLRRatio"}
        assert known.keys() == registered
        for name, signature in known.items():
            kind = registry.get(name)
            if registry is PARAM_SCHEDULERS and not name.endswith("ParamScheduler"):  # MMEngine's own have ``**kwargs``
                kind, given = kind.__mro__[2], {"optimizer", "param_name"}
            parameters = list(inspect.signature(kind).parameters.values())
            parameters = [entry for entry in parameters if entry.name not in given]
            assert set(signature.options) == {entry.name for entry in parameters}, name
            assert signature.required == {entry.name for entry in parameters if entry.default is entry.empty}, name
            given = given - {"param_name"}
    for kind, signature in library_options.clippings().items():
        parameters = inspect.signature(getattr(torch.nn.utils, f"clip_grad_{kind}_")).parameters
        assert ["parameters", *signature.options] == list(parameters)


def test_every_option_of_the_installed_packages_has_a_type() -> None:
    for known in (library_options.optimisers(), library_options.schedulers(), library_options.clippings()):
        for name, signature in known.items():
            assert object not in signature.options.values(), (name, signature.options)


def test_keys_of_paramwise_cfg_are_those_in_its_documentation() -> None:
    documented = DefaultOptimWrapperConstructor.__doc__
    assert {
        "custom_keys",
        "bias_lr_mult",
        "norm_decay_mult",
        "flat_decay_mult",
    } < library_options.paramwise_options().keys()
    for name in library_options.paramwise_options():
        assert f"- ``{name}``" in documented


def test_boundaries_and_calibrators_are_those_that_are_measured() -> None:
    assert tuple(protocol.BOUNDARIES) == tuple(field.name for field in fields(Boundaries))
    assert tuple(CALIBRATORS) == protocol.CALIBRATORS
    for name in protocol.BOUNDARIES:
        for value in (-0.1, 0, 0.5, 1, 5.0, None):
            try:
                Boundaries(**{name: value})
            except ValueError:
                with pytest.raises(ConfigError):
                    protocol.check_test_cfg({"boundaries": {name: value}}, 2, "here")
            else:
                protocol.check_test_cfg({"boundaries": {name: value}}, 2, "here")


VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    -1,
    0,
    1,
    3,
    0.5,
    2.5,
    -0.5,
    "",
    "x",
    "cos",
    "norm",
    [],
    {},
    [1, 2],
    [0.5],
)
VALUES += ((0.9, 0.99), (0.5, 1.2), (None, 1e-3), 10**30, float("nan"), float("inf"))
# Options whose wrong values the packages accept: a step of these would be too large, or they are of no use here.
ACCEPTED_TOO_LATE = {"etas", "capturable", "differentiable"}


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2))


def one_step(optimizer: Mapping[str, Any], scheduler: Mapping[str, Any] | None = None) -> None:
    network = model()
    kind = OPTIMIZERS.get(optimizer["type"])
    built = kind(network.parameters(), **{key: value for key, value in optimizer.items() if key != "type"})
    if scheduler:
        PARAM_SCHEDULERS.build(dict(scheduler), default_args={"optimizer": OptimWrapper(built)})
    network(torch.ones(2, 2, 3, 3)).sum().backward()
    built.step()


def test_the_packages_take_the_options_that_are_planned() -> None:
    """One step with every usable optimiser and scheduler, and with every value that the check accepts."""
    draw, accepted, refused = random.Random(1), 0, 0
    required = {"step_size": 3, "milestones": [2], "gamma": 0.5, "periods": [5], "param_name": "lr", "eta_min": 0.0}
    for name, signature in library_options.optimisers().items():
        one_step({"type": name, "lr": 0.1})
        for option in signature.options.keys() - ACCEPTED_TOO_LATE:
            for value in draw.sample(VALUES, 12):
                entry = {"type": name, "lr": 0.1, option: value}
                try:
                    schedules.check_optimizer(entry, "here")
                except ConfigError:
                    refused += 1
                else:
                    one_step(entry)
                    accepted += 1
    for name, signature in library_options.schedulers().items():
        needed = {key: required[key] for key in (*signature.required, *(("eta_min",) if "Restart" in name else ()))}
        optimizer = {"type": "SGD", "lr": 0.1, "momentum": 0.5}
        base = {"type": name, "by_epoch": False, **needed}
        for option in signature.options.keys() - {"last_step", "param_name"}:
            for value in draw.sample(VALUES, 12):
                entry = base | {option: value}
                try:
                    schedules.check_scheduler(entry, "here")
                except ConfigError:
                    refused += 1
                else:
                    one_step(optimizer, entry)
                    accepted += 1
    assert accepted > 200
    assert refused > 1000


def test_a_scheduler_that_counts_epochs_would_never_step() -> None:
    """In MMEngine's iteration-based loop: the reason why ``by_epoch`` must be False."""
    from mmengine.hooks import ParamSchedulerHook
    from mmengine.optim import PolyLR

    for by_epoch, moved in ((True, False), (False, True)):
        optimizer = torch.optim.SGD(model().parameters(), lr=1.0)
        scheduler = PolyLR(optimizer, end=4, by_epoch=by_epoch)
        runner = type("Runner", (), {"param_schedulers": [scheduler]})()
        for number in range(3):
            optimizer.step()
            ParamSchedulerHook().after_train_iter(runner, number)
        assert (optimizer.param_groups[0]["lr"] < 1) == moved


@pytest.mark.parametrize("name", library_options.UNUSABLE)
def test_what_is_called_unusable_fails(name: str) -> None:
    scheduler = {"type": name, "by_epoch": False} | ({"param_name": "lr"} if "Param" in name else {})
    defaults = {"defaults": {}} if name == "Optimizer" else {}
    arguments = [{"type": "SGD", "lr": 0.1}, scheduler] if "Plateau" in name else [{"type": name, **defaults}]
    with pytest.raises((AssertionError, NotImplementedError, RuntimeError, TypeError, ValueError)):
        one_step(*arguments)
