"""`pairlock lineage`: reads the registry and the indexes, and asks what stands on what."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pairlock.errors import ErrorKind, InvalidInputError, PairlockError
from pairlock.index import stamped_indexes
from pairlock.inventory import Inventory
from pairlock.inventory.tags import pin_of
from pairlock.inventory.taking import take
from pairlock.manifest import BaseOrigin
from pairlock.progress import SILENT, Progress
from pairlock.references import FolderReference, parse_reference
from pairlock.standing.building import build_graph
from pairlock.standing.drawing import draw_down, draw_sentence, draw_up
from pairlock.standing.graph import Condition, Edge, Graph, Node
from pairlock.standing.losing import Loss, what_breaks
from pairlock.standing.mermaid import flowchart
from pairlock.standing.targets import find_roots
from pairlock.standing.walking import Branch, what_it_stands_on, what_stands_on, worst

SCHEMA = "pairlock.lineage/1"
"""Names the form of the JSON document. A new key does not change it; another meaning does."""


@dataclass(frozen=True, kw_only=True)
class Lineage:
    """What was asked about, what it stands on, and what stands on it."""

    target: str
    """What was asked about."""

    registry: str
    """The registry's address, without credentials."""

    at_ms: int
    """When it was looked at, in ms since 1970."""

    complete: bool
    """False where the registry could not be read to its end: more may stand on it."""

    problem: str
    """Why it is not complete, in words."""

    graph: Graph
    """Of the whole registry."""

    roots: tuple[Node, ...]
    """What is meant: several for `models:/name`, and where a name led to something else once."""

    above: tuple[Branch, ...]
    """What each root stands on."""

    below: tuple[Branch, ...]
    """What stands on each root."""

    loss: Loss
    """What breaks if the roots go away."""

    condition: Condition
    """The worst of the roots and of what they stand on, at any depth."""

    @property
    def passed(self) -> bool:
        """Whether nothing is missing or changed of the roots and of what they stand on."""
        return not self.condition.is_bad

    @property
    def known(self) -> bool:
        """Whether everything could be looked at."""
        return self.complete and self.condition is not Condition.UNKNOWN

    def nodes(self) -> tuple[Node, ...]:
        """Every node in the trees, and every copy of a root, by id."""
        found = {one.node.id for tree in self.above + self.below for one in tree.walk()}
        for root in self.roots:
            found |= set(self.graph.same(root.id))
        return tuple(self.graph.nodes[one] for one in sorted(found))

    def edges(self) -> tuple[Edge, ...]:
        """Every edge between them."""
        drawn = {node.id for node in self.nodes()}
        return tuple(
            edge for edge in self.graph.edges if edge.source in drawn and edge.target in drawn
        )

    def to_dict(self) -> dict[str, Any]:
        """The lineage as JSON data."""
        return {
            "schema": SCHEMA,
            "target": self.target,
            "registry": self.registry,
            "at_ms": self.at_ms,
            "complete": self.complete,
            "problem": self.problem,
            "condition": self.condition.value,
            "roots": [node.id for node in self.roots],
            "nodes": [node.to_dict() for node in self.nodes()],
            "edges": [edge.to_dict() for edge in self.edges()],
            "above": [branch.to_dict() for branch in self.above],
            "below": [branch.to_dict() for branch in self.below],
            "loss": self.loss.to_dict(),
        }

    def to_mermaid(self) -> str:
        """The lineage as a Mermaid flowchart."""
        return flowchart(self.nodes(), self.edges())

    def to_text(self) -> str:
        """The lineage for a person, in 80 columns."""
        blocks = [draw_up(self.graph, self.above)]
        for root, tree in zip(self.roots, self.below, strict=True):
            copies = [one for one in self.graph.same(root.id) if one != root.id]
            titles = ", ".join(self.graph.nodes[one].title for one in copies)
            same = draw_sentence(f"{root.title} has the same content as {titles}") if copies else ""
            of = f"what stands on {root.title}"
            blocks += [same, f"{draw_sentence(of)}\n{draw_down(self.graph, tree)}"]
        blocks.append(draw_sentence(self.loss.sentence()))
        if not self.complete:
            blocks.append(draw_sentence(f"NOT COMPLETE, more may stand on it: {self.problem}"))
        return "\n\n".join(filter(None, blocks))


def lineage(
    target: str,
    *,
    indexes: Iterable[str | Path] = (),
    depth: int | None = None,
    progress: Progress = SILENT,
    stop: Callable[[], bool] | None = None,
) -> Lineage:
    """What a version stands on, what stands on it, and what breaks if it goes away.

    Tags and manifests are read, and no weights. `pairlock verify` proves the bytes.

    Args:
        target: `models:/name` for all its versions, `models:/name/3`, `models:/name@alias`, a
            base's URI or folder, or the beginning of a package digest or tree digest. What is gone
            can be asked about while something still names it.
        indexes: folders of stamped indexes, as `pairlock.index.read` takes them. Nothing in a
            registry says which indexes were built with it.
        depth: how many steps to show; None for all.
        progress: told about the reading.
        stop: asked now and then; once it is true, what was read so far is answered.

    Raises:
        InvalidInputError: the target has none of the forms, or is the beginning of several digests.
        NotFoundError: nothing in the registry is that or stands on it; an index is not there, or
            not stamped.
        UnavailableError: the registry cannot be reached.
        PairlockError: every other reason why an index's stamp cannot be read.
    """
    if depth is not None and depth < 1:
        raise InvalidInputError(
            "the depth is less than one step",
            kind=ErrorKind.ARGUMENT_INVALID,
            checked="depth",
            expected="1 or more",
            found=str(depth),
            done="nothing was looked up",
            hint="leave it out to see everything",
        )
    stamped = stamped_indexes(indexes)
    inventory = take(progress=progress, stop=stop)
    graph = build_graph(inventory, stamped, gone=gone_folders(inventory))
    roots = find_roots(graph, inventory, target)
    # what stands on a package is shown once, under the first of its versions that is meant
    firsts = {graph.same(root): root for root in reversed(roots)}.values()
    return Lineage(
        target=target,
        registry=inventory.registry,
        at_ms=inventory.at_ms,
        complete=inventory.complete,
        problem=inventory.problem,
        graph=graph,
        roots=tuple(graph.nodes[root] for root in roots),
        above=tuple(what_it_stands_on(graph, root, depth=depth) for root in roots),
        below=tuple(
            what_stands_on(graph, root, depth=depth, copies=root in firsts) for root in roots
        ),
        loss=what_breaks(graph, roots),
        condition=_worst([what_it_stands_on(graph, root) for root in roots]),
    )


def _worst(trees: Iterable[Branch]) -> Condition:
    found = {worst(tree) for tree in trees}
    order = (Condition.MISSING, Condition.CHANGED, Condition.UNKNOWN)
    return next((one for one in order if one in found), Condition.SOUND)


def gone_folders(inventory: Inventory) -> frozenset[str]:
    """Pinned folders of this machine that are not there any more."""
    pins = {
        pin.uri
        for one in inventory.versions()
        if (pin := pin_of(one)) is not None and pin.origin is not BaseOrigin.HUB
    }
    gone = set()
    for uri in pins:
        try:
            reference = parse_reference(uri)
        except PairlockError:
            continue
        if isinstance(reference, FolderReference) and not reference.path.is_dir():
            gone.add(uri)
    return frozenset(gone)
