r"""Paper tables in LaTeX; they need only ``\usepackage{booktabs}`` and UTF-8.

The width of every column is measured in Computer Modern. A table that fits a column of a two-column article stays in
it; a wider one spans the page, and one that is wider still is split into blocks of columns, one below the other.
"""

import functools
import re
from collections.abc import Iterator, Sequence
from itertools import chain, groupby

from segloss.reports.headings import escape
from segloss.reports.paper import PaperTable, caption_of, column_heading, select_columns
from segloss.reports.paper_cells import Cell

SIZE, LEADING, SMALL, SEPARATION = 8, 9.5, 6, 2.5  # points: font, leading, spreads, half a column gap
COLUMN_WIDTH, TEXT_WIDTH = 200, 397  # points: a column of a two-column article, the text of NeurIPS
LINES = 52  # of the blocks of one float; more would not fit a page
# Computer Modern at 8 and at 6 points is wider than the 10-point font, the one available, scaled down.
BROADER = {SIZE: 1.065, SMALL: 1.23}


def latex(tables: Sequence[PaperTable], prefix: str = "tab", width: float = TEXT_WIDTH) -> str:
    """The tables in LaTeX.

    Args:
        tables: As returned by `paper_tables`.
        prefix: The beginning of their labels.
        width: Width of the text in points; no table is wider.
    """
    return "\n".join([r"% \usepackage{booktabs}", *(_float(table, prefix, width) for table in tables)])


