"""The reference of losses as Markdown, from configs/losses.yaml and the docstrings, and a plot of each loss."""

import functools
import inspect
import json
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from segloss.losses import CATALOGUE, Loss
from segloss.options import is_setting
from segloss.reports.pixel_loss import TARGETS, draw_argument, draw_pixel_losses

LINES = yaml.safe_load((Path(__file__).parents[1] / "configs" / "losses.yaml").read_text(encoding="utf-8"))
X = np.arange(1, 100) / 100
# What a loss cannot be computed without: training pixels of a common and a rare class, terms.
REQUIRED: dict[str, dict[str, Any]] = {
    "ldam": {"class_counts": [9, 1]},
    "lmf": {"class_counts": [9, 1]},
    "compound": {"terms": LINES["ce-jml"]["terms"]},
}


def pixel_loss(loss: Loss[...], x: np.ndarray, y: float) -> np.ndarray:
    """A loss of one pixel of two classes over the probability x of class 1; y is 0, 1 (a class map), or a probability.

    The logits are -½ log(x / (1 - x)) and ½ log(x / (1 - x)), and options have their defaults.
    """
    half = torch.logit(torch.as_tensor(x)) / 2
    hard = y in (0, 1)
    target = torch.tensor([[[int(y)]]]) if hard else torch.tensor([1 - y, y], dtype=torch.float64).view(1, 2, 1, 1)
    options = REQUIRED.get(loss.__name__, {})
    with torch.inference_mode():
        return np.array([float(loss(torch.stack([-z, z]).view(1, 2, 1, 1), target, **options)) for z in half])


@functools.cache
def plots() -> dict[str, bytes]:
    """The figures argument.svg and, for every loss that depends on a single pixel's prediction, <name>.svg."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw_argument(folder / "argument.svg", ["svg"])
        for name, loss in CATALOGUE.items():
            curves = {y: pixel_loss(loss, X, y) for y in (TARGETS if loss.soft_targets else (1.0, 0.0))}
            if any(np.ptp(values) > 0 for values in curves.values()):
                draw_pixel_losses(folder / f"{name}.svg", {name: lambda _, y, at=curves: at[y]}, X, curves, ["svg"])
        return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def losses_markdown() -> str:
    """A table of the lines of configs/losses.yaml, then a section for each loss."""
    rows = [f"| `{name}` | {line['title']} | {_line(line)} |" for name, line in LINES.items()]
    table = ["## In a grid", "", "| Name | Title | Loss |", "|:--|:--|:--|", *rows, ""]
    named = [term["loss"] for line in LINES.values() for term in line.get("terms", [line])]
    return "\n".join([*table, *(_section(CATALOGUE[name]) for name in dict.fromkeys([*named, *CATALOGUE]))])


def _line(line: dict[str, Any]) -> str:
    """A line of configs/losses.yaml as a sum of linked losses with their options."""
    terms = line.get("terms", [line])
    sums = [f"{term.get('weight', '')} {_link(term['loss'])}{_options(term)}".strip() for term in terms]
    return " + ".join(sums) + (_options(line) if "terms" in line else "")


def _options(line: dict[str, Any]) -> str:
    options = {name: value for name, value in line.items() if name not in ("title", "loss", "terms", "weight")}
    return f" (`{json.dumps(options)[1:-1].replace(chr(34), '')}`)" if options else ""


def _link(name: str) -> str:
    return f"[`{name}`](#{name})"


def _section(loss: Loss[...]) -> str:
    name = loss.__name__
    text, *parts = re.split(r"^(Args|Returns|Raises|Reference): *", inspect.getdoc(loss) or "", flags=re.MULTILINE)
    sections = dict(zip(parts[::2], parts[1::2], strict=True))
    formula, _, rest = text.partition("\n")
    plot = (
        f"![{name} of one pixel over the predicted probability](losses/{name}.svg)"
        if f"{name}.svg" in plots()
        else "No plot: it reads the pixels around, and is constant on a single one."
    )
    targets = "Hard labels only. " * (not loss.soft_targets)
    reference = [f"Reference: {_prose(sections['Reference'])}"] if "Reference" in sections else []
    return "\n\n".join(
        [
            f"## {name}",
            f"**{_prose(formula)}**",
            *([_prose(rest)] if rest.strip() else []),
            plot,
            f"{targets}Module: `{loss.module_name}`. Value: {_prose(sections['Returns'])}",
            "\n".join(_arguments(sections["Args"], loss)),
            *reference,
            "",
        ]
    )


def _arguments(text: str, loss: Loss[...]) -> list[str]:
    """A list of the options, and of what deviates from the contract of all losses."""
    defaults = {name: entry.default for name, entry in inspect.signature(loss).parameters.items()}
    items = []
    for names, meaning in re.findall(r"^    (\w[\w, ]*): ((?:.*\n?)(?:^     +.*\n?)*)", text, re.MULTILINE):
        if names == "logits, target, valid":
            meaning = meaning.removeprefix("As in every loss, see `segloss.losses`").lstrip(".; \n")
        if meaning.strip():
            shown = ", ".join(_option(name, defaults[name], loss) for name in names.split(", "))
            items.append(f"- {shown}: {_prose(meaning)}")
    return items


def _option(name: str, default: Any, loss: Loss[...]) -> str:
    typed = name in loss.options and is_setting(loss.options[name]) and default is not inspect.Parameter.empty
    return f"`{name}={default!r}`" if typed else f"`{name}`"


def _prose(text: str) -> str:
    """Paragraphs of a docstring as Markdown: no emphasis by accident, links to losses and articles."""
    paragraphs = (" ".join(paragraph.split()) for paragraph in text.strip().split("\n\n"))
    pieces = re.split(r"(``.*?``|`.*?`)", "\n\n".join(paragraphs))
    for place, piece in enumerate(pieces):
        if place % 2 == 0:
            plain = re.sub(r"([*_|])", r"\\\1", piece.replace("<", "&lt;"))
            pieces[place] = re.sub(r"https?://[^\s,;)]+", lambda url: f"<{url[0].replace(chr(92), '')}>", plain)
        elif piece.strip("`") in CATALOGUE and not piece.startswith("``"):
            pieces[place] = _link(piece.strip("`"))
    return "".join(pieces)
