"""What the page says, as data for its template. Pure: every text is escaped by the template."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pairlock.auditing.baseline import OF_INDEXES
from pairlock.auditing.codes import Severity
from pairlock.auditing.findings import AuditFinding
from pairlock.auditing.versions import Holding, holdings
from pairlock.inventory import Inventory, ModelFacts, VersionFacts
from pairlock.report.drawing import Box, Drawing, Line, draw
from pairlock.standing.graph import Edge, Graph, Node, NodeKind
from pairlock.wording import counted

MAX_DRAWN = 400
"""A graph of more nodes is a wall of boxes: beyond this, only what is in a stage, has a finding, or
is linked to such a node is drawn. The tables list everything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionEntry:
    """One version, as the page lists it."""

    anchor: str
    facts: VersionFacts
    stages: tuple[str, ...]
    findings: tuple[AuditFinding, ...]
    worst: Severity | None
    manifest: str | None
    """The whole manifest as JSON text, where it is shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEntry:
    """One registered model, as the page lists it."""

    facts: ModelFacts
    versions: tuple[VersionEntry, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeEntry:
    """One box of the drawing, with what a search looks through."""

    box: Box
    label: str
    """What it is called, in few characters."""

    target: str
    """The anchor of what is known of it."""

    worst: Severity | None
    near: str
    """The anchors of the boxes that it is linked to, with blanks between."""

    anchor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """Everything that is on the page."""

    registry: str
    at: str
    """UTC, to the minute."""

    complete: bool
    problem: str
    counts: tuple[tuple[str, int], ...]
    severities: tuple[tuple[Severity, str, int], ...]
    findings: tuple[AuditFinding, ...]
    models: tuple[ModelEntry, ...]
    stages: tuple[str, ...]
    drawing: Drawing
    nodes: tuple[NodeEntry, ...]
    lines: tuple[Line, ...]
    outline: tuple[tuple[Node, tuple[tuple[Edge, Node], ...]], ...]
    """The same as a list: every node that something stands on, and what that is."""

    left_out: int
    """Nodes that are not drawn."""

    anchors: Mapping[str, str]
    """From a node's id to its anchor among the versions."""


