"""Inventories for tests of the audit's rules: a clean registry, and ways to change one thing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pairlock.catalog import HEAD_TAG, LEDGER_TAG, read_evidence, registered_model
from pairlock.config import current_settings
from pairlock.inventory import (
    Inventory,
    LedgerFacts,
    ModelFacts,
    PackageFacts,
    PackageState,
    PinFacts,
    VersionFacts,
)
from pairlock.inventory.tags import version_tags
from pairlock.ledger import Held, State
from pairlock.manifest import BaseOrigin, Kind, Manifest
from pairlock.packages import read_package_manifest
from pairlock.profiling import PROFILE_TAG
from pairlock.promotion.facts.opened import open_model
from pairlock.resolution import resolve
from support.copies import replace

LIBRARIES = {
    "sentence-transformers": "6.2.0",
    "torch": "2.13.0",
    "transformers": "5.23.0",
    "peft": "0.21.2",
    "numpy": "2.3.0",
}
"""What packages here were made with, and what is installed unless a test says otherwise."""

START_MS = 1_700_000_000_000


def digest(text: str) -> str:
    """A digest that follows from a text."""
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def full(seed: str, *, dimension: int = 32, space: str = "", **changes: Any) -> PackageFacts:
    """A full model. One seed is one package."""
    own = digest(f"space {space or seed}")
    facts: dict[str, Any] = {
        "digest": digest(seed),
        "kind": Kind.FULL,
        "dimension": dimension,
        "input_dimension": None,
        "document_space": own,
        "query_space": own,
        "base": None,
        "libraries": LIBRARIES,
        "paths": ("payload/model/model.safetensors",),
        "sizes": (1000,),
        "foreign_classes": (),
        "device_order": ("cuda", "cpu"),
        "dtype": "float32",
    }
    return PackageFacts(**(facts | changes))


def adapter(seed: str, base: VersionFacts | PinFacts, **changes: Any) -> PackageFacts:
    """A linear adapter, which changes queries only."""
    pin = base if isinstance(base, PinFacts) else pin_to(base)
    document = digest(f"space {pin.tree_digest}")
    if isinstance(base, VersionFacts) and base.package is not None:
        document = base.package.document_space
    facts: dict[str, Any] = {
        "kind": Kind.LINEAR,
        "base": pin,
        "input_dimension": pin.dimension,
        "document_space": document,
        "query_space": digest(f"space {seed}"),
    }
    return full(seed, dimension=pin.dimension or 32, **(facts | changes))


def read_package(manifest: Manifest, package_digest: str) -> PackageFacts:
    """A real manifest as an inventory has it."""
    pin, own = manifest.base, manifest.adapter
    return PackageFacts(
        digest=package_digest,
        kind=manifest.kind,
        dimension=manifest.dimension,
        input_dimension=getattr(own, "in_features", None),
        document_space=manifest.spaces.document,
        query_space=manifest.spaces.query,
        base=None
        if pin is None
        else PinFacts(
            uri=pin.uri,
            origin=pin.origin,
            tree_digest=pin.tree_digest,
            package_digest=pin.package_digest,
            dimension=pin.dimension,
        ),
        libraries=manifest.provenance.libraries,
        paths=tuple(record.path for record in manifest.files),
        sizes=tuple(record.size_bytes for record in manifest.files),
        foreign_classes=manifest.foreign_classes,
        device_order=manifest.devices.order,
        dtype=manifest.devices.dtype,
    )


def read_version(uri: str) -> VersionFacts:
    """A real version of the registry in use, as an inventory has it."""
    settings = current_settings()
    located = resolve(uri, settings)
    manifest, package_digest = read_package_manifest(located, settings=settings)
    assert located.name is not None and located.version is not None
    return version(
        located.name,
        located.version,
        read_package(manifest, package_digest),
        created_ms=located.created_ms,
        location=located.location,
        tags={
            f"pairlock.{tag}": text
            for tag, text in read_evidence(located.name, located.version, "pairlock.").items()
        },
    )


def read_model(name: str, *numbers: int) -> ModelFacts:
    """A real model of the registry in use, with its ledger, as an inventory has it."""
    found = registered_model(name)
    own = None
    if LEDGER_TAG in found.tags and (opened := open_model(name)).head is not None:
        assert opened.head is not None
        projected = opened.anchor.sequence if opened.anchor else 0
        own = LedgerFacts(
            location=opened.ledger.location,
            state=opened.state,
            entries=opened.head.entry.sequence + 1,
            ever_held=frozenset(opened.state.stages),
            held_versions=frozenset(numbers),
            projected=tuple(
                opened.ledger.read(n).entry.state
                for n in range(projected, opened.head.entry.sequence + 1)
            ),
        )
    return ModelFacts(
        name=name,
        created_ms=found.created_ms,
        aliases=found.aliases,
        tags=found.tags,
        ledger=own,
        versions=tuple(read_version(f"models:/{name}/{number}") for number in numbers),
    )


def pin_to(base: VersionFacts, **changes: Any) -> PinFacts:
    """A pin on a version as it is."""
    package = base.package
    assert package is not None
    pin = PinFacts(
        uri=base.uri,
        origin=BaseOrigin.PACKAGE,
        tree_digest=digest(f"tree {package.digest}"),
        package_digest=package.digest,
        dimension=package.dimension,
    )
    return replace(pin, **changes)


def pin_elsewhere(uri: str, origin: BaseOrigin = BaseOrigin.FOLDER) -> PinFacts:
    """A pin on something that is no package."""
    return PinFacts(
        uri=uri,
        origin=origin,
        tree_digest=digest(f"tree {uri}"),
        package_digest=None,
        dimension=32,
    )


def version(name: str, number: int, package: PackageFacts | None, **changes: Any) -> VersionFacts:
    """A version as `pairlock log` leaves it, and profiled; later numbers were made later."""
    tags = {} if package is None else {**version_tags(package), **profiled(package)}
    facts: dict[str, Any] = {
        "name": name,
        "version": number,
        "state": "ready",
        "legacy_stage": None,
        "created_ms": START_MS + number * 1000,
        "model_id": f"m-{hashlib.sha256(f'{name}/{number}'.encode()).hexdigest()[:32]}",
        "location": f"/store/{name}/{number}",
        "tags": tags,
        "package_state": PackageState.FOREIGN if package is None else PackageState.THERE,
        "package": package,
    }
    return VersionFacts(**(facts | changes))


def profiled(package: PackageFacts) -> dict[str, str]:
    """The tag of a profile."""
    return {f"{PROFILE_TAG}cpu.float32": json.dumps({"package_digest": package.digest})}


def ledger(
    holders: Mapping[str, VersionFacts], *, held: Iterable[int] = (), **changes: Any
) -> LedgerFacts:
    """A ledger by which these versions hold these stages."""
    stages = {
        stage: Held(
            version=one.version,
            package_digest=one.package.digest if one.package else digest("unknown"),
            entry=number,
            previous=None,
        )
        for number, (stage, one) in enumerate(holders.items())
    }
    facts: dict[str, Any] = {
        "location": "/ledger",
        "state": State(stages=stages),
        "entries": max(len(stages), 1),
        "ever_held": frozenset(holders),
        "held_versions": frozenset(one.version for one in holders.values()) | frozenset(held),
    }
    return LedgerFacts(**(facts | changes))


def model(
    name: str,
    versions: Iterable[VersionFacts],
    holders: Mapping[str, int] | None = None,
    **changes: Any,
) -> ModelFacts:
    """A registered model whose aliases say what its ledger says; all its versions held once."""
    found = tuple(versions)
    by_number = {one.version: one for one in found}
    own = None
    tags = {}
    if holders is not None:
        own = ledger(
            {stage: by_number[number] for stage, number in holders.items()}, held=by_number
        )
        tags = {LEDGER_TAG: "/ledger", HEAD_TAG: f"{own.entries - 1}:{digest(f'entry {name}')}"}
    facts: dict[str, Any] = {
        "name": name,
        "created_ms": START_MS,
        "aliases": dict(holders or {}),
        "tags": tags,
        "ledger": own,
        "versions": found,
    }
    return ModelFacts(**(facts | changes))


def inventory(*models: ModelFacts, **changes: Any) -> Inventory:
    """A registry of these models."""
    facts: dict[str, Any] = {
        "registry": "sqlite:///mlflow.db",
        "at_ms": START_MS + 10**9,
        "models": tuple(sorted(models, key=lambda one: one.name)),
    }
    return Inventory(**(facts | changes))


def clean() -> Inventory:
    """A base with two versions, and adapters on its first: nothing is wrong."""
    first = version("minilm", 1, full("minilm 1"))
    second = version("minilm", 2, full("minilm 2", space="minilm 2"))
    adapters = [version("support", n, adapter(f"support {n}", first)) for n in (3, 4, 5)]
    return inventory(
        model("minilm", [first, second], {"production": 1, "staging": 1}),
        model("support", adapters, {"staging": 5, "production": 4}),
    )


def with_version(
    found: Inventory, name: str, number: int, change: Callable[[VersionFacts], VersionFacts | None]
) -> Inventory:
    """The registry with one version changed, or without it."""

    def changed(own: ModelFacts) -> ModelFacts:
        versions = (change(one) if one.version == number else one for one in own.versions)
        return replace(own, versions=tuple(one for one in versions if one is not None))

    return with_model(found, name, changed)


def with_model(
    found: Inventory, name: str, change: Callable[[ModelFacts], ModelFacts]
) -> Inventory:
    """The registry with one model changed."""
    models = (change(one) if one.name == name else one for one in found.models)
    return replace(found, models=tuple(models))


def with_ledger(found: Inventory, name: str, **changes: Any) -> Inventory:
    """The registry with one model's ledger changed."""

    def changed(own: ModelFacts) -> ModelFacts:
        assert own.ledger is not None
        return replace(own, ledger=replace(own.ledger, **changes))

    return with_model(found, name, changed)
