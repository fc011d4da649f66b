"""Makes the graph of an inventory. No I/O.

What stands on what is decided as a load decides it: by the pinned name where that still is the
pinned package, else by the package's digest under any other name (`pairlock.bases.pins`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from pairlock.catalog import ARCHIVED, DIGEST_TAG, READY
from pairlock.errors import PairlockError
from pairlock.index import StampedIndex
from pairlock.inventory import Inventory, ModelFacts, PackageState, PinFacts, VersionFacts
from pairlock.inventory.tags import digest_of, pin_of
from pairlock.manifest import BaseOrigin
from pairlock.references import VersionReference, parse_reference
from pairlock.standing.graph import By, Condition, Edge, EdgeKind, Graph, Node, NodeKind

BY_LEDGER = "by the ledger"
"""What a stage is, as against an alias of MLflow's that no ledger explains."""

_NOT_READ = "it was not read: the registry was not read to its end"

_ORIGINS = {
    BaseOrigin.PACKAGE: "a package",
    BaseOrigin.MLFLOW: "a model of MLflow's own flavor",
    BaseOrigin.HUB: "a hub snapshot",
    BaseOrigin.FOLDER: "a folder",
}


def build_graph(
    inventory: Inventory,
    indexes: Sequence[StampedIndex] = (),
    *,
    gone: Collection[str] = frozenset(),
) -> Graph:
    """The graph of everything in a registry.

    Args:
        inventory: the registry.
        indexes: stamped indexes that were built with its versions.
        gone: URIs of pinned folders that were looked for and are not there.
    """
    return _Builder(inventory, gone).build(indexes)


def condition_of(version: VersionFacts) -> tuple[Condition, str]:
    """Whether a version still is what was registered, and why not, in words."""
    recorded, package = version.tags.get(DIGEST_TAG), version.package
    if version.package_state is PackageState.MISSING:
        return Condition.MISSING, version.problem or "its bytes are gone"
    if version.package_state in {PackageState.UNREADABLE, PackageState.UNREACHABLE}:
        return Condition.UNKNOWN, version.problem or f"its package is {version.package_state.value}"
    if recorded is not None and package is not None and recorded != package.digest:
        return Condition.CHANGED, "its manifest is not the one that was registered"
    if version.findings:
        more = f", and {len(version.findings) - 1} more" if len(version.findings) > 1 else ""
        return (
            Condition.CHANGED,
            f"its bytes are not what was registered: {version.findings[0]}" + more,
        )
    return Condition.SOUND, ""


@dataclass(frozen=True, slots=True)
class _Found:
    """The node that a pin or a stamp leads to."""

    node: str
    by: By = By.NAME
    condition: Condition = Condition.SOUND
    note: str = ""


