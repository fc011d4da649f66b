"""Text for a terminal: nothing in it acts on the terminal, and lines are as wide as they look."""

from __future__ import annotations

import unicodedata


def printable(text: str) -> str:
    r"""Text whose every character shows itself.

    Names come from whoever may write to a registry. Control characters, and those that turn the
    direction of writing, are written as Python writes them: `\x1b`.
    """
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in text
    )


def columns_of(text: str) -> int:
    """How many columns of a terminal a text takes (Unicode Standard Annex 11)."""
    if text.isascii():
        return len(text)
    return sum(_width(one) for one in text)


def wrapped(text: str, width: int) -> list[str]:
    """Lines of at most `width` columns, broken at spaces, and within words that are longer.

    Args:
        text: one paragraph.
        width: at least 2, which is what one character may take.
    """
    lines = [""]
    for word in text.split(" "):
        joined = f"{lines[-1]} {word}" if lines[-1] else word
        if columns_of(joined) <= width:
            lines[-1] = joined
            continue
        if lines[-1]:
            lines.append("")
        for one in word:
            if columns_of(lines[-1] + one) > width:
                lines.append("")
            lines[-1] += one
    return lines


def _width(one: str) -> int:
    if unicodedata.combining(one):
        return 0
    return 2 if unicodedata.east_asian_width(one) in {"W", "F"} else 1
