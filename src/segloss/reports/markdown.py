"""Markdown: plain text as it was typed, and tables."""

import re
from collections.abc import Sequence

# ASCII punctuation after a backslash is literal (CommonMark 2.4); an underscore inside a word is not emphasis.
SPECIAL = re.compile(r"[\\`*\[\]|$~#]|(?<![^\W_])_|_(?![^\W_])")
ENTITY = re.compile(r"&(?=#?\w+;)")


def text(plain: str) -> str:
    """Plain text for Markdown: shown as typed, on one line, with nothing in it interpreted as markup or HTML."""
    line = " ".join(str(plain).split())
    line = SPECIAL.sub(r"\\\g<0>", line)
    return ENTITY.sub("&amp;", line).replace("<", "&lt;").replace(">", "&gt;")


def table(head: Sequence[str], body: Sequence[Sequence[str]], left: int = 1) -> str:
    """A table: words left-aligned, numbers right-aligned.

    Args:
        head: Plain text.
        body: Rows of Markdown; plain text in it goes through `text` first.
        left: Number of leading columns, those of words.
    """
    lines = [list(map(text, head)), *body]
    rule = "|" + ":--|" * left + "--:|" * (len(head) - left)
    first, *others = ("| " + " | ".join(line) + " |" for line in lines)
    return "\n".join([first, rule, *others])
