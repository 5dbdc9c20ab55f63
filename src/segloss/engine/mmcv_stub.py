"""Import MMSegmentation also where mmcv has no compiled operators.

``mmseg.models`` asks for ``mmcv._ext`` when it is imported, though no model of the benchmark calls it. mmcv-lite, the
only mmcv 2.x with wheels everywhere, lacks it. A stand-in takes its place during the import alone: afterwards MMEngine
must not believe that a full mmcv is installed. Where the full mmcv is installed, nothing is replaced.
"""

import importlib.machinery
import importlib.util
import sys
import types
import warnings
from collections.abc import Callable


class _Standin(types.ModuleType):
    """Has every operator that is asked for; calling one says what is missing."""

    def __getattr__(self, name: str) -> Callable:
        if name.startswith("__"):
            raise AttributeError(name)

        def missing(*_: object, **__: object) -> None:
            raise RuntimeError(
                f"the compiled operator {name} needs the full mmcv; installed is mmcv-lite, which has none"
            )

        return missing


def import_mmseg() -> None:
    """Import mmseg and its models, once; with the stand-in for ``mmcv._ext`` where mmcv has no compiled operators."""
    if "mmseg.models" in sys.modules:
        return
    name = "mmcv._ext"
    # mmcv's own version checks and old syntax warn on import; none of it is for the reader of a training log.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        needed = importlib.util.find_spec(name) is None
        if needed:
            standin = _Standin(name)
            standin.__spec__ = importlib.machinery.ModuleSpec(name, loader=None)
            sys.modules[name] = standin
        try:
            import mmseg.datasets
            import mmseg.models  # noqa: F401
        finally:
            if needed:
                del sys.modules[name]
