"""Paper tables in Markdown and CSV."""

import csv
from collections.abc import Sequence
from io import StringIO

from segloss.reports.headings import one_line
from segloss.reports.markdown import table as markdown_table
from segloss.reports.markdown import text
from segloss.reports.paper import PaperTable, caption_of, column_heading
from segloss.reports.paper_cells import Cell

FORMULA = ("=", "+", "-", "@")  # a spreadsheet would evaluate a text that begins with these


def markdown(tables: Sequence[PaperTable]) -> str:
    """The tables in Markdown: best bold, second underlined, a star for significance, notes below."""
    parts = []
    for table in tables:
        heads = (
            [" ".join(line) for line in zip(*table.heads, strict=True)] if table.heads else [""] * len(table.columns)
        )
        names = [column_heading(column)[0] for column in table.columns]
        head = [f"{above}: {name}" if above else name for above, name in zip(heads, names, strict=True)]
        body = [
            [text(title), *(_markdown_cell(cell) for cell in cells)]
            for _, rows in table.groups
            for _, title, cells in rows
        ]
        notes = [f"{number}. {text(note)}" for number, note in enumerate(table.notes, 1)]
        parts += [text(caption_of(table)[0]), markdown_table([table.stub, *head], body)]
        parts += ["\n".join(notes)] if notes else []
    return "\n\n".join(parts) + "\n"


def _markdown_cell(cell: Cell) -> str:
    value = {1: f"**{cell.text}**", 2: f"<u>{cell.text}</u>"}.get(cell.place, text(cell.text))
    value += r"\*" if cell.significant else ""
    if cell.spread:
        value += f" {cell.spread}" if cell.spread.startswith("[") else f" ± {cell.spread}"
    return value + "".join(f"<sup>{number}</sup>" for number in cell.notes)


def to_csv(tables: Sequence[PaperTable]) -> str:
    """The tables as CSV, one below the other: axis values by name instead of title in the head, numbers unrounded.

    A title that begins with =, +, - or @ gets an apostrophe before it, so that no spreadsheet evaluates it.
    """
    buffer = StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    for table in tables:
        kinds = [
            dict.fromkeys(kind for _, rows in table.groups for _, _, cells in rows for kind in cells[place].values)
            for place in range(len(table.columns))
        ]
        head = [
            "/".join([*table.name, *column.point, column.metric.name, kind])
            for column, some in zip(table.columns, kinds, strict=True)
            for kind in (some or {"mean": None})
        ]
        writer.writerow(["group", "name", "title", *head])
        for group, rows in table.groups:
            for name, title, cells in rows:
                numbers = [
                    cell.values.get(kind, "" if cell.values or not place else cell.text)
                    for cell, some in zip(cells, kinds, strict=True)
                    for place, kind in enumerate(some or {"mean": None})
                ]
                writer.writerow([harmless(group), name, harmless(title), *numbers])
    return buffer.getvalue()


def harmless(title: str) -> str:
    """A title on one line that no spreadsheet interprets as a formula."""
    line = one_line(title)
    return f"'{line}" if line.startswith(FORMULA) else line
