"""Finds out what the gates ask about: the version, its base, what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from pairlock.catalog import (
    DELETED,
    READY,
    Copy,
    Located,
    ledger_location,
    registered_model,
    version_state,
    versions_by_digest,
)
from pairlock.config import Settings
from pairlock.errors import ErrorKind, IntegrityError, NotFoundError, PairlockError
from pairlock.evaluation.recorded import Measured, recorded_metrics
from pairlock.golden_files import golden_documents
from pairlock.ledger import Held, Ledger, Request, State, Subject
from pairlock.manifest import BasePin, Manifest
from pairlock.packages import open_package, read_package_manifest
from pairlock.progress import Progress
from pairlock.promotion.facts.opened import open_model
from pairlock.promotion.rules.gates import BaseFacts, Holder
from pairlock.promotion.rules.wishes import Wish
from pairlock.references import VersionReference, parse_reference
from pairlock.registries import Registry, registry_in_use, using
from pairlock.resolution import resolve
from pairlock.spaces import Evidence, GoldenDocuments, Spaces, SpaceVerdict, judge_spaces
from pairlock.verification import Verification, verify

ANOTHER_PACKAGE = "another package"
"""The state of a pinned version under whose name something else was registered since."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A registered version and what its manifest says."""

    located: Located
    manifest: Manifest
    subject: Subject


def read_version(name: str, version: int, settings: Settings) -> Version:
    """Read a version's manifest.

    Raises:
        NotFoundError: there is no such version, or no package.
        IntegrityError: the package is not the one that was registered.
        PairlockError: every other reason not to read it.
    """
    located = resolve(f"models:/{name}/{version}", settings)
    manifest, digest = read_package_manifest(located, settings=settings)
    pin = manifest.base
    return Version(
        located=located,
        manifest=manifest,
        subject=Subject(
            version=version,
            package_digest=digest,
            base_uri=None if pin is None else pin.uri,
            base_digest=None if pin is None else pin.tree_digest,
            document_space=manifest.spaces.document,
            query_space=manifest.spaces.query,
        ),
    )


def stages_of(state: State, version: int) -> frozenset[str]:
    """The stages that a version holds."""
    return frozenset(stage for stage, held in state.stages.items() if held.version == version)


def base_facts(pin: BasePin | None) -> BaseFacts | None:
    """What the registry says of a pinned base.

    Raises:
        UnavailableError: the registry, or the ledger of the base's model, cannot be reached.
    """
    if pin is None:
        return None
    try:
        reference = parse_reference(pin.uri)
    except PairlockError:
        return BaseFacts(uri=pin.uri, is_version=False)
    if not isinstance(reference, VersionReference):
        return BaseFacts(uri=pin.uri, is_version=False)
    found = version_state(reference.name, reference.version)
    state = found.state
    if state == READY and _are_other(found.package_digest, pin.package_digest):
        state = ANOTHER_PACKAGE
    if state in {DELETED, ANOTHER_PACKAGE} and (copies := ready_copies(pin)):
        # what is gone by name and there by content is what a load finds; archived was on purpose
        return copied_base(f"{copies[0].uri}, the same package as {pin.uri}", copies)
    return BaseFacts(
        uri=pin.uri,
        is_version=True,
        state=state,
        stages=_stages_by_ledger(reference.name, reference.version),
    )


def _are_other(found: str | None, pinned: str | None) -> bool:
    """Whether two digests are known, and differ: a tag can be lost."""
    return None not in {found, pinned} and found != pinned


def ready_copies(pin: BasePin) -> tuple[Copy, ...]:
    """Every version in use that is the pinned package, under whatever name.

    Raises:
        UnavailableError: the registry did not answer.
    """
    if pin.package_digest is None:
        return ()
    found = versions_by_digest(pin.package_digest)
    return tuple(copy for copy in found if copy.state == READY)


def copied_base(uri: str, copies: Sequence[Copy]) -> BaseFacts:
    """Versions that are one package, as one base: it is in every stage that one of them holds.

    Raises:
        UnavailableError: the ledger of one cannot be reached.
    """
    stages = [_stages_by_ledger(copy.name, copy.version) for copy in copies]
    return BaseFacts(uri=uri, is_version=True, state=READY, stages=frozenset().union(*stages))


