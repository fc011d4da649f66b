"""From what a user wrote to the nodes that are meant. No I/O."""

from __future__ import annotations

import re

from pairlock.errors import ErrorKind, InvalidInputError, NotFoundError
from pairlock.inventory import Inventory
from pairlock.references import (
    AliasReference,
    LoggedModelReference,
    StageReference,
    VersionReference,
    parse_reference,
)
from pairlock.standing.graph import Graph, Node, NodeKind

_DIGEST = re.compile(r"sha256:[0-9a-f]{4,64}|[0-9a-f]{8,64}")
_MODEL = re.compile(r"models:/(?P<name>[^/@]+)/?")
_LOGGED = re.compile(r"m-[0-9a-f]{32}")


def find_roots(graph: Graph, inventory: Inventory, target: str) -> tuple[str, ...]:
    """The nodes that a user means, in the order in which they are shown.

    Args:
        graph: of the inventory.
        inventory: the registry.
        target: `models:/name`, `models:/name/3`, `models:/name@alias`, `models:/name/Stage`,
            `models:/m-<id>`, a base's URI or folder, or the beginning of a digest:
            `sha256:` and 4 to 64 hex digits, or 8 to 64 of them alone.

    Returns:
        Ids, at least one. A name that led to something else once is that, too.

    Raises:
        InvalidInputError: it is none of the forms, or the beginning of several digests.
        NotFoundError: nothing in the registry is that, or stands on it.
    """
    if _DIGEST.fullmatch(target):
        return _by_digest(graph, target)
    if target.startswith("sha256:"):
        raise InvalidInputError(
            f"{target} is not the beginning of a digest",
            kind=ErrorKind.REFERENCE_INVALID,
            checked="what to look up",
            expected="sha256: and 4 to 64 hex digits in small letters",
            found=target,
            done="nothing was looked up",
            hint="write more of it, as `pairlock show` prints it",
        )
    if (found := _MODEL.fullmatch(target)) and not _LOGGED.fullmatch(found["name"]):
        return _of_model(graph, found["name"], target)
    reference = parse_reference(target)
    if isinstance(reference, AliasReference):
        return _by_alias(graph, f"models:/{reference.name}@{reference.alias}")
    if isinstance(reference, StageReference):
        numbers = [
            one.version
            for one in inventory.versions()
            if one.name == reference.name and one.legacy_stage == reference.stage.lower()
        ]
        if not numbers:
            raise _nothing(target)
        return (f"models:/{reference.name}/{max(numbers)}",)
    if isinstance(reference, LoggedModelReference):
        uris = [one.uri for one in inventory.versions() if one.model_id == reference.model_id]
        return _some(uris, target)
    if isinstance(reference, VersionReference):
        return _some(_under_name(graph, str(reference)), target)
    return _some(_under_name(graph, str(reference), target), target)


def _under_name(graph: Graph, *names: str) -> list[str]:
    """Nodes that are called so, and those that something was pinned to under that name."""
    found = [
        node.id
        for node in graph.nodes.values()
        if node.title in names and node.kind in {NodeKind.VERSION, NodeKind.BASE}
    ]
    known = {one for node in found for one in graph.same(node)}
    named = [
        edge.target for edge in graph.edges if edge.named in names and edge.target not in known
    ]
    return list(dict.fromkeys(found + named))


def _of_model(graph: Graph, name: str, target: str) -> tuple[str, ...]:
    found = [
        node
        for node in graph.nodes.values()
        if node.kind is NodeKind.VERSION and node.model == name and node.version is not None
    ]
    found.sort(key=lambda node: (node.version or 0, node.id))
    return _some([node.id for node in found], target)


def _by_alias(graph: Graph, uri: str) -> tuple[str, ...]:
    held = [edge.target for edge in graph.edges if edge.source == uri]
    return _some([target for target in held if graph.nodes[uri].kind is NodeKind.STAGE], uri)


def _by_digest(graph: Graph, target: str) -> tuple[str, ...]:
    start = target if target.startswith("sha256:") else f"sha256:{target}"
    matching: list[Node] = [
        node
        for node in graph.nodes.values()
        if node.kind is not NodeKind.INDEX and node.digest and node.digest.startswith(start)
    ]
    digests = sorted({node.digest or "" for node in matching})
    if len(digests) > 1:
        raise InvalidInputError(
            f"{target} is the beginning of {len(digests)} digests",
            kind=ErrorKind.ARGUMENT_INVALID,
            checked="package digests of versions, and tree digests of bases",
            expected="the beginning of one",
            found=", ".join(digests[:4]) + (" …" if len(digests) > 4 else ""),
            done="nothing was looked up",
            hint="write more of it",
        )
    # asked about by its content, names of the past do not matter while one has it
    sound = [node for node in matching if not node.condition.is_bad]
    return _some([node.id for node in sound or matching], target)


def _some(found: list[str], target: str) -> tuple[str, ...]:
    if not found:
        raise _nothing(target)
    return tuple(found)


def _nothing(target: str) -> NotFoundError:
    return NotFoundError(
        f"{target} is not in the registry, and nothing there stands on it",
        kind=ErrorKind.MODEL_NOT_FOUND,
        checked="every version, its base, and every stage",
        expected=target,
        found="none",
        done="nothing",
        hint="write models:/name, models:/name/3, models:/name@alias, a base's hf:// URI or "
        "folder, or the beginning of a digest; MLFLOW_TRACKING_URI chooses the registry",
    )
