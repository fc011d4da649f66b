"""Inventories written down by hand: small registries of every shape, without a byte on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from pairlock.catalog import DIGEST_TAG
from pairlock.index import Stamp, StampedIndex
from pairlock.inventory import (
    Inventory,
    LedgerFacts,
    ModelFacts,
    PackageFacts,
    PackageState,
    PinFacts,
    VersionFacts,
)
from pairlock.ledger import Held, State
from pairlock.manifest import BaseOrigin, Kind


def sha(text: str) -> str:
    """A digest that a text stands for."""
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def pin(uri: str, content: str, origin: BaseOrigin = BaseOrigin.PACKAGE) -> PinFacts:
    """A pin on a content, under a name."""
    is_package = origin is BaseOrigin.PACKAGE
    return PinFacts(
        uri=uri,
        origin=origin,
        tree_digest=sha(f"tree of {content}"),
        package_digest=sha(content) if is_package else None,
        dimension=32,
    )


def version(uri: str, content: str, base: PinFacts | None = None, **changes: Any) -> VersionFacts:
    """A version of a content, as it should be but for what is changed."""
    name, _, number = uri.removeprefix("models:/").rpartition("/")
    package = PackageFacts(
        digest=sha(content),
        kind=Kind.FULL if base is None else Kind.LINEAR,
        dimension=32,
        input_dimension=None if base is None else 32,
        document_space=sha("d"),
        query_space=sha("q"),
        base=base,
        libraries={},
        paths=("payload/adapter/adapter.safetensors",),
        sizes=(1000,),
        foreign_classes=(),
        device_order=("cpu",),
        dtype="float32",
    )
    facts: dict[str, Any] = {
        "name": name,
        "version": int(number),
        "state": "ready",
        "legacy_stage": None,
        "created_ms": 1,
        "model_id": None,
        "location": f"/store/{name}/{number}",
        "tags": {DIGEST_TAG: sha(content)},
        "package_state": PackageState.THERE,
        "package": package,
    }
    return VersionFacts(**{**facts, **changes})


def lost(uri: str, content: str, state: PackageState = PackageState.MISSING) -> VersionFacts:
    """A version whose package could not be read."""
    return version(uri, content, package=None, package_state=state)


def inventory(
    *versions: VersionFacts,
    stages: Mapping[str, tuple[int, str]] | None = None,
    aliases: Mapping[str, int] | None = None,
    **changes: Any,
) -> Inventory:
    """A registry.

    Args:
        versions: all of them.
        stages: number and content of what holds `models:/name@stage`, which aliases show.
        aliases: by the same, versions that aliases point to.
        changes: of the inventory.
    """
    names = sorted({one.name for one in versions})
    return Inventory(
        registry="sqlite:///mlflow.db",
        at_ms=1,
        models=tuple(_model(name, versions, stages or {}, aliases or {}) for name in names),
        **changes,
    )


def _model(
    name: str,
    versions: tuple[VersionFacts, ...],
    stages: Mapping[str, tuple[int, str]],
    aliases: Mapping[str, int],
) -> ModelFacts:
    start = f"models:/{name}@"
    held = {
        uri.removeprefix(start): Held(
            version=number, package_digest=sha(content), entry=0, previous=None
        )
        for uri, (number, content) in stages.items()
        if uri.startswith(start)
    }
    shown = {stage: one.version for stage, one in held.items()}
    shown |= {uri.removeprefix(start): n for uri, n in aliases.items() if uri.startswith(start)}
    ledger = LedgerFacts(
        location="/ledger",
        state=State(stages=held),
        entries=len(held),
        ever_held=frozenset(held),
    )
    return ModelFacts(
        name=name,
        created_ms=1,
        aliases=shown,
        tags={},
        ledger=ledger if held else None,
        versions=tuple(
            sorted((one for one in versions if one.name == name), key=lambda one: one.version)
        ),
    )


def index(place: str, uri: str, content: str, base_uri: str | None = None) -> StampedIndex:
    """An index that was built with a content, under a name."""
    return StampedIndex(
        place=place,
        stamp=Stamp(
            document_space=sha("d"),
            package_digest=sha(content),
            uri=uri,
            kind="full" if base_uri is None else "linear",
            dimension=32,
            base_uri=base_uri,
            stamped_at="2026-01-02T03:04:05+00:00",
        ),
    )
