"""Foreign text as text that can be shown: names, tags and paths may hold anything."""

from __future__ import annotations


def plain(text: str) -> str:
    """The text with everything that is not printable written as a backslash escape.

    That is line ends, terminal escapes, marks that turn the direction of writing, and what is no
    Unicode. A space is printable.
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )
