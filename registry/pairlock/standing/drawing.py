"""Lineage as plain text: trees of box-drawing characters, every fact in words. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from pairlock.plain_text import printable, wrapped
from pairlock.standing.building import BY_LEDGER
from pairlock.standing.graph import By, Condition, Edge, EdgeKind, Graph, Node, NodeKind
from pairlock.standing.walking import Branch
from pairlock.wording import counted

WIDTH = 80
"""Columns that a line takes at most."""

_LEAST = 20
"""Columns that are left for words, however deep the tree."""


@dataclass(frozen=True, slots=True)
class _Line:
    """Words in a tree, and what hangs on them."""

    words: str
    below: tuple[_Line, ...] = ()


def draw_up(graph: Graph, roots: Sequence[Branch]) -> str:
    """What nodes stand on.

    Args:
        graph: of the registry.
        roots: one tree for each node.
    """
    return "\n".join(_draw([_up(graph, root) for root in roots]))


def draw_down(graph: Graph, root: Branch) -> str:
    """What stands on a node, adapters by their registered models.

    Args:
        graph: of the registry.
        root: the tree.
    """
    return "\n".join(_draw([_Line("", tuple(_hanging(graph, root)))])) or "nothing"


def draw_sentence(text: str) -> str:
    """A sentence, in lines."""
    return "\n".join(wrapped(printable(text), WIDTH))


def _up(graph: Graph, branch: Branch) -> _Line:
    below = [_up(graph, one) for one in branch.branches]
    if branch.cut:
        below.append(_Line(f"… {branch.cut} more, which the depth leaves out"))
    return _Line(_describe(graph, branch, upwards=True), tuple(below))


def _down(graph: Graph, branch: Branch, *, short: bool) -> _Line:
    return _Line(_describe(graph, branch, short=short), tuple(_hanging(graph, branch)))


def _hanging(graph: Graph, branch: Branch) -> Iterator[_Line]:
    """Stages and indexes, then every adapter with its versions."""
    for adapter, found in groupby(branch.branches, key=_adapter):
        if adapter is None:
            yield from (_down(graph, one, short=False) for one in found)
            continue
        versions = tuple(_down(graph, one, short=True) for one in found)
        count = counted(len(versions), "version")
        yield _Line(f"{adapter}: {count}", versions)
    if branch.cut:
        yield _Line(f"… {branch.cut} more, which the depth leaves out")


def _adapter(branch: Branch) -> str | None:
    is_version = branch.node.kind is NodeKind.VERSION and branch.node.version is not None
    return branch.node.model if is_version else None


def _describe(graph: Graph, branch: Branch, *, short: bool = False, upwards: bool = False) -> str:
    """A branch in words: what it is, how it hangs here, what is wrong."""
    node, edge = branch.node, branch.edge
    facts = [node.what] if node.what and node.kind is not NodeKind.STAGE else []
    if upwards and edge is not None and (stages := stages_of(graph, node)):
        facts.append(f"in {', '.join(stages)}")
    if edge is not None:
        facts += _hangs(edge)
    facts += node.notes
    if edge is not None and edge.condition.is_bad and not node.condition.is_bad:
        facts.append(edge.condition.value.upper())
    if node.condition.is_bad or node.condition is Condition.UNKNOWN:
        facts.append(f"{node.condition.value.upper()}: {node.problem}")
    if branch.cycle:
        facts.append("CHANGED: it stands on itself")
    return f"{_name(node, short=short)}{'  ' if facts else ''}{'; '.join(facts)}"


def _hangs(edge: Edge) -> Iterator[str]:
    """How something hangs on something, where that is not by its name."""
    if edge.named and not edge.note.startswith(edge.named):
        yield f"pinned as {edge.named}" if edge.kind is EdgeKind.STANDS_ON else edge.named
    if edge.by is By.CONTENT:
        yield f"found by its content: {edge.note}" if edge.note else "found by its content"
    elif edge.note:
        yield edge.note


def _name(node: Node, *, short: bool) -> str:
    if node.kind is NodeKind.STAGE:
        return f"stage {node.title}" if node.what == BY_LEDGER else f"{node.title}, {node.what}"
    if node.kind is NodeKind.INDEX:
        return f"index {node.title}"
    return f"version {node.version}" if short else node.title


def stages_of(graph: Graph, node: Node) -> list[str]:
    """Titles of the stages, and other aliases, that hold a node."""
    return [
        graph.nodes[edge.source].title
        for edge in graph.below.get(node.id, ())
        if edge.kind is EdgeKind.HOLDS
    ]


def _draw(lines: Iterable[_Line]) -> Iterator[str]:
    for line in lines:
        if line.words:
            yield from wrapped(printable(line.words), WIDTH)
        yield from _draw_below(line.below, "")


def _draw_below(lines: Sequence[_Line], before: str) -> Iterator[str]:
    for number, line in enumerate(lines, start=1):
        is_last = number == len(lines)
        inside = before + ("    " if is_last else "│   ")
        words = wrapped(printable(line.words), max(_LEAST, WIDTH - len(inside)))
        yield f"{before}{'└── ' if is_last else '├── '}{words[0]}"
        more = inside + ("│ " if line.below else "  ")
        for rest in wrapped(" ".join(words[1:]), max(_LEAST, WIDTH - len(more))):
            if rest:
                yield more + rest
        yield from _draw_below(line.below, inside)
