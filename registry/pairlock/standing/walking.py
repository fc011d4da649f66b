"""Goes down from a node to what stands on it, and up to what it stands on. No I/O."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pairlock.standing.graph import By, Condition, Edge, EdgeKind, Graph, Node, NodeKind

DEEPEST = 50
"""Steps after which every tree ends: a load takes one, and manifests made by hand may name more."""

_ORDER = {NodeKind.STAGE: 0, NodeKind.INDEX: 1, NodeKind.BASE: 2, NodeKind.VERSION: 3}


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """A node in a tree, and what hangs on it."""

    node: Node
    edge: Edge | None
    """How it hangs on the branch before it; None for a root."""

    branches: tuple[Branch, ...] = ()
    cut: int = 0
    """How many branches there are that the depth limit leaves out."""

    cycle: bool = False
    """It is on the way to itself, which only registries can be that were tampered with."""

    def walk(self) -> Iterator[Branch]:
        """This branch and everything on it."""
        waiting = [self]
        while waiting:
            branch = waiting.pop()
            yield branch
            waiting += reversed(branch.branches)

    def to_dict(self) -> dict[str, Any]:
        """The branch as JSON data; nodes by their ids."""
        return {
            "node": self.node.id,
            "relation": None if self.edge is None else self.edge.kind.value,
            "by": None if self.edge is None else self.edge.by.value,
            "cut": self.cut,
            "cycle": self.cycle,
            "branches": [branch.to_dict() for branch in self.branches],
        }


def what_stands_on(
    graph: Graph, root: str, *, depth: int | None = None, copies: bool = True
) -> Branch:
    """What stands on a node: its stages, the indexes built with it, adapters, and what they carry.

    What stands on a copy of it stands on it, too.

    Args:
        graph: of the registry.
        root: a node's id.
        depth: how many steps to go; None for all, which is `DEEPEST`.
        copies: whether to show what stands on copies of it.
    """
    return _grow(graph, root, None, _steps(depth), up=False, path=frozenset(), copies=copies)


def what_it_stands_on(graph: Graph, root: str, *, depth: int | None = None) -> Branch:
    """What a node stands on: its base, and what that stands on.

    Args:
        graph: of the registry.
        root: a node's id.
        depth: how many steps to go; None for all, which is `DEEPEST`.
    """
    return _grow(graph, root, None, _steps(depth), up=True, path=frozenset())


def worst(branch: Branch) -> Condition:
    """The worst that is so of a tree upwards: bad before unknown before everything else."""
    found = {
        condition
        for one in branch.walk()
        for condition in (
            one.node.condition,
            Condition.SOUND if one.edge is None else one.edge.condition,
        )
    }
    if any(one.cycle for one in branch.walk()):
        found.add(Condition.CHANGED)
    for condition in (Condition.MISSING, Condition.CHANGED, Condition.UNKNOWN):
        if condition in found:
            return condition
    return Condition.SOUND


def _steps(depth: int | None) -> int:
    return DEEPEST if depth is None else min(depth, DEEPEST)


def _grow(
    graph: Graph,
    node: str,
    edge: Edge | None,
    depth: int,
    *,
    up: bool,
    path: frozenset[str],
    copies: bool = False,
) -> Branch:
    found = graph.nodes[node]
    if node in path:
        return Branch(node=found, edge=edge, cycle=True)
    if up:
        steps = [(one, one.target) for one in graph.above.get(node, ())]
    else:
        steps = [(one, one.source) for one in _below(graph, node, copies=copies)]
    steps.sort(key=lambda step: _key(graph.nodes[step[1]], step[0]))
    if depth == 0:
        return Branch(node=found, edge=edge, cut=len(steps))
    # one content is passed once: what is pinned to it stands on every copy of it
    passed = path | {node} | (frozenset() if up else frozenset(graph.same(node)))
    return Branch(
        node=found,
        edge=edge,
        branches=tuple(
            _grow(graph, target, step, depth - 1, up=up, path=passed) for step, target in steps
        ),
    )


def _below(graph: Graph, node: str, *, copies: bool) -> Iterator[Edge]:
    """Edges to what stands on a node, or on a copy of it.

    A stage holds one version, and an index was built with one: they hang on the copy that they
    name, unless that is not in the tree.
    """
    for other in graph.same(node):
        for edge in graph.below.get(other, ()):
            if other == node or (copies and edge.kind is not EdgeKind.HOLDS):
                yield edge


def _key(node: Node, edge: Edge) -> tuple[int, str, int, str, bool]:
    return _ORDER[node.kind], node.model or "", node.version or 0, node.title, edge.by is By.CONTENT
