"""What a version says about itself, without reading its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pairlock.catalog import Located
from pairlock.config import current_settings
from pairlock.integrity import compare_anchors
from pairlock.manifest import Manifest, manifest_data
from pairlock.packages import package_error, read_package_manifest
from pairlock.profiling import stored_profiles
from pairlock.resolution import resolve


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """A version's manifest, and who vouches for it."""

    located: Located
    manifest: Manifest
    digest: str
    profiles: Mapping[str, Mapping[str, Any] | None]
    """What `pairlock profile` stored, by `<device type>.<dtype>`; None: a tag that holds none."""

    @property
    def anchors(self) -> Mapping[str, str]:
        """Records outside the package that name the same digest."""
        return self.located.anchors

    def to_dict(self) -> dict[str, Any]:
        """The description as JSON data."""
        return {
            "requested": self.located.requested,
            "uri": self.located.uri,
            "location": self.located.location,
            "package_digest": self.digest,
            "anchors": dict(self.anchors),
            "manifest": manifest_data(self.manifest),
            "profiles": dict(self.profiles),
        }


def show(uri: str, *, offline: bool | None = None) -> Description:
    """Read a version's manifest, and compare its digest with what the registry recorded.

    Args:
        uri: as `pairlock.load`.
        offline: as `pairlock.load`.

    Raises:
        IntegrityError: the manifest is not the one that was registered.
        NotFoundError: there is no such version, or no package.
        PairlockError: every other reason not to read it.
    """
    settings = current_settings(offline=offline)
    located = resolve(uri, settings)
    manifest, digest = read_package_manifest(located, settings=settings)
    if wrong := compare_anchors(digest, located.anchors):
        raise package_error(located.uri, wrong)
    return Description(
        located=located,
        manifest=manifest,
        digest=digest,
        profiles=stored_profiles(located, digest),
    )
