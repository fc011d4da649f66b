"""Where every node of the graph is drawn: columns of boxes, with the lines between them. Pure.

Bases and full models stand on the left, the adapters that stand on them beside them, then stages,
then indexes. A column's boxes lie in the order of what they are linked to, so that few lines cross.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pairlock.standing.graph import EdgeKind, Graph, Node, NodeKind

BOX_WIDTH = 200
BOX_HEIGHT = 40
_COLUMN_GAP = 90
_ROW_GAP = 12
_MARGIN = 16
_TITLES = ("bases and full models", "adapters", "stages", "indexes")
_HEAD = 28


@dataclass(frozen=True, slots=True)
class Box:
    """One node, drawn. In SVG's user units, from the upper left corner."""

    node: Node
    x: int
    y: int


@dataclass(frozen=True, slots=True)
class Line:
    """One edge, drawn as a cubic curve."""

    kind: EdgeKind
    source: str
    target: str
    path: str
    """SVG path data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """The whole graph, drawn."""

    width: int
    height: int
    titles: tuple[tuple[str, int], ...]
    """Columns that hold anything: what is in them, and where."""

    boxes: tuple[Box, ...]
    """Column by column, from top to bottom: the order in which a keyboard reaches them."""

    lines: tuple[Line, ...]


def draw(graph: Graph) -> Drawing:
    """Place every node and every edge.

    Args:
        graph: what stands on what.
    """
    columns = _columns(graph)
    used = [index for index, column in enumerate(columns) if column]
    linked = _linked(graph)
    rows: dict[str, float] = {}
    placed: list[Box] = []
    titles = []
    # the column with most boxes is laid out first; the others follow it to both sides
    order = _order(used, columns)
    for index in order:
        rows |= _rows(columns[index], linked, rows)
    for position, index in enumerate(used):
        x = _MARGIN + position * (BOX_WIDTH + _COLUMN_GAP)
        titles.append((_TITLES[index], x))
        for node_id in sorted(columns[index], key=lambda one: (rows[one], one)):
            y = _MARGIN + _HEAD + round(rows[node_id] * (BOX_HEIGHT + _ROW_GAP))
            placed.append(Box(graph.nodes[node_id], x, y))
    at = {box.node.id: box for box in placed}
    lines = tuple(
        Line(edge.kind, edge.source, edge.target, _curve(at[edge.source], at[edge.target]))
        for edge in graph.edges
        if edge.source in at and edge.target in at
    )
    return Drawing(
        width=max((box.x + BOX_WIDTH for box in placed), default=BOX_WIDTH) + _MARGIN,
        height=max((box.y + BOX_HEIGHT for box in placed), default=BOX_HEIGHT) + _MARGIN,
        titles=tuple(titles),
        boxes=tuple(placed),
        lines=lines,
    )


def _columns(graph: Graph) -> list[list[str]]:
    stands = {edge.source for edge in graph.edges if edge.kind is EdgeKind.STANDS_ON}
    columns: list[list[str]] = [[], [], [], []]
    for node in graph.nodes.values():
        if node.kind is NodeKind.STAGE:
            columns[2].append(node.id)
        elif node.kind is NodeKind.INDEX:
            columns[3].append(node.id)
        else:
            columns[1 if node.id in stands else 0].append(node.id)
    return [sorted(column) for column in columns]


def _linked(graph: Graph) -> Mapping[str, Sequence[str]]:
    found: defaultdict[str, list[str]] = defaultdict(list)
    for edge in graph.edges:
        found[edge.source].append(edge.target)
        found[edge.target].append(edge.source)
    return found


def _order(used: list[int], columns: list[list[str]]) -> list[int]:
    if not used:
        return []
    first = max(used, key=lambda index: (len(columns[index]), -index))
    return [first, *sorted((one for one in used if one != first), key=lambda one: abs(one - first))]


def _rows(
    column: Iterable[str], linked: Mapping[str, Sequence[str]], rows: Mapping[str, float]
) -> dict[str, float]:
    """A row for each box: beside the middle of what it is linked to, and none over another."""

    def wanted(node_id: str) -> float | None:
        found = [rows[other] for other in linked.get(node_id, ()) if other in rows]
        return sum(found) / len(found) if found else None

    wishes = {node_id: wanted(node_id) for node_id in column}
    free = [node_id for node_id, wish in wishes.items() if wish is None]
    result: dict[str, float] = {}
    lowest = 0.0
    tied = sorted((wish, node_id) for node_id, wish in wishes.items() if wish is not None)
    for wish, node_id in tied:
        result[node_id] = lowest = max(wish, lowest)
        lowest += 1
    # what is linked to nothing that was placed goes below; grouped with others of its own base
    for node_id in sorted(free, key=lambda one: (min(linked.get(one, ("~",))), one)):
        result[node_id] = lowest
        lowest += 1
    return result


def _curve(source: Box, target: Box) -> str:
    """From the nearer side of one box to the nearer side of the other."""
    start_y, end_y = source.y + BOX_HEIGHT // 2, target.y + BOX_HEIGHT // 2
    if source.x == target.x:  # copies of one package: an arc on the left
        x = source.x
        return f"M{x} {start_y}C{x - 30} {start_y} {x - 30} {end_y} {x} {end_y}"
    if source.x > target.x:
        start_x, end_x = source.x, target.x + BOX_WIDTH
    else:
        start_x, end_x = source.x + BOX_WIDTH, target.x
    middle = (start_x + end_x) // 2
    return f"M{start_x} {start_y}C{middle} {start_y} {middle} {end_y} {end_x} {end_y}"
