"""Takes the inventory of a registry: a small one, one version after another."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from pairlock.catalog import client, ledger_location, local_path, registered_model, tracking_uri
from pairlock.catalog.registry import ask, translated
from pairlock.catalog.versions import state_of
from pairlock.errors import ErrorKind, Finding, NotFoundError, PairlockError
from pairlock.inventory.facts import (
    Inventory,
    LedgerFacts,
    ModelFacts,
    PackageFacts,
    PackageState,
    PinFacts,
    VersionFacts,
)
from pairlock.ledger import Ledger, State
from pairlock.manifest import MANIFEST_NAME, Manifest, PeftFacts, package_digest, read_manifest
from pairlock.manifest.format import MAX_MANIFEST_BYTES
from pairlock.progress import SILENT, Progress
from pairlock.references import without_credentials
from pairlock.stores.opening import open_store


def take(
    *,
    names: Sequence[str] = (),
    deep: bool = False,  # noqa: ARG001
    jobs: int | None = None,  # noqa: ARG001
    remembered: bool = True,  # noqa: ARG001
    progress: Progress = SILENT,  # noqa: ARG001
    stop: Callable[[], bool] | None = None,  # noqa: ARG001
) -> Inventory:
    """Read a registry."""
    found = ask("the registry", "search_registered_models", max_results=1000)
    models = [_model(one.name) for one in found if not names or one.name in names]
    return Inventory(
        registry=without_credentials(tracking_uri()),
        at_ms=round(time.time() * 1000),
        models=tuple(sorted(models, key=lambda one: one.name)),
    )


def _model(name: str) -> ModelFacts:
    model = registered_model(name)
    with translated(name):
        versions = client().search_model_versions(f"name = '{name}'", max_results=1000)
    location = ledger_location(model)
    ledger = None
    if location is not None:
        head = Ledger(open_store(location), model=name, model_created_ms=model.created_ms).head()
        state = State() if head is None else head.entry.state
        ledger = LedgerFacts(location=location, state=state, entries=0, ever_held=frozenset())
    return ModelFacts(
        name=name,
        created_ms=model.created_ms,
        aliases=model.aliases,
        tags=model.tags,
        ledger=ledger,
        versions=tuple(sorted((_version(one) for one in versions), key=lambda one: one.version)),
    )


def _version(one) -> VersionFacts:  # type: ignore[no-untyped-def]
    with translated(one.name):
        location = local_path(client().get_model_version_download_uri(one.name, one.version))
    state, package, problem = PackageState.THERE, None, ""
    findings: tuple[Finding, ...] = ()
    store = open_store(location)
    try:
        content = store.read_small(MANIFEST_NAME, at_most_bytes=MAX_MANIFEST_BYTES)
        manifest = read_manifest(content, where=location)
        package = _package(manifest, package_digest(content))
        there = store.entries("payload")
        findings = tuple(
            Finding(kind=ErrorKind.FILE_MISSING, place=file.path, expected="it", found="nothing")
            for file in manifest.files
            if file.path not in there
        )
    except NotFoundError as error:
        pairlock = "pairlock.package_digest" in one.tags
        state = PackageState.MISSING if pairlock else PackageState.FOREIGN
        problem = error.summary
    except PairlockError as error:
        state, problem = PackageState.UNREADABLE, error.summary
    stage = str(one.current_stage or "None").lower()
    return VersionFacts(
        name=one.name,
        version=int(one.version),
        state=state_of(one),
        legacy_stage=None if stage == "none" else stage,
        created_ms=int(one.creation_timestamp),
        model_id=one.model_id,
        location=location,
        tags={tag: text for tag, text in one.tags.items() if tag.startswith("pairlock.")},
        package_state=state,
        package=package,
        findings=findings,
        problem=problem,
    )


def _package(manifest: Manifest, digest: str) -> PackageFacts:
    pin = manifest.base
    adapter = manifest.adapter
    takes = None if adapter is None or isinstance(adapter, PeftFacts) else adapter.in_features
    return PackageFacts(
        digest=digest,
        kind=manifest.kind,
        dimension=manifest.dimension,
        input_dimension=takes,
        spaces=manifest.spaces,
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
        files=len(manifest.files),
        size_bytes=manifest.size_bytes,
        foreign_classes=manifest.foreign_classes,
        device_order=manifest.devices.order,
        dtype=manifest.devices.dtype,
    )
