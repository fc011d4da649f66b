"""Text from names and tags in Markdown: as it is, and never markup."""

from __future__ import annotations

from pairlock.plain_text import printable


def code(text: str) -> str:
    """A text as a code span, in which no Markdown and no HTML means anything.

    Backticks become apostrophes: nothing escapes them in a span. Line breaks, and whatever else
    does not show itself, are written as Python writes them.
    """
    return f"`{printable(text).replace('`', chr(39))}`" if text.strip() else "none"
