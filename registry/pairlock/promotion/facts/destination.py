"""What is in the other registry already, and what of a version has to be copied there."""

from __future__ import annotations

from dataclasses import dataclass

from pairlock.catalog import (
    ARCHIVED,
    LEDGER_TAG,
    READY,
    Located,
    RegisteredModel,
    registered_model,
    versions_by_digest,
)
from pairlock.config import Settings
from pairlock.errors import NotFoundError, PairlockError
from pairlock.ledger import Sealed, State
from pairlock.manifest import BaseOrigin, BasePin
from pairlock.packages import read_package_manifest
from pairlock.promotion.facts.opened import Opened, open_model
from pairlock.promotion.facts.versions import base_facts, copied_base
from pairlock.promotion.rules.crossing import Copy
from pairlock.promotion.rules.gates import BaseFacts
from pairlock.references import VersionReference, parse_reference
from pairlock.registries import Registry, using
from pairlock.resolution import resolve


@dataclass(frozen=True, slots=True, kw_only=True)
class There:
    """The registered model in the other registry, as far as it is there."""

    model: RegisteredModel | None
    opened: Opened | None
    """None before anything was done to it."""

    entries: tuple[Sealed, ...]

    @property
    def state(self) -> State:
        """Who holds what there."""
        return State() if self.opened is None else self.opened.state

    @property
    def head(self) -> Sealed | None:
        """The newest entry there; None when nothing was ever done."""
        return None if self.opened is None else self.opened.head


def look_there(name: str) -> There:
    """Look at a registered model in the registry in use. Nothing is written.

    Raises:
        IntegrityError: its ledger is broken.
        UnavailableError: the registry, or the ledger's store, did not answer.
    """
    try:
        model = registered_model(name)
    except NotFoundError:
        return There(model=None, opened=None, entries=())
    if LEDGER_TAG not in model.tags:
        # its place is fixed when there is something to write; a plan writes nothing
        return There(model=model, opened=None, entries=())
    opened = open_model(name)
    entries = tuple(opened.ledger.history(opened.head)) if opened.head is not None else ()
    return There(model=model, opened=opened, entries=entries)


def copy_of(
    name: str, source: Located, digest: str, destination: Registry, settings: Settings
) -> Copy:
    """What has to be there of a version here.

    Args:
        name: its registered name, on both sides.
        source: the version here.
        digest: its package digest.
        destination: the other registry.
        settings: of this process.
    """
    manifest, _ = read_package_manifest(source, settings=settings)
    with using(destination):
        found = [copy for copy in versions_by_digest(digest) if copy.name == name]
    ready = [copy.version for copy in found if copy.state == READY]
    return Copy(
        name=name,
        package_digest=digest,
        size_bytes=manifest.size_bytes,
        source=source,
        there=min(ready, default=None),
    )


def base_copy(pin: BasePin | None, destination: Registry, settings: Settings) -> Copy | None:
    """What has to be there of a base: a registered package goes along, and nothing else can."""
    if pin is None or pin.origin is not BaseOrigin.PACKAGE or pin.package_digest is None:
        return None
    with using(destination):
        copies = versions_by_digest(pin.package_digest)
    source = _base_source(pin, settings)
    usable = [copy for copy in copies if copy.state == READY]
    if usable and source is not None:
        one = usable[0]
        return Copy(
            name=one.name,
            package_digest=pin.package_digest,
            size_bytes=sum(record.size_bytes for record in pin.files),
            source=source,
            there=one.version,
        )
    if source is None or source.name is None or any(c.state == ARCHIVED for c in copies):
        return None
    return copy_of(source.name, source, pin.package_digest, destination, settings)


def _base_source(pin: BasePin, settings: Settings) -> Located | None:
    """The registered version here that is the pinned package."""
    try:
        places = [pin.uri] if isinstance(parse_reference(pin.uri), VersionReference) else []
    except PairlockError:
        places = []
    places += [copy.uri for copy in versions_by_digest(pin.package_digest or "")]
    for place in places:
        try:
            located = resolve(place, settings)
        except NotFoundError:
            continue
        if pin.package_digest in located.anchors.values():
            return located
    return None


def base_there(pin: BasePin | None, base: Copy | None, destination: Registry) -> BaseFacts | None:
    """What the other registry will say of the base when all is copied."""
    if pin is None:
        return None
    if pin.package_digest is None:
        facts = base_facts(pin)
        if facts is None or not facts.is_version:
            return facts
        state = "no Pairlock package, so that nobody could tell it in another registry"
        return BaseFacts(uri=pin.uri, is_version=True, state=state)
    with using(destination):
        copies = versions_by_digest(pin.package_digest)
        ready = [copy for copy in copies if copy.state == READY]
        if ready:
            return copied_base(f"{ready[0].uri} of {destination}", ready)
    if copies:
        return BaseFacts(uri=f"{copies[0].uri} of {destination}", is_version=True, state="archived")
    if base is not None:
        return BaseFacts(uri=f"{base.source.uri}, copied along,", is_version=True, state=READY)
    facts = base_facts(pin)
    if facts is None or not facts.is_version:
        return facts
    return BaseFacts(uri=pin.uri, is_version=True, state="in neither registry")
