"""What breaks if something goes away. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pairlock.standing.building import BY_LEDGER
from pairlock.standing.graph import Condition, Edge, EdgeKind, Graph, NodeKind
from pairlock.wording import counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """What breaks if some nodes go away, all of them at once."""

    gone: tuple[str, ...]
    """Titles of what goes away."""

    already: bool
    """Whether all of it is gone already."""

    versions: tuple[str, ...]
    """Versions that lose what they stand on, by URI."""

    adapters: tuple[str, ...]
    """The registered models that these belong to."""

    stages: tuple[str, ...]
    """Stages that these hold by the ledger, as `models:/name@stage`."""

    aliases: tuple[str, ...]
    """Aliases that point to these, and are no stages."""

    own_stages: tuple[str, ...]
    """Stages and aliases that what goes away holds itself."""

    indexes: tuple[str, ...]
    """Indexes that were built with any of it, by their places."""

    indexes_known: int
    """How many indexes were looked at."""

    kept: tuple[str, ...]
    """Versions that stand on it, and would find the same bytes elsewhere."""

    instead: tuple[str, ...]
    """Where they would find them."""

    def to_dict(self) -> dict[str, Any]:
        """The loss as JSON data."""
        return {
            "gone": list(self.gone),
            "already": self.already,
            "versions": list(self.versions),
            "adapters": list(self.adapters),
            "stages": list(self.stages),
            "aliases": list(self.aliases),
            "own_stages": list(self.own_stages),
            "indexes": list(self.indexes),
            "indexes_known": self.indexes_known,
            "kept": list(self.kept),
            "instead": list(self.instead),
            "sentence": self.sentence(),
        }

    def sentence(self) -> str:
        """The counts, in one sentence."""
        return _sentence(self)


def what_breaks(graph: Graph, roots: Sequence[str]) -> Loss:
    """What breaks if some nodes go away.

    A version that is pinned by its package digest is found under any other name of that package,
    and so is what stands on it kept. A folder, a hub snapshot and a model of MLflow's own flavor
    are found where they are pinned and nowhere else.
    """
    nodes = [graph.nodes[root] for root in roots]
    going = set(roots)
    kept: set[str] = set()
    instead: set[str] = set()
    losing = set(roots)
    waiting = list(roots)
    while waiting:
        one = waiting.pop()
        copies = _sound_copies(graph, one, losing)
        for edge in _leaning(graph, one):
            if edge.kind is not EdgeKind.STANDS_ON or edge.source in losing:
                continue
            if copies:
                kept.add(edge.source)
                instead |= copies
            else:
                losing.add(edge.source)
                waiting.append(edge.source)
    lost = losing - going
    kept -= lost
    carried = [edge for one in sorted(losing) for edge in _leaning(graph, one)]
    held = [edge for edge in carried if edge.kind is EdgeKind.HOLDS]
    by_ledger = {edge.source for edge in held if graph.nodes[edge.source].what == BY_LEDGER}
    order = {node: (found.model or "", found.version or 0) for node, found in graph.nodes.items()}
    return Loss(
        gone=tuple(dict.fromkeys(node.title for node in nodes)),
        already=all(node.condition is Condition.MISSING for node in nodes),
        versions=tuple(sorted(lost, key=lambda one: (order[one], one))),
        adapters=tuple(sorted({graph.nodes[one].model or graph.nodes[one].title for one in lost})),
        stages=tuple(
            sorted(one.source for one in held if one.source in by_ledger and one.target in lost)
        ),
        aliases=tuple(
            sorted(one.source for one in held if one.source not in by_ledger and one.target in lost)
        ),
        own_stages=tuple(sorted(one.source for one in held if one.target in going)),
        indexes=tuple(
            sorted(
                {
                    graph.nodes[edge.source].title
                    for edge in carried
                    if edge.kind is EdgeKind.BUILT_WITH
                }
            )
        ),
        indexes_known=sum(node.kind is NodeKind.INDEX for node in graph.nodes.values()),
        kept=tuple(sorted(kept, key=lambda one: (order[one], one))),
        instead=tuple(sorted(instead)),
    )


def _leaning(graph: Graph, node: str) -> Iterator[Edge]:
    """Edges to a node, and those to a copy of it that were meant for this name."""
    yield from graph.below.get(node, ())
    title = graph.nodes[node].title
    for other in graph.same(node):
        if other != node:
            yield from (edge for edge in graph.below.get(other, ()) if edge.named == title)


def _sound_copies(graph: Graph, node: str, going: set[str]) -> set[str]:
    """Other versions that a load would take for a version, by their titles."""
    own = graph.nodes[node]
    if own.kind is not NodeKind.VERSION:
        return set()
    found = (graph.nodes[other] for other in graph.same(node) if other not in going)
    return {other.title for other in found if other.findable}


def _sentence(loss: Loss) -> str:
    names = _listed(loss.gone, "and")
    many = len(loss.gone) > 1
    if loss.already:
        start = f"{names} {'are' if many else 'is'} gone"
    else:
        start = f"If {names} {'go' if many else 'goes'} away"
    return f"{start}: {'; '.join([*_adapters(loss), *_held(loss), _indexes(loss)])}."


def _adapters(loss: Loss) -> Iterator[str]:
    if loss.versions:
        one = len(loss.adapters) == 1
        verb = "loses its base" if one else "lose their base"
        if loss.already:
            verb = "has lost its base" if one else "have lost their base"
        in_stages = {stage.rpartition("@")[0] for stage in loss.stages}
        held = "none of these in a stage"
        if in_stages:
            held = f"{len(in_stages)} of these in stages ({_names(loss.stages)})"
        yield (
            f"{counted(len(loss.adapters), 'adapter')} "
            f"({counted(len(loss.versions), 'version')}) {verb}, {held}"
        )
    elif not loss.kept:
        yield "no adapter stood on it" if loss.already else "no adapter loses its base"
    if loss.kept:
        find = "finds" if len(loss.kept) == 1 else "find"
        versions = counted(len(loss.kept), "adapter version")
        yield f"{versions} {find} the same bytes at {_listed(loss.instead, 'or')}"


def _held(loss: Loss) -> Iterator[str]:
    if loss.aliases:
        yield f"aliases point to some of these ({_names(loss.aliases)})"
    if loss.own_stages:
        held = _names(loss.own_stages)
        yield f"it is still held by {held}" if loss.already else f"{held} would hold nothing"


def _indexes(loss: Loss) -> str:
    if not loss.indexes_known:
        return "no stamped index was named to look at"
    were = "was" if len(loss.indexes) == 1 else "were"
    count = counted(len(loss.indexes), "index", "indexes")
    return f"{count} {were} built with it or with these (of {loss.indexes_known} looked at)"


def _names(stages: Sequence[str]) -> str:
    return _listed([stage.removeprefix("models:/") for stage in stages], "and")


def _listed(things: Sequence[str], word: str, most: int = 8) -> str:
    if len(things) > most:
        return f"{', '.join(things[:most])} {word} {len(things) - most} more"
    return f" {word} ".join(filter(None, [", ".join(things[:-1]), things[-1]])) if things else ""
