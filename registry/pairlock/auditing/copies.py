"""Looks at this machine's cache: which copies are damaged, and what they are copies of."""

from __future__ import annotations

from pairlock.auditing.codes import FACTS, Code
from pairlock.auditing.findings import AuditFinding
from pairlock.auditing.rules.view import View
from pairlock.cache import CacheFolder
from pairlock.cache.checking import check_cache
from pairlock.cache.views import ViewKind
from pairlock.config import Settings
from pairlock.inventory import VersionFacts
from pairlock.inventory.tags import pin_of
from pairlock.progress import SILENT, Progress


def damaged_copies(
    view: View, settings: Settings, *, progress: Progress = SILENT
) -> tuple[AuditFinding, ...]:
    """Hash every file of the cache. Nothing is changed.

    Args:
        view: the inventory, which says what the copies are of.
        settings: which cache.
        progress: told about the bytes hashed.

    Returns:
        Every damaged file, at the version that is read from it, where there is one.

    Raises:
        UnsupportedError: a newer release made the cache.
    """
    found = check_cache(CacheFolder(settings.cache), progress=progress, mend=False)
    by_tree = _by_tree(view) if found.findings else {}
    findings = []
    for one in found.findings:
        version = _version_of(one.place, view, by_tree)
        findings.append(
            AuditFinding(
                code=Code.CACHE_DAMAGED,
                severity=FACTS[Code.CACHE_DAMAGED].severity,
                model=None if version is None else version.name,
                version=None if version is None else version.version,
                place=f"{settings.cache}/{one.place}",
                expected=one.expected,
                found=one.found,
                todo=FACTS[Code.CACHE_DAMAGED].todo,
            )
        )
    return tuple(findings)


def _by_tree(view: View) -> dict[str, VersionFacts]:
    """An adapter on each base, by the base's tree digest."""
    found: dict[str, VersionFacts] = {}
    for version in view.inventory.versions():
        if (pin := pin_of(version)) is not None:
            found.setdefault(pin.tree_digest, version)
    return found


def _version_of(place: str, view: View, by_tree: dict[str, VersionFacts]) -> VersionFacts | None:
    """The version that a view's file belongs to; None for a blob, which many may share."""
    parts = place.split("/")
    if len(parts) < 3 or parts[0] != "views":
        return None
    digest = f"sha256:{parts[2]}"
    if parts[1] == ViewKind.MODEL:
        return by_tree.get(digest)
    return next(iter(view.with_digest(digest)), None)
