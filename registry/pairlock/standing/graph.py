"""Bases, versions, stages and indexes, and what holds them together. Data only.

Edges are as many as versions, stages and indexes are: copies of one package are linked in a star,
and whatever stands on a package has one edge, to the copy that a load takes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any


class NodeKind(StrEnum):
    """What a node is."""

    VERSION = "version"
    """A registered version, also one that is gone and that something still stands on."""

    BASE = "base"
    """A base that is no registered version: a folder, a hub snapshot, another store's."""

    STAGE = "stage"
    """A stage of the ledger, or an alias that the ledger does not know."""

    INDEX = "index"
    """A stamped index."""


class Condition(StrEnum):
    """Whether what stands on something still stands."""

    SOUND = "sound"
    """Everything that was looked at is as it should be."""

    OUTSIDE = "outside"
    """It is not in the registry, and its bytes were not looked at."""

    UNKNOWN = "unknown"
    """It could not be looked at."""

    MISSING = "missing"
    """It is not there any more."""

    CHANGED = "changed"
    """It is there, and is not what it was."""

    @property
    def is_bad(self) -> bool:
        """Whether a load is refused."""
        return self in {Condition.MISSING, Condition.CHANGED}


class EdgeKind(StrEnum):
    """What an edge says of its two ends."""

    STANDS_ON = "stands-on"
    """An adapter's version, and its base."""

    HOLDS = "holds"
    """A stage, and the version that is in it."""

    SAME_PACKAGE = "same-package"
    """Two versions that are one package, byte for byte, or a version and a base of equal files."""

    BUILT_WITH = "built-with"
    """An index, and the version that its stamp names."""


class By(StrEnum):
    """How the end of an edge was found."""

    NAME = "name"
    """Under the name that is written down, and with the digest, where one is."""

    CONTENT = "content"
    """By its digest, under another name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One thing in a registry, or beside it."""

    id: str
    """Names it in every answer, until it is another thing: a version's and a stage's URI, `base:`
    with a tree digest, `package:` with a package digest, `index:` with a place."""

    kind: NodeKind
    title: str
    """What a person calls it."""

    what: str = ""
    """What it is, in a few words, such as a package's kind."""

    digest: str | None = None
    """Package digest of a version; tree digest of a base; package digest of an index's stamp."""

    model: str | None = None
    """The registered model that it belongs to."""

    version: int | None = None
    condition: Condition = Condition.SOUND
    problem: str = ""
    """Why it is not sound, in words."""

    findable: bool = False
    """Whether a load that looks for its package digest finds it."""

    notes: tuple[str, ...] = ()
    """What else is worth knowing, in words."""

    def to_dict(self) -> dict[str, Any]:
        """The node as JSON data."""
        return {
            "id": self.id,
            "kind": self.kind.value,
            "title": self.title,
            "what": self.what,
            "digest": self.digest,
            "model": self.model,
            "version": self.version,
            "condition": self.condition.value,
            "problem": self.problem,
            "findable": self.findable,
            "notes": list(self.notes),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """A link from one node to another."""

    kind: EdgeKind
    source: str
    target: str
    by: By = By.NAME
    named: str = ""
    """What is written down, where that is not the target's own name: a pin's or a stamp's URI."""

    condition: Condition = Condition.SOUND
    """Of this link alone: a base that is gone from where this one pinned it."""

    note: str = ""
    """What is worth knowing of it, in words."""

    def to_dict(self) -> dict[str, Any]:
        """The edge as JSON data."""
        return {
            "kind": self.kind.value,
            "source": self.source,
            "target": self.target,
            "by": self.by.value,
            "named": self.named,
            "condition": self.condition.value,
            "note": self.note,
        }


@dataclass(frozen=True, kw_only=True)
class Graph:
    """A registry's nodes by id, and its edges, both in an order that does not change."""

    nodes: Mapping[str, Node]
    edges: tuple[Edge, ...]

    @cached_property
    def above(self) -> Mapping[str, tuple[Edge, ...]]:
        """By the source: `stands-on` and `built-with` edges."""
        up = (EdgeKind.STANDS_ON, EdgeKind.BUILT_WITH)
        return _by((edge.source, edge) for edge in self.edges if edge.kind in up)

    @cached_property
    def below(self) -> Mapping[str, tuple[Edge, ...]]:
        """By the target: every edge but `same-package`."""
        return _by(
            (edge.target, edge) for edge in self.edges if edge.kind is not EdgeKind.SAME_PACKAGE
        )

    @cached_property
    def stars(self) -> Mapping[str, tuple[str, ...]]:
        """Every node that is one package with others, by id: all of them, itself among them."""
        star: dict[str, str] = {}
        for edge in self.edges:
            if edge.kind is EdgeKind.SAME_PACKAGE:
                middle = star.setdefault(edge.target, edge.target)
                star[edge.source] = middle
        members: defaultdict[str, list[str]] = defaultdict(list)
        for node, middle in star.items():
            members[middle].append(node)
        return {node: tuple(sorted(members[middle])) for node, middle in star.items()}

    def same(self, node: str) -> tuple[str, ...]:
        """A node and every other one that is the same package."""
        return self.stars.get(node, (node,))


def _by(found: Iterable[tuple[str, Edge]]) -> Mapping[str, tuple[Edge, ...]]:
    grouped: defaultdict[str, list[Edge]] = defaultdict(list)
    for key, edge in found:
        grouped[key].append(edge)
    return {key: tuple(edges) for key, edges in grouped.items()}
