"""Two switches for all losses: checks of target values, and the exchange of sums between processes."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch.distributed

_state = {"checks": True, "exchange": True}


@contextmanager
def switches(*, checks: bool | None = None, exchange: bool | None = None) -> Iterator[None]:
    """Set either switch within a ``with`` block; ``None`` leaves it unchanged.

    Args:
        checks: Whether target values are checked (class indices in range, probabilities that sum to 1). A check
            synchronises host and device, so a training loop turns checks off once its labels are known to be valid.
            Default on.
        exchange: Whether sums are exchanged between the processes of ``torch.distributed``. Turn it off if only some
            of the processes compute a loss; otherwise they deadlock. Default on.
    """
    before = dict(_state)
    set_switches(checks=checks, exchange=exchange)
    try:
        yield
    finally:
        _state.update(before)


def unchecked() -> AbstractContextManager[None]:
    """Leave target values unchecked within a ``with`` block: no synchronisation with the device, no graph break."""
    return switches(checks=False)


def set_switches(*, checks: bool | None = None, exchange: bool | None = None) -> None:
    """Set either switch for the rest of the process; see `switches`."""
    _state.update({name: value for name, value in (("checks", checks), ("exchange", exchange)) if value is not None})


def checks_on() -> bool:
    """Whether target values are checked."""
    return _state["checks"]


def exchange_on() -> bool:
    """Whether there are several processes and sums are exchanged between them."""
    return (
        _state["exchange"]
        and torch.distributed.is_available()
        and torch.distributed.is_initialized()
        and torch.distributed.get_world_size() > 1
    )