class _Builder:
    def __init__(self, inventory: Inventory, gone: Collection[str]) -> None:
        self._inventory = inventory
        self._gone = gone
        self._versions = {one.uri: one for one in inventory.versions()}
        self._by_digest: defaultdict[str, list[VersionFacts]] = defaultdict(list)
        for one in self._versions.values():
            if digest := digest_of(one):
                self._by_digest[digest].append(one)
        self._lost_by_digest: defaultdict[str, list[str]] = defaultdict(list)
        self._nodes: dict[str, Node] = {}
        self._edges: list[Edge] = []

    def build(self, indexes: Iterable[StampedIndex]) -> Graph:
        for version in self._versions.values():
            self._nodes[version.uri] = _version_node(version)
        trees: dict[str, str] = {}
        for version in self._versions.values():
            if pin := pin_of(version):
                found = self._stands_on(version.uri, pin)
                if pin.package_digest is not None and found.node in self._versions:
                    trees.setdefault(pin.tree_digest, found.node)
        for model in self._inventory.models:
            self._add_stages(model)
        for index in sorted(indexes, key=lambda one: one.place):
            self._add_index(index)
        self._link_copies(trees)
        return Graph(nodes=self._nodes, edges=tuple(self._edges))

    def _stands_on(self, source: str, pin: PinFacts) -> _Found:
        found = self._base(pin)
        named = "" if self._nodes[found.node].title == pin.uri else pin.uri
        self._edges.append(
            Edge(
                kind=EdgeKind.STANDS_ON,
                source=source,
                target=found.node,
                by=found.by,
                named=named,
                condition=found.condition,
                note=found.note,
            )
        )
        return found

    def _base(self, pin: PinFacts) -> _Found:
        if pin.package_digest is not None:
            return self._package(pin.package_digest, pin.uri)
        if pin.uri in self._versions:
            return _Found(pin.uri, note="its bytes were not compared with the pin")
        return self._outside(pin)

    def _package(self, digest: str, uri: str, what: str = "") -> _Found:
        """The version that is a package: the one of that name, or a copy of it."""
        named = self._versions.get(uri)
        agrees = named is not None and digest_of(named) == digest
        if named is not None and agrees and not condition_of(named)[0].is_bad:
            return _Found(uri)
        reason = _reason(uri, named, agrees=agrees)
        if copy := self._copy(digest, besides=uri):
            if not _is_version(uri):
                return _Found(copy.uri, by=By.CONTENT)
            if not agrees:
                # asked about by its old name, it is there, and whatever finds the copy with it
                self._lost(uri, digest, what)
            return _Found(copy.uri, by=By.CONTENT, note=reason)
        if agrees:
            return _Found(uri)
        return _Found(self._lost(uri, digest, what))

    def _lost(self, uri: str, digest: str | None, what: str = "") -> str:
        """The node of a package that is not in the registry, under the name that it had."""
        node = f"package:{uri}@{digest}" if digest else f"package:{uri}"
        if node in self._nodes:
            return node
        reference = _version_reference(uri)
        named = self._versions.get(uri)
        condition, problem = Condition.MISSING, _reason(uri, named, agrees=False)
        if named is not None:
            condition = Condition.CHANGED
        elif reference is None:
            # what is no version, such as a path, is gone only where somebody looked
            is_gone = uri in self._gone
            condition = Condition.MISSING if is_gone else Condition.OUTSIDE
            problem = f"{uri} is not there" if is_gone else ""
        elif not self._inventory.complete:
            condition, problem = Condition.UNKNOWN, _NOT_READ
        self._nodes[node] = Node(
            id=node,
            kind=NodeKind.VERSION if reference else NodeKind.BASE,
            title=uri,
            what=what,
            digest=digest,
            model=reference.name if reference else None,
            version=reference.version if reference else None,
            condition=condition,
            problem=problem,
            notes=("not looked at",) if condition is Condition.OUTSIDE else (),
        )
        if digest:
            self._lost_by_digest[digest].append(node)
        return node

    def _copy(self, digest: str, *, besides: str) -> VersionFacts | None:
        """The first version that a load would take for a package, by its tag."""
        sound = [
            one for one in self._by_digest.get(digest, ()) if one.uri != besides and _findable(one)
        ]
        return min(sound, key=lambda one: (one.state != READY, one.name, one.version), default=None)

    def _outside(self, pin: PinFacts) -> _Found:
        """A base that the registry does not hold: one node for its content, whatever its places."""
        node, is_gone = f"base:{pin.tree_digest}", pin.uri in self._gone or _is_version(pin.uri)
        what = _ORIGINS[pin.origin]
        problem = f"{pin.uri} is not there" if is_gone else ""
        known = self._nodes.get(node)
        if known is None:
            self._nodes[node] = Node(
                id=node,
                kind=NodeKind.BASE,
                title=pin.uri,
                what=what,
                digest=pin.tree_digest,
                condition=Condition.MISSING if is_gone else Condition.OUTSIDE,
                problem=problem,
                notes=() if is_gone else ("not looked at",),
            )
        elif known.condition is Condition.MISSING and not is_gone:
            self._nodes[node] = replace(
                known,
                title=pin.uri,
                what=what,
                condition=Condition.OUTSIDE,
                problem="",
                notes=("not looked at",),
            )
        condition = Condition.MISSING if is_gone else Condition.SOUND
        if is_gone and not self._inventory.complete and _is_version(pin.uri):
            self._nodes[node] = replace(
                self._nodes[node], condition=Condition.UNKNOWN, problem=_NOT_READ
            )
            return _Found(node)
        return _Found(node, condition=condition, note=problem)

    def _add_stages(self, model: ModelFacts) -> None:
        held = {} if model.ledger is None else model.ledger.state.stages
        for stage, holder in sorted(held.items()):
            uri = f"models:/{model.name}/{holder.version}"
            points_to = model.aliases.get(stage)
            notes: tuple[str, ...] = ()
            if points_to != holder.version:
                points = "is not there" if points_to is None else f"points to version {points_to}"
                notes = (f"MLflow's alias {points}",)
            there = uri in self._versions
            if not there or digest_of(self._versions[uri]) != holder.package_digest:
                uri = self._lost(uri, holder.package_digest)
            self._stage(model.name, stage, uri, what=BY_LEDGER, notes=notes)
        unread = model.ledger is not None and model.ledger.problem
        for alias, number in sorted(model.aliases.items()):
            if alias in held:
                continue
            what = "an alias; the ledger could not be read" if unread else "an alias, no stage"
            uri = f"models:/{model.name}/{number}"
            target = uri if uri in self._versions else self._lost(uri, None)
            self._stage(model.name, alias, target, what=what)

    def _stage(
        self, model: str, stage: str, target: str, *, what: str, notes: tuple[str, ...] = ()
    ) -> None:
        uri = f"models:/{model}@{stage}"
        self._nodes[uri] = Node(
            id=uri, kind=NodeKind.STAGE, title=stage, what=what, model=model, notes=notes
        )
        self._edges.append(Edge(kind=EdgeKind.HOLDS, source=uri, target=target))

    def _add_index(self, index: StampedIndex) -> None:
        stamp, node = index.stamp, f"index:{index.place}"
        self._nodes[node] = Node(
            id=node,
            kind=NodeKind.INDEX,
            title=index.place,
            what=f"stamped {stamp.stamped_at}",
            digest=stamp.package_digest,
        )
        found = self._package(stamp.package_digest, stamp.uri, stamp.kind)
        named = "" if self._nodes[found.node].title == stamp.uri else stamp.uri
        self._edges.append(
            Edge(
                kind=EdgeKind.BUILT_WITH,
                source=node,
                target=found.node,
                by=found.by,
                named=named,
                note=found.note,
            )
        )
        if found.node not in self._versions and stamp.base_uri in self._versions:
            # nothing but the stamp says what a version stood on that is gone
            self._edges.append(
                Edge(
                    kind=EdgeKind.STANDS_ON,
                    source=found.node,
                    target=stamp.base_uri,
                    note="by the stamp of an index; its bytes were not compared",
                )
            )

    def _link_copies(self, trees: Mapping[str, str]) -> None:
        middles: dict[str, str] = {}
        for digest in sorted(self._by_digest.keys() | self._lost_by_digest.keys()):
            versions = sorted(self._by_digest[digest], key=lambda one: (one.name, one.version))
            middle, *others = [one.uri for one in versions] + sorted(self._lost_by_digest[digest])
            middles |= {one.uri: middle for one in versions}
            self._edges += [_same(other, middle) for other in others]
        for tree, version in sorted(trees.items()):
            if (base := f"base:{tree}") in self._nodes:
                self._edges.append(_same(base, middles[version]))


