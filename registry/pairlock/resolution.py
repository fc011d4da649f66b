"""From what a user wrote to where it lies: by the registry, or by its last answer.

- A numeric version that was resolved before costs one question: whether it is still the same one.
- An alias or a stage is always asked for.
- Offline, a registry over a network is not asked at all: its last answer is used, with its age.
- A registry in a local sqlite file is asked in any case; it is no network.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from pairlock.cache import IMPORTED, Answer, CacheFolder, forget, recall, remember
from pairlock.catalog import Located, is_local_registry, locate, tracking_uri
from pairlock.errors import ErrorKind, NotFoundError, UnavailableError
from pairlock.references import (
    FolderReference,
    HubReference,
    Reference,
    RemoteReference,
    parse_reference,
    without_credentials,
)
from pairlock.stores.opening import is_remote

if TYPE_CHECKING:
    from pairlock.config import Settings


def resolve(text: str, settings: Settings) -> Located:
    """Find out what a reference names and where it lies.

    Args:
        text: what a user wrote.
        settings: whether the network may be used, and which cache remembers.

    Returns:
        The location, and the digests recorded for it.

    Raises:
        InvalidInputError: the reference cannot be.
        NotFoundError: there is no such model, version, alias or run.
        UnavailableError: the registry cannot be reached, or was never asked before going offline.
    """
    reference = parse_reference(text)
    if isinstance(reference, FolderReference | HubReference):
        return locate(reference)
    folder = CacheFolder(settings.cache)
    if isinstance(reference, RemoteReference):
        return _direct(reference, folder, settings)
    if settings.offline and not is_local_registry():
        return _from_memory(reference, folder, without_credentials(tracking_uri()))
    try:
        return _ask(reference, folder)
    except NotFoundError as error:
        imported = recall(folder, IMPORTED, str(reference))
        if imported is None:
            raise
        if settings.offline:
            return _located(imported)
        error.hint = f"it was imported here: PAIRLOCK_OFFLINE=1 loads it; or {error.hint}"
        raise


def found(located: Located, digest: str, settings: Settings) -> None:
    """Remember which package was found, and proved, at a place.

    Args:
        located: the place.
        digest: the package digest.
        settings: which cache remembers.
    """
    if located.remembered_at is None and is_remote(located.location):
        registry = _registry_of(located.uri)
        _keep(CacheFolder(settings.cache), registry, replace(located, package_digest=digest))


def age_s(located: Located) -> float | None:
    """How old a remembered answer is, in seconds; None when the registry was asked now."""
    return None if located.remembered_at is None else max(0.0, time.time() - located.remembered_at)


def _ask(reference: Reference, folder: CacheFolder) -> Located:
    registry = without_credentials(tracking_uri())
    before = recall(folder, registry, str(reference))

    def known(uri: str) -> Located | None:
        answer = recall(folder, registry, uri)
        return None if answer is None else replace(_located(answer), remembered_at=None)

    try:
        now = locate(reference, known=known)
    except NotFoundError as error:
        if before is not None and error.kind is ErrorKind.MODEL_NOT_FOUND:
            forget(folder, before)
        raise
    except UnavailableError as error:
        if before is not None:
            minutes = (time.time() - before.asked_at) / 60
            error.hint += f"; PAIRLOCK_OFFLINE=1 uses its answer of {minutes:.0f} minutes ago"
        raise
    now = _with_warning(now, recall(folder, registry, now.uri))
    _keep(folder, registry, now)
    return now


def _keep(folder: CacheFolder, registry: str, located: Located) -> None:
    """Remember an answer about bytes that are elsewhere, or from a registry that is."""
    if not is_remote(located.location) and (not registry or is_local_registry()):
        return
    for requested in dict.fromkeys([located.requested, located.uri]):
        remember(
            folder,
            Answer(
                registry=registry,
                requested=requested,
                uri=located.uri,
                location=located.location,
                anchors=located.anchors,
                graphs=located.graphs,
                name=located.name,
                version=located.version,
                created_ms=located.created_ms,
                package_digest=located.package_digest,
            ),
        )


def _with_warning(now: Located, before: Answer | None) -> Located:
    if before is None or None in {before.created_ms, now.created_ms}:
        return now
    if before.created_ms == now.created_ms:
        return now
    warning = (
        f"{now.uri} was deleted and made again since this machine last asked for it: "
        "it is another version under the same name"
    )
    return replace(now, warnings=(*now.warnings, warning))


def _direct(reference: RemoteReference, folder: CacheFolder, settings: Settings) -> Located:
    if settings.offline:
        return _from_memory(reference, folder, _registry_of(str(reference)))
    return locate(reference)


def _registry_of(uri: str) -> str:
    """What gives a URI its meaning: the server, or nothing for a URI that names its store."""
    return "" if uri.startswith(("s3://", "s3a://")) else without_credentials(tracking_uri())


def _from_memory(reference: Reference, folder: CacheFolder, registry: str) -> Located:
    requested = str(reference)
    answer = recall(folder, registry, requested) or recall(folder, IMPORTED, requested)
    if answer is None:
        raise never_asked(requested, registry or "the store")
    return _located(answer)


def never_asked(requested: str, registry: str) -> UnavailableError:
    """The error for something that an offline machine knows nothing about."""
    return UnavailableError(
        f"{requested} was never asked for on this machine, and it is offline",
        kind=ErrorKind.NEVER_ASKED,
        checked="the answers that are kept in the cache",
        expected=f"an earlier answer of {registry}",
        found="none",
        done="nothing was loaded, and no network was used",
        hint="run `pairlock pull` while there is a network, `pairlock import` an export, or unset "
        "PAIRLOCK_OFFLINE",
    )


def _located(answer: Answer) -> Located:
    return Located(
        requested=answer.requested,
        uri=answer.uri,
        location=answer.location,
        anchors=answer.anchors,
        graphs=answer.graphs,
        name=answer.name,
        version=answer.version,
        created_ms=answer.created_ms,
        package_digest=answer.package_digest,
        remembered_at=answer.asked_at,
    )
