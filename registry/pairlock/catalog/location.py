"""What the registry answers: where a version's bytes lie, and which digest was approved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

GRAPH_TAG = "pairlock.graph.onnx."
"""Tags on versions: the digest of a graph that was made for it later; its precision follows."""

DIGEST_TAG = "pairlock.package_digest"
"""Tag on versions and logged models: the package digest that was registered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """A model that was looked up."""

    requested: str
    """What was asked for."""

    uri: str
    """What it is for good: a version, a logged model or a folder; never an alias or a stage."""

    location: str
    """Where the bytes lie: a folder's path, or another store's URI."""

    anchors: Mapping[str, str] = field(default_factory=dict)
    """Package digests recorded outside the package, by where they are recorded."""

    graphs: Mapping[str, str] = field(default_factory=dict)
    """Digests of graphs that were made for the version later, by precision."""

    name: str | None = None
    """The registered model's name."""

    version: int | None = None
    """The registered version."""

    created_ms: int | None = None
    """When the version was registered, in ms since 1970, by the registry's clock."""

    package_digest: str | None = None
    """The digest that was found there, and proved, by an earlier load on this machine."""

    remembered_at: float | None = None
    """When the registry gave this answer, in seconds since 1970, if it was not asked now."""

    warnings: tuple[str, ...] = ()
    """What somebody should know who loads it."""
