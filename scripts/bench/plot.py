"""Measurements as an SVG picture that a page of the docs can show."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

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
        f'<text x="{place(x, 0)[0]:.0f}" y="{_HEIGHT + 18}" text-anchor="middle">'
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