def content_of(
    inventory: Inventory,
    findings: Sequence[AuditFinding],
    graph: Graph,
    *,
    manifests: Mapping[str, str] | None = None,
) -> Content:
    """Put together what the page says.

    Args:
        inventory: what the registry holds.
        findings: what is wrong with it, worst first.
        graph: what stands on what.
        manifests: manifests as JSON text, by version URI, as far as they are to be shown.
    """
    by_version: defaultdict[tuple[str | None, int | None], list[AuditFinding]] = defaultdict(list)
    for finding in findings:
        by_version[finding.model, finding.version].append(finding)
    models = tuple(_model(model, by_version, manifests or {}) for model in inventory.models)
    entries = {entry.facts.uri: entry for model in models for entry in model.versions}
    drawn = _drawn(graph, entries)
    drawing = draw(drawn)
    outline = tuple(
        (graph.nodes[node_id], tuple((edge, graph.nodes[edge.source]) for edge in edges))
        for node_id, edges in graph.below.items()
        if node_id in graph.nodes
    )
    count = Counter(finding.severity for finding in findings)
    adapters = sum(
        1
        for entry in entries.values()
        if entry.facts.package is not None and entry.facts.package.base is not None
    )
    staged = sum(1 for entry in entries.values() if entry.stages)
    return Content(
        registry=inventory.registry,
        at=datetime.fromtimestamp(inventory.at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC"),
        complete=inventory.complete,
        problem=inventory.problem,
        counts=(
            (_words(len(models), "model"), len(models)),
            (_words(len(entries), "version"), len(entries)),
            (_words(adapters, "adapter"), adapters),
            ("in a stage", staged),
        ),
        severities=tuple((one, _words(count[one], one.value), count[one]) for one in Severity),
        findings=tuple(findings),
        models=models,
        stages=tuple(sorted({stage for entry in entries.values() for stage in entry.stages})),
        drawing=drawing,
        nodes=_nodes(drawing, drawn, entries, findings),
        lines=drawing.lines,
        outline=outline,
        left_out=len(graph.nodes) - len(drawn.nodes),
        anchors={uri: entry.anchor for uri, entry in entries.items()},
    )


def anchor_of(name: str, version: int) -> str:
    """Where a version is on the page. Names of models may hold anything but `/` and `:`."""
    return f"version:{name}/{version}"


def label_of(node: Node) -> str:
    """What a box is called: no shorter name tells it from every other one."""
    if node.kind is NodeKind.STAGE and node.model is not None:
        return f"{node.model}@{node.title}"
    return node.title.removeprefix("models:/")


def worst_of(findings: Sequence[AuditFinding]) -> Severity | None:
    """The worst severity; None where nothing was found."""
    return max((one.severity for one in findings), key=lambda one: one.rank, default=None)


def _model(
    model: ModelFacts,
    findings: Mapping[tuple[str | None, int | None], list[AuditFinding]],
    manifests: Mapping[str, str],
) -> ModelEntry:
    held = holdings(model)
    return ModelEntry(
        facts=model,
        versions=tuple(
            _entry(version, held.get(version.version, Holding()), findings, manifests)
            for version in model.versions
        ),
    )


def _entry(
    version: VersionFacts,
    held: Holding,
    findings: Mapping[tuple[str | None, int | None], list[AuditFinding]],
    manifests: Mapping[str, str],
) -> VersionEntry:
    own = tuple(findings.get((version.name, version.version), ()))
    return VersionEntry(
        anchor=anchor_of(version.name, version.version),
        facts=version,
        stages=held.names,
        findings=own,
        worst=worst_of(own),
        manifest=manifests.get(version.uri),
    )


def _drawn(graph: Graph, entries: Mapping[str, VersionEntry]) -> Graph:
    """The part of the graph that is drawn: all of it, or what matters."""
    if len(graph.nodes) <= MAX_DRAWN:
        return graph
    matters = {
        node.id
        for node in graph.nodes.values()
        if node.condition.is_bad
        or node.kind is NodeKind.INDEX
        or (node.id in entries and (entries[node.id].stages or entries[node.id].worst))
    }
    near = {edge.target for edge in graph.edges if edge.source in matters}
    near |= {edge.source for edge in graph.edges if edge.target in matters}
    kept = sorted(matters)[:MAX_DRAWN]
    kept += sorted(near - set(kept))[: MAX_DRAWN - len(kept)]
    nodes = {node_id: graph.nodes[node_id] for node_id in sorted(kept) if node_id in graph.nodes}
    edges = tuple(edge for edge in graph.edges if edge.source in nodes and edge.target in nodes)
    return Graph(nodes=nodes, edges=edges)


def _nodes(
    drawing: Drawing,
    graph: Graph,
    entries: Mapping[str, VersionEntry],
    findings: Sequence[AuditFinding],
) -> tuple[NodeEntry, ...]:
    numbers = {box.node.id: f"node-{index}" for index, box in enumerate(drawing.boxes)}
    of_indexes: defaultdict[str, list[AuditFinding]] = defaultdict(list)
    for finding in findings:
        if finding.code in OF_INDEXES:
            of_indexes[finding.place].append(finding)
    near: defaultdict[str, list[str]] = defaultdict(list)
    for edge in graph.edges:
        near[edge.source].append(numbers[edge.target])
        near[edge.target].append(numbers[edge.source])
    found = []
    for box in drawing.boxes:
        entry = entries.get(box.node.id)
        held = [
            edge.target
            for edge in graph.edges
            if edge.source == box.node.id and edge.target in entries
        ]
        target = entry or (entries[held[0]] if held else None)
        worst = entry.worst if entry is not None else None
        if box.node.kind is NodeKind.INDEX:
            worst = worst_of(of_indexes[box.node.title])
        if box.node.condition.is_bad:
            worst = Severity.ERROR
        found.append(
            NodeEntry(
                box=box,
                label=label_of(box.node),
                target="outline" if target is None else target.anchor,
                worst=worst,
                near=" ".join(near[box.node.id]),
                anchor=numbers[box.node.id],
            )
        )
    return tuple(found)


def _words(count: int, one: str) -> str:
    """What stands behind a number that the page prints large: `error`, `errors`."""
    return counted(count, one).partition(" ")[2]
