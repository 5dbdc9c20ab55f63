"""Style of the figures: sizes for a paper, colours safe for colour blindness and greyscale, reproducible bytes."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

from segloss.files import write_atomic

COLUMN, PAGE = 3.3, 6.8  # inches: one column of a two-column article, and the whole width of the page
FORMATS = ("png", "pdf", "svg")
# Okabe and Ito, 2008, https://jfly.uni-koeln.de/color/; yellow last, it is faint on white.
COLOURS = ("#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7", "#F0E442")
# Colours repeat after eight, dashes and markers after four and seven: in greyscale these distinguish neighbours.
DASHES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
SETTINGS = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.1,
    "lines.markersize": 3.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "text.parse_math": False,  # titles are shown as typed, with their dollar signs
    "pdf.fonttype": 42,  # TrueType outlines, which journals accept, not Type 3
    "svg.hashsalt": "segloss",  # otherwise identifiers in an SVG are random
}
METADATA = {
    "png": {"Software": None},
    "pdf": {"Creator": None, "Producer": None, "CreationDate": None},
    "svg": {"Creator": None, "Date": None},
}


@contextmanager
def drawing() -> Iterator[Any]:
    """pyplot in the style of the figures, drawing to files."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    with pyplot.rc_context(SETTINGS):
        yield pyplot


def write_figure(figure: Any, path: Path, formats: Iterable[str] | None = None) -> None:
    """Write a figure as PNG, PDF and SVG next to each other; the same drawing gives the same bytes, without dates.

    Args:
        figure: The figure; it is closed.
        path: The file of one of the formats; the others differ in their suffix.
        formats: Suffixes; by default ``FORMATS``.
    """
    from matplotlib import pyplot

    # Laid out once: otherwise each format would do it twice more.
    if (engine := figure.get_layout_engine()) is not None:
        engine.execute(figure)
        figure.set_layout_engine(None)
    for suffix in formats or FORMATS:
        buffer = BytesIO()
        figure.savefig(buffer, format=suffix, dpi=200, metadata=METADATA[suffix])
        content = buffer.getvalue()
        write_atomic(path.with_suffix(f".{suffix}"), lambda file, content=content: file.write(content))
    pyplot.close(figure)


def remove_figure(path: Path) -> None:
    """Remove a figure of an earlier report in all its formats."""
    for suffix in FORMATS:
        path.with_suffix(f".{suffix}").unlink(missing_ok=True)


def line_styles(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """For each name its colour, dashes and marker, in the order of the names; no two of the first 56 are the same."""
    return {
        name: {
            "color": COLOURS[number % len(COLOURS)],
            "linestyle": DASHES[(number + number // len(COLOURS)) % len(DASHES)],
            "marker": MARKERS[(number + number // len(COLOURS)) % len(MARKERS)],
        }
        for number, name in enumerate(names)
    }


def panels(
    pyplot: Any, number: int, height: float, across: int = 4, ratios: Sequence[float] = (1,), **options: Any
) -> tuple[Any, Any]:
    """A figure with `number` panels side by side, in several lines if they are many.

    Args:
        pyplot: As yielded by `drawing`.
        number: Number of panels.
        height: Height of a panel with all its axes, in inches.
        across: Largest number of panels in a line.
        ratios: Relative heights of the stacked axes of a panel.
        options: Options of ``pyplot.subplots``.

    Returns:
        The figure, and the axes as (panel, row); unused ones are hidden.
    """
    columns = min(number, across)
    lines, rows = -(-number // columns), len(ratios)
    width = PAGE if columns > 1 else COLUMN
    figure, axes = pyplot.subplots(
        lines * rows,
        columns,
        squeeze=False,
        figsize=(width, height * lines + 0.5),
        height_ratios=[*ratios] * lines,
        layout="constrained",
        **options,
    )
    axes = axes.reshape(lines, rows, columns).transpose(0, 2, 1).reshape(-1, rows)
    for axis in axes[number:].ravel():
        axis.set_visible(False)
    for axis in axes[:number, -1]:
        axis.tick_params(labelbottom=True)  # shared axes would label only the last line
    return figure, axes


def legend_below(figure: Any, handles: Mapping[str, Any], titles: Mapping[str, str], columns: int = 6) -> None:
    """Draw a legend for all panels below the figure, with the titles of the names."""
    if handles:
        labels = [one_line(titles[name]) for name in handles]
        longest = max(map(len, labels))
        fitting = max(1, int(figure.get_figwidth() * 14 / (longest + 7)))  # about 14 letters to the inch
        figure.legend(
            list(handles.values()), labels, loc="outside lower center", ncols=min(columns, fitting, len(labels))
        )


def one_line(title: str) -> str:
    """A title on one line. A leading underscore would hide it from a legend: a zero-width character goes before it."""
    line = " ".join(title.split())
    return f"\N{WORD JOINER}{line}" if line.startswith("_") else line


def file_name(*names: str) -> str:
    """A figure's name from names of axes, shortened where the file system would refuse it."""
    name = "-".join(names)
    return name if len(name.encode()) < 200 else f"{name[:150]}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