def _float(table: PaperTable, prefix: str, width: float) -> str:
    blocks = [select_columns(table, places) for places in split(table, width)]
    wide = len(blocks) > 1 or table_width(table) > COLUMN_WIDTH
    environment = "table*" if wide else "table"
    lines = sum(len(rows) for _, rows in table.groups) + len(table.groups) + len(table.heads) + 3
    per_float = max(1, LINES // lines)
    floats = [blocks[start : start + per_float] for start in range(0, len(blocks), per_float)]
    label = ":".join([prefix, *("-".join(table.name).split())])
    notes = " ".join(
        rf"\textsuperscript{{{_letter(number)}}}\,{escape(note)}." for number, note in enumerate(table.notes, 1)
    )
    parts = []
    for number, some in enumerate(floats):
        caption = caption_of(table)[1]
        caption = caption if number == 0 else f"{caption.partition('. ')[0]} (continued)."
        parts += [
            rf"\begin{{{environment}}}[t]",
            r"\centering",
            rf"\setlength{{\belowcaptionskip}}{{4pt}}\caption{{{caption}}}",
            *([rf"\label{{{label}}}"] if number == 0 else []),
            rf"\fontsize{{{SIZE}}}{{{LEADING}}}\selectfont\setlength{{\tabcolsep}}{{{SEPARATION}pt}}",
            "\n\\par\\medskip\n".join(map(_tabular, some)),
            *([rf"\par\smallskip\parbox{{\linewidth}}{{\raggedright {notes}}}"] if notes else []),
            rf"\end{{{environment}}}",
        ]
    return "\n".join(parts) + "\n"


def _tabular(table: PaperTable) -> str:
    number = len(table.columns)
    lines = [rf"\begin{{tabular}}{{@{{}}l{'r' * number}@{{}}}}", r"\toprule"]
    for depth, head in enumerate(table.heads):
        cells, rules, place = [], [], 2
        for _, span in _spans(table, depth):
            cells.append(rf"\multicolumn{{{span}}}{{c}}{{{escape(head[place - 2])}}}")
            rules.append(rf"\cmidrule(lr){{{place}-{place + span - 1}}}")
            place += span
        lines += [" & ".join(["", *cells]) + r" \\", "".join(rules)]
    lines.append(" & ".join([escape(table.stub), *(column_heading(column)[1] for column in table.columns)]) + r" \\")
    lines.append(r"\midrule")
    titled = has_group_titles(table)
    for place, (group, rows) in enumerate(table.groups):
        if place:
            lines.append(r"\addlinespace")
        if titled and group:
            lines.append(rf"\multicolumn{{{number + 1}}}{{@{{}}l}}{{\emph{{{escape(group.capitalize())}}}}} \\")
        starred = [
            any(row[2][column].significant for _, rows_ in table.groups for row in rows_) for column in range(number)
        ]
        for _, title, cells in rows:
            shown = [_cell(cell, star) for cell, star in zip(cells, starred, strict=True)]
            lines.append(" & ".join([escape(title), *shown]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def has_group_titles(table: PaperTable) -> bool:
    """True if groups are named, which needs two rows per group on average; else only a gap separates them."""
    rows = sum(len(rows) for _, rows in table.groups)
    return len(table.groups) > 1 and rows >= 2 * len(table.groups)


def _cell(cell: Cell, starred: bool) -> str:
    text = escape(cell.text)
    if cell.place == 1:
        text = rf"\textbf{{{text}}}"
    elif cell.place == 2:
        text = rf"\underline{{{text}}}"
    if starred and cell.values:
        # An invisible star keeps the digits of a column aligned.
        text += "$^{*}$" if cell.significant else r"\phantom{$^{*}$}"
    if cell.spread:
        spread = cell.spread.replace("-", "$-$")
        sign = "" if spread.startswith("[") else r"$\pm$\,"
        text += rf"\,{{\fontsize{{{SMALL}}}{{{SMALL}}}\selectfont {sign}{spread}}}"
    if cell.notes:
        text += rf"\textsuperscript{{{','.join(map(_letter, cell.notes))}}}"
    return text


def _letter(number: int) -> str:
    """a, b, ..., z, aa, ..."""
    word = ""
    while number:
        number, place = divmod(number - 1, 26)
        word = chr(ord("a") + place) + word
    return word


def _spans(table: PaperTable, depth: int) -> Iterator[tuple[tuple[str, ...], int]]:
    """Each run of columns with the same axis values down to a line of the head: its values and its length."""
    keys = [tuple(zip(*table.heads[: depth + 1], strict=True))[place] for place in range(len(table.columns))]
    points = [column.point for column in table.columns]
    for key, group in groupby(range(len(keys)), key=lambda place: (keys[place], points[place][: depth + 1])):
        yield key[0], len(list(group))


def split(table: PaperTable, width: float) -> list[list[int]]:
    """Columns in blocks that fit a width; columns under one head stay together if they fit."""
    if table_width(table) <= width:
        return [list(range(len(table.columns)))]
    for depth in range(len(table.heads) + 1):
        inner = depth == len(table.heads)
        sizes = [1] * len(table.columns) if inner else [span for _, span in _spans(table, depth)]
        units, start = [], 0
        for size in sizes:
            units.append(list(range(start, start + size)))
            start += size
        if len(units) > 1 and all(table_width(select_columns(table, unit)) <= width for unit in units):
            return _pack(table, units, width)
    return [[place] for place in range(len(table.columns))]


def _pack(table: PaperTable, units: Sequence[list[int]], width: float) -> list[list[int]]:
    """Units in as few blocks as fit, of about the same number of units each."""

    def blocks(per_float: int) -> list[list[int]]:
        return [list(chain(*units[start : start + per_float])) for start in range(0, len(units), per_float)]

    def fits(per_float: int) -> bool:
        return all(table_width(select_columns(table, block)) <= width for block in blocks(per_float))

    per_float = next(per_float for per_float in range(len(units), 0, -1) if fits(per_float))
    number = -(-len(units) // per_float)
    return blocks(-(-len(units) // number))


def table_width(table: PaperTable) -> float:
    """The width of a table in points."""
    number = len(table.columns)
    body = [row for _, rows in table.groups for row in rows]
    stub = max(text_width(escape(title)) for title in [table.stub, *(title for _, title, _ in body)])
    widths = []
    for place, column in enumerate(table.columns):
        star = any(row[2][place].significant for row in body)
        cells = [text_width(_cell(row[2][place], star)) for row in body]
        widths.append(max([text_width(column_heading(column)[1]), *cells]))
    for depth in reversed(range(len(table.heads))):
        start = 0
        for _, span in _spans(table, depth):
            needed = text_width(escape(table.heads[depth][start])) - 2 * SEPARATION * (span - 1)
            # A head wider than its columns widens the last of them.
            widths[start + span - 1] += max(0.0, needed - sum(widths[start : start + span]))
            start += span
    return stub + sum(widths) + 2 * SEPARATION * number


SMALLER = re.compile(rf"\\fontsize\{{{SMALL}\}}\{{{SMALL}\}}\\selectfont (.*)\}}")
RAISED = re.compile(r"\\textsuperscript\{(.*?)\}|\$\^\{(.*?)\}\$")


@functools.lru_cache(maxsize=100_000)
def text_width(tex: str) -> float:
    r"""The width of a cell in points: words, escaped characters, ``\textbf``, ``\underline``, spreads, superscripts."""
    width = 0.0
    if small := SMALLER.search(tex):
        width += BROADER[SMALL] * SMALL * _ems(_plain(small[1]))
        tex = tex[: small.start()] + tex[small.end() :]
    for raised in RAISED.finditer(tex):
        width += BROADER[SMALL] * SMALL * _ems(_plain(raised[1] or raised[2]))
    tex = RAISED.sub("", tex)
    bold = 1.15 if r"\textbf" in tex else 1.0
    return width + bold * BROADER[SIZE] * SIZE * _ems(_plain(tex)) + 0.17 * SIZE * tex.count(r"\,")


def _plain(tex: str) -> str:
    """Text about as wide as what LaTeX prints."""
    for command, sign in ((r"\textbackslash{}", "\\"), (r"\textasciitilde{}", "~"), (r"\textasciicircum{}", "^")):
        tex = tex.replace(command, sign)
    tex = re.sub(r"\\(textbf|underline|emph|mathrm|bar|phantom)\b", "", tex)
    tex = re.sub(r"\\(pm|times|uparrow|downarrow|rightarrow|leq|geq|neq|infty|sum)", "M", tex)
    tex = re.sub(r"\\text[a-z]+\{\}", "M", tex)
    tex = re.sub(r"\\([&%$#_{}])", r"\1", tex)
    tex = re.sub(r"\\[a-zA-Z]+", "m", tex)
    return re.sub(r"[{}$]|\\,", "", tex)


@functools.lru_cache(maxsize=10_000)
def _ems(text: str) -> float:
    """The width of a text in Computer Modern, for a font of one point."""
    from matplotlib import get_data_path
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    if not text.strip():
        return 0.0
    font = FontProperties(fname=f"{get_data_path()}/fonts/ttf/cmr10.ttf", size=10)
    drawable = "".join(sign if " " <= sign <= "~" else "m" for sign in text)
    return text_to_path.get_text_width_height_descent(drawable, font, False)[0] / 10