def _same(source: str, target: str) -> Edge:
    return Edge(kind=EdgeKind.SAME_PACKAGE, source=source, target=target, by=By.CONTENT)


def _version_node(version: VersionFacts) -> Node:
    condition, problem = condition_of(version)
    kind = version.package.kind.value if version.package else version.tags.get("pairlock.kind")
    notes = [] if version.state == READY else [version.state]
    if version.legacy_stage and version.legacy_stage != version.state:
        notes.append(f"MLflow's legacy stage {version.legacy_stage}")
    foreign = version.package_state is PackageState.FOREIGN
    return Node(
        id=version.uri,
        kind=NodeKind.VERSION,
        title=version.uri,
        what="logged by another flavor" if foreign else kind or "",
        digest=digest_of(version),
        model=version.name,
        version=version.version,
        condition=condition,
        problem=problem,
        findable=_findable(version),
        notes=tuple(notes),
    )


def _findable(version: VersionFacts) -> bool:
    """Whether a load that looks for a package digest takes this version."""
    return (
        version.tags.get(DIGEST_TAG) is not None
        and version.tags.get(DIGEST_TAG) == digest_of(version)
        and version.state in {READY, ARCHIVED}
        and not condition_of(version)[0].is_bad
    )


def _reason(uri: str, named: VersionFacts | None, *, agrees: bool) -> str:
    """Why a name does not lead to what it led to."""
    if named is None:
        return f"{uri} is gone" if _is_version(uri) else f"{uri} is no registered version"
    if agrees:
        return f"{uri}: {condition_of(named)[1]}"
    return f"{uri} is another package now"


def _is_version(uri: str) -> bool:
    return _version_reference(uri) is not None


def _version_reference(uri: str) -> VersionReference | None:
    try:
        reference = parse_reference(uri)
    except PairlockError:
        return None
    return reference if isinstance(reference, VersionReference) else None
