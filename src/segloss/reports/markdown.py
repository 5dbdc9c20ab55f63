"""Markdown: plain text as it was typed, and tables."""

import re
from collections.abc import Sequence

# ASCII punctuation after a backslash is itself (CommonMark 2.4); an underscore inside a word is no emphasis.
SPECIAL = re.compile(r"[\\`*\[\]|$~#]|(?<![^\W_])_|_(?![^\W_])")
ENTITY = re.compile(r"&(?=#?\w+;)")


def text(plain: str) -> str:
    """Plain text for Markdown: it is shown as it was typed, on one line, and nothing in it is markup or HTML."""
    line = " ".join(str(plain).split())
    line = SPECIAL.sub(r"\\\g<0>", line)
    return ENTITY.sub("&amp;", line).replace("<", "&lt;").replace(">", "&gt;")


def table(head: Sequence[str], body: Sequence[Sequence[str]], left: int = 1) -> str:
    """A table: words to the left, numbers to the right.

    Args:
        head: Plain text.
        body: Rows of Markdown; plain text in it goes through `text` first.
        left: The first columns, those of words.
    """
    lines = [list(map(text, head)), *body]
    rule = "|" + ":--|" * left + "--:|" * (len(head) - left)
    first, *others = ("| " + " | ".join(line) + " |" for line in lines)
    return "\n".join([first, rule, *others])
