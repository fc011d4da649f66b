"""Measurements as an SVG picture that a page of the docs can show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from statistics import median

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BELOW = 680, 340, 56, 20, 24, 78
_COLOURS = ("#767676", "#c1344d", "#2c5f8a", "#27824f", "#8a5a00", "#6a4c93")


def write_lines(
    path: Path, title: str, across: Sequence[float], lines: dict[str, Sequence[float]], unit: str
) -> None:
    """Draw one line for each side, both axes from zero.

    Args:
        path: the file.
        title: what a screen reader reads, and what stands above.
        across: where the points are, such as numbers of versions.
        lines: the value at each point, by side; at most six.
        unit: what the values are.
    """
    most_across, most = max(across), max(max(values) for values in lines.values())

    def place(x: float, value: float) -> tuple[float, float]:
        return (
            _LEFT + x / most_across * (_WIDTH - _LEFT - _RIGHT),
            _TOP + (1 - value / most) * (_HEIGHT - _TOP),
        )

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT + _BELOW}" '
        'font-family="sans-serif" font-size="12" role="img">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT + _BELOW}" fill="white"/>',
        f'<text x="{_LEFT}" y="14">{escape(unit)}</text>',
    ]
    for step in range(5):
        x, y = place(0, most * step / 4)
        parts.append(f'<line x1="{x}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}" stroke="#dddddd"/>')
        parts.append(
            f'<text x="{x - 6}" y="{y + 4:.0f}" text-anchor="end">{most * step / 4:.1f}</text>'
        )
    parts += [
        f'<text x="{place(x, 0)[0]:.0f}" y="{_HEIGHT + 18}" '
        f'text-anchor="{"end" if x == most_across else "middle"}">'
        f"{f'{x:,.0f}'.replace(',', ' ')}</text>"
        for x in across
    ]
    for number, (name, values) in enumerate(lines.items()):
        colour = _COLOURS[number]
        points = [place(x, value) for x, value in zip(across, values, strict=True)]
        text = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{text}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points]
        x, y = _LEFT + number % 3 * 200, _HEIGHT + 44 + number // 3 * 20
        parts.append(f'<text x="{x}" y="{y}" fill="{colour}">&#9632; {escape(name)}</text>')
    path.write_text("\n".join([*parts, "</svg>", ""]), encoding="utf-8")


def write_bars(path: Path, title: str, rows: Mapping[str, Sequence[float]], unit: str) -> None:
    """Draw a bar for each side from zero to its median, and a line from its least to its most.

    Args:
        path: the file.
        title: what a screen reader reads.
        rows: what each side gave, by side, from the top.
        unit: what the values are.
    """
    left, row = 300, 26
    most = max(max(values) for values in rows.values())
    height = _TOP + row * len(rows) + 12

    def place(value: float) -> float:
        return left + value / most * (_WIDTH - left - 70)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        'font-family="sans-serif" font-size="12" role="img">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{_WIDTH}" height="{height}" fill="white"/>',
        f'<text x="{left}" y="14">{escape(unit)}</text>',
    ]
    for number, (name, values) in enumerate(rows.items()):
        y, value = _TOP + number * row, median(values)
        middle = y + 9
        colour = _COLOURS[2] if name.startswith("pairlock") else _COLOURS[0]
        parts += [
            f'<text x="{left - 8}" y="{y + 13}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{left}" y="{y}" width="{place(value) - left:.1f}" height="18" '
            f'fill="{colour}"/>',
            f'<line x1="{place(min(values)):.1f}" x2="{place(max(values)):.1f}" y1="{middle}" '
            f'y2="{middle}" stroke="#111111" stroke-width="2"/>',
            f'<text x="{place(max(values)) + 6:.1f}" y="{y + 13}">{value:.2f}</text>',
        ]
    path.write_text("\n".join([*parts, "</svg>", ""]), encoding="utf-8")
