"""Brings a proved package to this machine, and its base if asked to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pairlock.bases import Base, open_base
from pairlock.config import current_settings
from pairlock.copying import copy_package
from pairlock.packages import Package, open_package
from pairlock.progress import SILENT, Progress
from pairlock.references import absolute_folder
from pairlock.resolution import resolve
from pairlock.staging import require_free


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulled:
    """What is on this machine now."""

    package: Package
    base: Base | None
    """The base, when it was asked for and the package stands on one."""

    path: Path
    """The package's folder."""

    @property
    def fetched_bytes(self) -> int:
        """Bytes that had to be fetched."""
        return self.package.fetched_bytes + (self.base.fetched_bytes if self.base else 0)

    @property
    def verified_bytes(self) -> int:
        """Bytes that are proved."""
        return self.package.proved.size_bytes + (self.base.proved.size_bytes if self.base else 0)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What somebody should know who uses it."""
        return (*self.package.located.warnings, *(self.base.warnings if self.base else ()))


def pull(
    uri: str,
    *,
    to: Path | None = None,
    with_base: bool = False,
    base: str | None = None,
    expected_digest: str | None = None,
    offline: bool | None = None,
    rehash: bool = False,
    progress: Progress = SILENT,
) -> Pulled:
    """Prove a package, and bring it here: into the cache, or to a folder.

    Args:
        uri: as `pairlock.load`.
        to: a folder that does not exist yet, or is empty, to copy the package to. Without it a
            package in a local folder stays where it is, and any other is brought into the cache.
        with_base: also bring the base of an adapter.
        base: as `pairlock.load`.
        expected_digest: a package digest known from elsewhere.
        offline: as `pairlock.load`.
        rehash: as `pairlock.load`.
        progress: told about the work.

    Returns:
        What is here now, and where.

    Raises:
        AlreadyExistsError: the target is not empty.
        IntegrityError: the package is not what was approved, or changed while it was copied.
        StorageError: writing failed; nothing half-done is left.
        PairlockError: every other reason not to find or read it.
    """
    settings = current_settings(offline=offline, rehash=rehash)
    target = None if to is None else absolute_folder(to)
    if target is not None:
        require_free(target)
    package = open_package(
        resolve(uri, settings),
        settings=settings,
        progress=progress,
        expected_digest=expected_digest,
    )
    found = None
    if with_base and package.manifest.base is not None:
        found = open_base(package.manifest.base, instead=base, settings=settings, progress=progress)
    if target is not None:
        copy_package(package, target, settings=settings, progress=progress)
    return Pulled(package=package, base=found, path=target or package.root)
