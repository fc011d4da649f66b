"""Lineage as a Mermaid flowchart, which GitHub, GitLab and MLflow's descriptions draw. No I/O.

Names come from whoever may write to a registry: in a label every character but letters, digits and
a few signs is written as its number, so that no name ends a label or is markup.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from pairlock.standing.graph import Condition, Edge, EdgeKind, Node, NodeKind

_SHAPES = {
    NodeKind.VERSION: ('["', '"]'),
    NodeKind.BASE: ('[("', '")]'),
    NodeKind.STAGE: ('(["', '"])'),
    NodeKind.INDEX: ('[["', '"]]'),
}
_WORDS = {
    EdgeKind.STANDS_ON: "-->|stands on|",
    EdgeKind.HOLDS: "-->|holds|",
    EdgeKind.BUILT_WITH: "-.->|built with|",
    EdgeKind.SAME_PACKAGE: "---|same package|",
}
_SAFE = frozenset(" ./-_,:@")


def flowchart(nodes: Sequence[Node], edges: Iterable[Edge]) -> str:
    """The flowchart, a line for each node and edge.

    Args:
        nodes: what is drawn.
        edges: between any nodes; those between two that are drawn are drawn.
    """
    drawn = {node.id for node in nodes}
    lines = ["flowchart TD"]
    for node in nodes:
        begin, end = _SHAPES[node.kind]
        bad = ":::bad" if node.condition.is_bad else ""
        lines.append(f"  {_id(node.id)}{begin}{_label(node)}{end}{bad}")
    lines += [
        f"  {_id(edge.source)} {_WORDS[edge.kind]} {_id(edge.target)}"
        for edge in edges
        if edge.source in drawn and edge.target in drawn
    ]
    lines.append("  classDef bad stroke:#b00020,stroke-width:3px")
    return "\n".join(lines)


def escaped(text: str) -> str:
    """Text for a label in double quotes, by Mermaid's entity codes (`#` number `;`)."""
    return "".join(
        one if (one.isalnum() and one.isprintable()) or one in _SAFE else f"#{ord(one)};"
        for one in " ".join(text.split())
    )


def _id(node: str) -> str:
    """An id of letters and digits. No word of Mermaid's own begins like it."""
    return f"n{hashlib.sha256(node.encode(errors='surrogatepass')).hexdigest()[:12]}"


def _label(node: Node) -> str:
    kind = node.kind.value if node.kind is not NodeKind.VERSION else ""
    words = [" ".join(filter(None, [kind, node.title]))]
    if node.what:
        words.append(node.what)
    if node.condition not in {Condition.SOUND, Condition.OUTSIDE}:
        words.append(f"{node.condition.value.upper()}, {node.problem}")
    return escaped(", ".join(words))