def _stages_by_ledger(name: str, version: int) -> frozenset[str]:
    try:
        model = registered_model(name)
    except NotFoundError:
        return frozenset()
    if ledger_location(model) is None:
        return frozenset()
    return stages_of(open_model(name).state, version)


def measured_of(located: Located, digest: str) -> tuple[Measured, ...]:
    """What was measured of a version, as far as the registry knows."""
    return recorded_metrics(located, digest=digest)


def holder_facts(name: str, held: Held | None, settings: Settings) -> Holder | None:
    """What is known of the version in a stage; nothing was measured of one that is gone."""
    if held is None:
        return None
    try:
        located = resolve(f"models:/{name}/{held.version}", settings)
    except NotFoundError:
        return Holder(version=held.version, measured=())
    return Holder(version=held.version, measured=measured_of(located, held.package_digest))


def space_verdict(
    after: Version,
    held: Held | None,
    ledger: Ledger | None,
    *,
    name: str,
    settings: Settings,
    progress: Progress,
    registry: Registry | None = None,
) -> SpaceVerdict:
    """Whether what is in a stage now and what shall come there share their document vectors.

    The space of what is there now is the one that the ledger remembers, so that it is known also
    when that version was deleted. Packages are opened only where the ids differ.

    Args:
        after: what shall come.
        held: who is there now.
        ledger: of the model; None where it has none yet.
        name: the registered model's.
        settings: of this process.
        progress: told about the work.
        registry: where `held` is; None for the one in use.
    """
    spaces = after.manifest.spaces
    before = None if ledger is None else spaces_of(ledger, held)
    if held is None or before is None or before.document == spaces.document:
        return judge_spaces(before, spaces)
    uri, digest = f"models:/{name}/{held.version}", held.package_digest
    evidence: Evidence | None = None
    with suppress(PairlockError):  # what is gone, or is not what was approved, shows nothing
        with using(registry or registry_in_use()):
            earlier = golden_of(resolve(uri, settings), digest, settings, progress)
        evidence = partial(_both, earlier, after, settings, progress)
    return judge_spaces(before, spaces, evidence)


def request_for(state: State, stage: str, version: int | None, digest: str) -> Request | None:
    """What was asked for: a version, by its number and its package digest, in a stage."""
    for request in state.requests:
        if (request.stage, request.version, request.package_digest) == (stage, version, digest):
            return request
    return None


def spaces_of(ledger: Ledger, held: Held | None) -> Spaces | None:
    """The spaces of what is in a stage, as the ledger remembers them."""
    subject = None if held is None else ledger.read(held.entry).entry.subject
    if subject is None:
        return None
    return Spaces(document=subject.document_space, query=subject.query_space)


def _both(
    earlier: GoldenDocuments, after: Version, settings: Settings, progress: Progress
) -> tuple[GoldenDocuments, GoldenDocuments]:
    return earlier, golden_of(after.located, after.subject.package_digest, settings, progress)


def golden_of(
    located: Located, digest: str, settings: Settings, progress: Progress
) -> GoldenDocuments:
    """A version's golden document vectors.

    Raises:
        PairlockError: it is not what was registered, or cannot be read.
    """
    return golden_documents(
        open_package(located, settings=settings, progress=progress, expected_digest=digest)
    )


def verify_version(found: Version, wish: Wish, progress: Progress) -> Verification:
    """Prove a version: bytes, base, golden vectors.

    Raises:
        IntegrityError: it was changed since its manifest was read.
        PairlockError: as `pairlock.verify`.
    """
    verification = verify(
        found.located.uri, base=wish.base, allow=wish.allow, offline=False, progress=progress
    )
    if verification.package_digest != found.subject.package_digest:
        raise IntegrityError(
            f"{found.located.uri} was changed while it was looked at",
            kind=ErrorKind.FILE_CHANGED,
            checked="the manifest, read twice",
            expected=found.subject.package_digest,
            found=verification.package_digest,
            done="nothing was changed",
            hint="find out who writes to the store, and try again",
        )
    return verification
