"""Text that fits a width: what is too long goes on in the next line, and nothing is cut off."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pairlock.plain_text import columns_of

_GAP = "  "
_LEAST = 8
"""No column becomes narrower for another one's sake."""


def wrapped_columns(rows: Sequence[Sequence[str]], *, width: int) -> Iterator[str]:
    """Rows as lines of at most `width` places, unless there are too many columns for that.

    Columns are broken at spaces as long as that is enough, and anywhere where it is not.

    Args:
        rows: of equal length; no cell has a line end.
        width: places of the terminal.
    """
    columns = range(len(rows[0]))
    widths = [min(max(columns_of(row[i]) for row in rows), width) for i in columns]
    words = [max(columns_of(word) for row in rows for word in row[i].split(" ")) for i in columns]
    room = width - len(_GAP) * (len(widths) - 1)
    for floors in (words, [0] * len(widths)):
        _shrink(widths, [max(floor, _LEAST) for floor in floors], room)
    for row in rows:
        parts = [list(_broken(cell, size)) for cell, size in zip(row, widths, strict=True)]
        for number in range(max(map(len, parts))):
            line = [part[number] if number < len(part) else "" for part in parts]
            yield _GAP.join(
                text + " " * (size - columns_of(text))
                for text, size in zip(line, widths, strict=True)
            ).rstrip()


def labelled(label: str, text: str, *, indent: int, width: int) -> Iterator[str]:
    """A label and a text beside it, in lines of at most `width` places.

    A word that is longer than that stays whole, so that it can be copied.

    Args:
        label: shorter than `indent`.
        text: without line ends.
        indent: where the text begins, in each line.
        width: places of the terminal.
    """
    for number, line in enumerate(_lines(text, width - indent)):
        yield f"{label if number == 0 else '':<{indent}}{line}".rstrip()


def _shrink(widths: list[int], floors: list[int], room: int) -> None:
    """Take places from the widest columns, one by one, until there is room."""
    for _ in range(sum(widths) - room):
        over = [i for i, size in enumerate(widths) if size > floors[i]]
        if not over:
            return
        widths[max(over, key=lambda i: widths[i])] -= 1


def _lines(text: str, width: int) -> Iterator[str]:
    """Broken at spaces."""
    line = ""
    for word in text.split(" "):
        longer = f"{line} {word}" if line else word
        if line and columns_of(longer) > width:
            yield line
            line = word
        else:
            line = longer
    yield line


def _broken(text: str, width: int) -> Iterator[str]:
    """Broken at spaces, and where there are none, anywhere."""
    if columns_of(text) <= width:
        yield text
        return
    for line in _lines(text, width):
        yield from _pieces(line, width)


def _pieces(line: str, width: int) -> Iterator[str]:
    piece, taken = "", 0
    for char in line:
        places = columns_of(char)
        if piece and taken + places > width:
            yield piece
            piece, taken = "", 0
        piece += char
        taken += places
    yield piece
