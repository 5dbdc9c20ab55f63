"""Options of torch's optimisers and MMEngine's schedulers, read from the source of the installed packages.

Nothing here imports torch or MMEngine. Without a package, its options are unknown and nothing is checked.
"""

import ast
import builtins
import functools
import importlib.util
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Optional, Union

from segloss.options import Above, AtLeast, AtMost, Below, Count, Length, NonNegative, Positive, Share, is_setting

# Source folders in which transforms and schedulers are registered.
REGISTRIES = (
    ("mmengine", "optim/scheduler"),
    ("mmcv", "transforms"),
    ("mmseg", "datasets/transforms"),
    ("segloss", "engine"),
)
REGISTERED = re.compile(r"@(\w+)\.register_module\(\)\s+class (\w+)")
DEFINED = re.compile(r"^(?:class|def) (\w+)", re.MULTILINE)
# Optimisers and schedulers with which no cell can be trained.
UNUSABLE = {
    "LBFGS": "computes the loss several times an iteration, which MMEngine does not",
    "Muon": "takes matrices only, and convolutions have four axes",
    "Optimizer": "is the base class",
    "SparseAdam": "takes sparse gradients only",
    "ReduceOnPlateauLR": "counts epochs, and trainings here count iterations",
    "ReduceOnPlateauMomentum": "counts epochs, and trainings here count iterations",
    "ReduceOnPlateauParamScheduler": "counts epochs, and trainings here count iterations",
}
# Optimisers that MMEngine registers under another name.
RENAMED = {"Adafactor": "TorchAdafactor"}
# Ranges that the packages check, or should check, at call time: annotations in their source have only the type.
BETA = Annotated[float, AtLeast(0), Below(1)]
OPTIMISER_RANGES = {
    "betas": Annotated[Sequence[BETA], Length(2)],
    "beta2_decay": Annotated[float, AtMost(0)],
    "d": Annotated[float, AtLeast(1)],
    "rho": Share,
    **dict.fromkeys(("lr", "weight_decay", "momentum", "lr_decay", "initial_accumulator_value"), NonNegative),
    **dict.fromkeys(("alpha", "eps", "momentum_decay"), NonNegative),
}
SCHEDULER_RANGES = {
    "anneal_strategy": Literal["cos", "linear"],
    "begin": Annotated[int, AtLeast(0)],
    "by_epoch": Literal[False],  # iteration-based training never ends an epoch: the rate would never change
    "eta_min_ratio": NonNegative | None,
    "last_step": Annotated[int, AtLeast(-1)],
    "periods": Sequence[Count],
    "pct_start": Annotated[float, Above(0), Below(1)],
    **dict.fromkeys(("factor", "start_factor", "end_factor"), Share),
    **dict.fromkeys(("div_factor", "final_div_factor"), Positive),
    **dict.fromkeys(("end", "step_size"), Count),
    **dict.fromkeys(("T_max", "total_steps"), Count | None),
}
CLIP_RANGES = {"max_norm": Positive, "clip_value": Positive, "norm_type": Positive}


@dataclass(frozen=True)
class Signature:
    """The options of a class or function.

    Attributes:
        options: Their annotations, as `segloss.options.check` takes them.
        required: Those without a default.
    """

    options: Mapping[str, Any]
    required: frozenset[str]


