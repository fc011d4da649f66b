"""A difference as a table for a person. No I/O."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pairlock.comparing.difference import Change, Difference, FileChange
from pairlock.plain_text import columns_of, printable, wrapped
from pairlock.profiling import describe_profile

NAME_WIDTH = 30
VALUE_WIDTH = 33
"""Columns of a name, and of each value: a line takes at most 100."""

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_GAP = "  "
Cells = tuple[str, str, str]


def table_of(difference: Difference, *, everything: bool = False) -> str:
    """The difference as text.

    Args:
        difference: what to write.
        everything: whether to write also what is the same.
    """
    blocks = [_lines([("", difference.before, difference.after)])]
    facts = [_fact(row.section, row.name, row.before, row.after)
             for row in difference.rows if everything or not row.same]  # fmt: skip
    files = [file for file in difference.files if everything or file.change is not Change.SAME]
    blocks.append(_lines(facts))
    blocks.append("\n".join(line for file in files for line in _paragraph(_file(file))))
    blocks.append("\n".join(_verdicts(difference)))
    if not everything:
        blocks.append("\n".join(wrapped(_alike(difference), 100)))
    return "\n\n".join(filter(None, blocks))


def _fact(section: str, name: str, before: Any, after: Any) -> Cells:
    show = _profile if section == "profiles" else _value
    label = name if section in {"package", "stages"} else f"{section}: {name}"
    return label.replace("_", " "), show(before), show(after)


def _value(value: Any) -> str:
    if value is None:
        return "–"  # noqa: RUF001 - a dash in an empty cell
    if isinstance(value, str) and _DIGEST.fullmatch(value):
        return f"{value[:23]}…"  # 16 digits; JSON has all of them
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value if value.strip() == value and value else json.dumps(value, ensure_ascii=False)
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return ", ".join(value) or "none"
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def _profile(data: Mapping[str, Any] | None) -> str:
    return "–" if data is None else describe_profile(data)  # noqa: RUF001 - as above


def _file(file: FileChange) -> str:
    role = f" ({file.role})" if file.role else ""
    if file.size_before == file.size_after:
        sizes = f"{_size(file.size_after)} in both"
    elif None in {file.size_before, file.size_after}:
        sizes = _size(file.size_after if file.size_before is None else file.size_before)
    else:
        sizes = f"{_size(file.size_before)}, then {_size(file.size_after)}"
    return f"file {file.change.value}: {file.path}{role}, {sizes}"


def _size(count: int | None) -> str:
    return f"{count:,} bytes"


def _verdicts(difference: Difference) -> Iterator[str]:
    golden, space = difference.golden, difference.space
    if golden.reason:
        yield from _paragraph(f"golden vectors: not compared: {golden.reason}")
    for role, found in golden.figures.items():
        figures = ", ".join(
            f"{words} {found[name]:.2g}"
            for name, words in (
                ("one_minus_cosine", "1 - cosine at most"),
                ("mean_one_minus_cosine", "mean"),
                ("max_abs", "max abs"),
            )
            if name in found
        )
        yield from _paragraph(f"golden vectors as {role}, {found['texts']:.0f} texts: {figures}")
    yield from _paragraph(f"re-index: {space.verdict.value}: {space.detail}")
    for one in difference.unknown:
        yield from _paragraph(f"not known: {one}")


def _alike(difference: Difference) -> str:
    """One line that says what is left out."""
    rows = [row for row in difference.rows if row.same]
    files = sum(file.change is Change.SAME for file in difference.files)
    sections: dict[str, int] = {}
    for row in rows:
        sections[row.section] = sections.get(row.section, 0) + 1
    whole = {row.section for row in difference.rows} - {
        row.section for row in difference.rows if not row.same
    }
    parts = [
        f"all of {section}" if section in whole else f"{count} of {section}"
        for section, count in sections.items()
    ]
    parts.append(f"{files} of {len(difference.files)} files")
    start = "one package, byte for byte; the same" if difference.same else "the same"
    return f"{start}: {', '.join(parts)}"


def _paragraph(text: str) -> list[str]:
    return wrapped(printable(text), 100)


def _lines(rows: Sequence[Cells]) -> str:
    return "\n".join(line for row in rows for line in _row(row))


def _row(cells: Cells) -> Iterator[str]:
    widths = (NAME_WIDTH, VALUE_WIDTH, VALUE_WIDTH)
    lines = [wrapped(printable(cell), width) for cell, width in zip(cells, widths, strict=True)]
    for number in range(max(map(len, lines))):
        parts = [column[number] if number < len(column) else "" for column in lines]
        padded = [
            part + " " * (width - columns_of(part))
            for part, width in zip(parts, widths, strict=True)
        ]
        yield _GAP.join(padded).rstrip()
