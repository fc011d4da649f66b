"""What a version's tags must say by its manifest, and what they say where none was read. No I/O."""

from __future__ import annotations

from pairlock.catalog import DIGEST_TAG
from pairlock.inventory.facts import PackageFacts, PinFacts, VersionFacts
from pairlock.manifest import FORMAT_VERSION, BaseOrigin

BASE_TAGS = (
    "pairlock.base.uri",
    "pairlock.base.origin",
    "pairlock.base.tree_digest",
    "pairlock.base.package_digest",
)
"""Tags of an adapter that name its base; the last one only where the base is a package."""


def version_tags(package: PackageFacts) -> dict[str, str]:
    """What `pairlock log` writes as tags, from what is known of a manifest.

    The flavor writes them from the manifest itself; a test holds the two together.
    """
    found = {
        DIGEST_TAG: package.digest,
        "pairlock.format": str(FORMAT_VERSION),
        "pairlock.kind": package.kind.value,
        "pairlock.dimension": str(package.dimension),
        "pairlock.document_space": package.spaces.document,
        "pairlock.query_space": package.spaces.query,
    }
    if (base := package.base) is not None:
        uri, origin, tree, digest = BASE_TAGS
        found[uri] = base.uri
        found[origin] = base.origin.value
        found[tree] = base.tree_digest
        if base.package_digest is not None:
            found[digest] = base.package_digest
    return found


def digest_of(version: VersionFacts) -> str | None:
    """The package digest of a version: of what lies there, or else as it was registered."""
    if version.package is not None:
        return version.package.digest
    return version.tags.get(DIGEST_TAG)


def pin_of(version: VersionFacts) -> PinFacts | None:
    """The base of a version, by its manifest or else by its tags; None where it has none."""
    if version.package is not None:
        return version.package.base
    uri, origin, tree = (version.tags.get(tag) for tag in BASE_TAGS[:3])
    if not uri or not tree or origin not in set(BaseOrigin):
        return None
    return PinFacts(
        uri=uri,
        origin=BaseOrigin(origin),
        tree_digest=tree,
        package_digest=version.tags.get(BASE_TAGS[3]),
        dimension=None,
    )