class Signatures(Mapping[str, Signature]):
    """Signatures by name, each read when it is first looked up: a schedule names one optimiser of many.

    Args:
        names: The names.
        read: Returns the signature of a name.
    """

    def __init__(self, names: Iterable[str], read: Callable[[str], Signature]) -> None:
        self._names, self._read = dict.fromkeys(names), functools.cache(read)

    def __getitem__(self, name: str) -> Signature:
        if name not in self._names:
            raise KeyError(name)
        return self._read(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class _Tuple:
    """``tuple[...]`` in an annotation: a sequence of that length."""

    def __class_getitem__(cls, items: Any) -> Any:
        items = items if isinstance(items, tuple) else (items,)
        return Annotated[Sequence[functools.reduce(operator.or_, items)], Length(len(items))]


class _Names(dict):
    """The names in annotations of the packages; any other is a type that is not checked."""

    def __missing__(self, name: str) -> Any:
        return getattr(builtins, name, object)


# A tensor of one element may stand for a number; a config assigns numbers.
NAMES = {"Optional": Optional, "Union": Union, "Sequence": Sequence, "Tensor": float, "tuple": _Tuple, "Tuple": _Tuple}
NAMES |= {"list": Sequence, "List": Sequence}


def package_file(package: str, path: str) -> Path | None:
    """A file or folder of an installed package, which is not imported; None without the package."""
    spec = importlib.util.find_spec(package)
    return None if spec is None or spec.origin is None else Path(spec.origin).parent / path


@functools.cache  # of installed packages, which do not change while a process runs
def registered() -> dict[str, set[str]]:
    """Registry -> the names registered in it by the packages of ``REGISTRIES``, read from their source."""
    names: dict[str, set[str]] = {}
    for package, path in REGISTRIES:
        folder = package_file(package, path)
        for file in sorted(folder.glob("*.py")) if folder else ():
            for registry, name in REGISTERED.findall(file.read_text(encoding="utf-8")):
                names.setdefault(registry, set()).add(name)
    return names


@functools.cache
def _defined(package: str, path: str) -> dict[str, Path]:
    """The file of each class and function at the top level of the Python files in a folder of a package."""
    folder = package_file(package, path)
    files = sorted(folder.glob("*.py")) if folder else ()
    return {name: file for file in files for name in DEFINED.findall(file.read_text(encoding="utf-8"))}


@functools.cache
def _definitions(file: Path) -> dict[str, ast.ClassDef | ast.FunctionDef]:
    """The classes and functions at the top level of a Python file."""
    body = ast.parse(file.read_text(encoding="utf-8")).body
    return {node.name: node for node in body if isinstance(node, ast.ClassDef | ast.FunctionDef)}


def _annotation(node: ast.expr | None) -> Any:
    try:  # evaluates only the source of an installed package
        kind = eval(compile(ast.Expression(node), "<annotation>", "eval"), {}, _Names(NAMES)) if node else object
    except (AttributeError, TypeError):
        return object
    return kind if is_setting(kind) else object


def _parameters(function: ast.FunctionDef) -> Iterator[tuple[str, Any, bool]]:
    """Name, annotation and whether it is required, for every parameter that can be passed by keyword."""
    arguments = function.args
    first = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(first) - len(arguments.defaults)) + arguments.defaults
    pairs = [*zip(first, defaults, strict=True), *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
    for argument, default in pairs:
        yield argument.arg, _annotation(argument.annotation), default is None


def _constructor(name: str, files: Mapping[str, Path]) -> dict[str, tuple[Any, bool]]:
    """The parameters of a class and, if ``**kwargs`` passes some to its bases, the parameters of the bases."""
    node = _definitions(files[name]).get(name) if name in files else None
    if not isinstance(node, ast.ClassDef):
        return {}
    functions = [item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__"]
    declared = {name: entry for name, *entry in _parameters(functions[0])} if functions else {}
    if functions and not functions[0].args.kwarg:
        return declared
    bases = [base.id for base in node.bases if isinstance(base, ast.Name)]
    inherited = {key: entry for base in reversed(bases) for key, entry in _constructor(base, files).items()}
    return inherited | declared


def _signature(parameters: Mapping[str, Any], ranges: Mapping[str, Any], given: Sequence[str]) -> Signature:
    """The signature without the parameters that the caller supplies, with ranges unless the annotation has more."""
    options = {
        name: ranges[name] if name in ranges and not _is_sequence(kind, ranges[name]) else kind
        for name, (kind, _) in parameters.items()
        if name not in given
    }
    return Signature(options, frozenset(name for name in options if parameters[name][1]))


def _is_sequence(kind: Any, replacement: Any) -> bool:
    """Whether an annotation is that of a sequence and its replacement is not: Adafactor's ``eps`` are two numbers."""
    return "Sequence" in str(kind) and "Sequence" not in str(replacement)


@functools.cache
def optimisers() -> Signatures:
    """The optimisers of torch with which a cell can be trained, by MMEngine's name, with their options."""
    file, classes = package_file("torch", "optim/__init__.py"), _defined("torch", "optim")
    text = file.read_text(encoding="utf-8") if file else ""
    names = re.findall(r"^from torch\.optim\.\w+ import ([A-Z]\w*)", text, re.MULTILINE)
    in_torch = {RENAMED.get(name, name): name for name in names if name not in UNUSABLE}
    return Signatures(
        in_torch,
        lambda name: _signature(_constructor(in_torch[name], classes), OPTIMISER_RANGES, ("self", "params")),
    )


@functools.cache
def schedulers() -> Signatures:
    """The schedulers of MMEngine with which a cell can be trained, with their options."""
    classes = _defined("mmengine", "optim/scheduler")

    def read(name: str) -> Signature:
        given = ("self", "optimizer", *(() if name.endswith("ParamScheduler") else ("param_name",)))
        return _signature(_constructor(name, classes), SCHEDULER_RANGES, given)

    return Signatures(sorted(registered().get("PARAM_SCHEDULERS", set()) - UNUSABLE.keys()), read)


@functools.cache
def clippings() -> Signatures:
    """The ways to clip gradients, ``norm`` and ``value``, with their options."""
    functions = {kind: f"clip_grad_{kind}_" for kind in ("norm", "value")}
    files = _defined("torch", "nn/utils")

    def read(kind: str) -> Signature:
        parameters = _parameters(_definitions(files[functions[kind]])[functions[kind]])
        return _signature({name: entry for name, *entry in parameters}, CLIP_RANGES, ("parameters",))

    return Signatures([kind for kind, function in functions.items() if function in files], read)


@functools.cache
def paramwise_options() -> dict[str, Any]:
    """The keys of MMEngine's ``paramwise_cfg`` and their annotations; empty without MMEngine."""
    file = package_file("mmengine", "optim/optimizer/default_constructor.py")
    names = re.findall(r"paramwise_cfg\.get\('(\w+)'", file.read_text(encoding="utf-8")) if file else []
    known = {"custom_keys": Mapping[str, Any], "bypass_duplicate": bool}
    return {name: known.get(name, NonNegative) for name in names}
