"""Numbers in sentences."""

from __future__ import annotations


def counted(count: int, one: str, many: str = "") -> str:
    """A number of things: `1 entry`, `2 entries`.

    Args:
        count: how many.
        one: the word for one of them.
        many: the word for several; that for one with an `s` where it is left out.
    """
    return f"{count} {one if count == 1 else many or one + 's'}"
