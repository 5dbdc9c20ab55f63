"""The optimiser and the schedulers of a schedule's config, checked by name and value before any job. No torch."""

from collections.abc import Iterable, Mapping
from typing import Any

from segloss.grid.errors import ConfigError, unknown
from segloss.grid.library_options import (
    UNUSABLE,
    Signature,
    clippings,
    optimisers,
    paramwise_options,
    schedulers,
)
from segloss.options import NonNegative, check

CUSTOM = {"lr_mult": NonNegative, "decay_mult": NonNegative}


def check_type(entry: Any, kind: str, known: Iterable[str], where: str) -> None:
    """Raise ConfigError unless the ``type`` of a dictionary is a known name; any is accepted if none is known."""
    name = entry.get("type")
    if known and isinstance(name, str) and name in UNUSABLE and kind != "transform":
        raise ConfigError(f"{where}: {name} {UNUSABLE[name]}; possible: {', '.join(sorted(known))}")
    if known and name not in known:
        raise ConfigError(f"{where}: {unknown(kind, name, known)}")


def check_keys(entry: Mapping[str, Any], known: Mapping[str, Any], where: str, kind: str = "option") -> None:
    """Raise ConfigError unless a dictionary has known keys only, with values in range; ``type`` is not checked."""
    for key, value in entry.items():
        if key == "type":
            continue
        if key not in known:
            raise ConfigError(f"{where}: {unknown(kind, key, known)}")
        try:
            check(key, value, known[key])
        except ValueError as error:
            raise ConfigError(f"{where}: {error}") from None


def check_call(entry: Mapping[str, Any], known: Mapping[str, Signature], name: str, where: str) -> None:
    """Check the arguments of an optimiser, a scheduler or a gradient clipping; unknown ones are not checked."""
    if name not in known:
        return
    where, signature = f"{where}: {name}", known[name]
    check_keys(entry, signature.options, where)
    if missing := sorted(signature.required - entry.keys()):
        raise ConfigError(f"{where} needs {', '.join(missing)}; its options are {', '.join(sorted(signature.options))}")


def check_optimizer(entry: Mapping[str, Any], where: str) -> None:
    """Check ``optimizer``.

    Raises:
        ConfigError: if the optimiser or an option is unknown, or a value is outside its range.
    """
    check_type(entry, "optimiser", optimisers(), where)
    check_call(entry, optimisers(), entry.get("type"), where)
    if entry.get("nesterov") and (not entry.get("momentum") or entry.get("dampening")):
        raise ConfigError(f"{where}: nesterov needs a momentum above 0 and no dampening, got {dict(entry)}")


def check_scheduler(entry: Mapping[str, Any], where: str) -> None:
    """Check an entry of ``param_scheduler``.

    Raises:
        ConfigError: if the scheduler or an option is unknown or missing, or a value is outside its range.
    """
    known = schedulers()
    check_type(entry, "scheduler", known, where)
    name = entry.get("type")
    check_call(entry, known, name, where)
    where = f"{where}: {name}"
    if name in known and "by_epoch" not in entry:
        raise ConfigError(f"{where} needs by_epoch=False: trainings here count iterations, not epochs")
    begin, end = entry.get("begin", 0), entry.get("end")
    if end is not None and end <= begin:
        raise ConfigError(f"{where}: end must be above begin, got begin={begin} and end={end}")
    limits = [key for key in ("eta_min", "eta_min_ratio") if entry.get(key) is not None]
    if name in known and "eta_min_ratio" in known[name].options:
        if len(limits) > 1:
            raise ConfigError(f"{where}: expected eta_min or eta_min_ratio, got both")
        if not limits and name.startswith("CosineRestart"):
            raise ConfigError(f"{where} needs eta_min or eta_min_ratio")
    if name in known and "periods" in entry and len(entry["periods"]) != len(entry.get("restart_weights", (1,))):
        raise ConfigError(
            f"{where}: expected one of restart_weights for each of periods, got {list(entry['periods'])} and "
            f"{list(entry.get('restart_weights', (1,)))}"
        )


def check_clip_grad(entry: Mapping[str, Any], where: str) -> None:
    """Check ``clip_grad``: arguments of torch's ``clip_grad_norm_`` or, with the type "value", ``clip_grad_value_``.

    Raises:
        ConfigError: if an option is unknown or missing, or a value is outside its range.
    """
    check_type({"type": entry.get("type", "norm")}, "type", clippings(), where)
    check_call(entry, clippings(), entry.get("type", "norm"), where)


def check_paramwise(entry: Mapping[str, Any], optimizer: Mapping[str, Any], where: str) -> None:
    """Check ``paramwise_cfg``: its keys, those of each of its ``custom_keys``, and what they multiply.

    Args:
        entry: ``paramwise_cfg``.
        optimizer: The optimiser, whose ``lr`` and ``weight_decay`` are multiplied.
        where: The beginning of the error message.

    Raises:
        ConfigError: if a key is unknown, a value is outside its range, or ``optimizer`` has nothing to multiply.
    """
    if not (known := paramwise_options()):
        return
    check_keys(entry, known, where, "key")
    signature, custom = optimisers().get(optimizer.get("type")), entry.get("custom_keys", {})
    for key, settings in custom.items():
        place = f"{where}: custom_keys: {key}"
        if not isinstance(settings, Mapping):
            raise ConfigError(f"{place}: expected a dictionary of {', '.join(CUSTOM)}, got {settings!r}")
        check_keys(settings, CUSTOM | (dict(signature.options) if signature else {}), place)
    names = {*entry, *(name for settings in custom.values() for name in settings)}
    for option, ending in (("lr", "lr_mult"), ("weight_decay", "decay_mult")):
        multiplied = sorted(name for name in names if name.endswith(ending))
        if option == "lr" and custom:
            multiplied.append("custom_keys")
        if multiplied and option not in optimizer:
            raise ConfigError(f"{where}: {multiplied[0]} needs {option} in optimizer, which has {dict(optimizer)}")
