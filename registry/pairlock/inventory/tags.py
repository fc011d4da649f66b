"""The tags that a registered version must have, by its manifest. No I/O."""

from __future__ import annotations

from pairlock.catalog import DIGEST_TAG
from pairlock.inventory.facts import PackageFacts
from pairlock.manifest import FORMAT_VERSION

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
    if package.base is not None:
        base = package.base
        values = (base.uri, base.origin.value, base.tree_digest, base.package_digest)
        found |= {
            tag: value for tag, value in zip(BASE_TAGS, values, strict=True) if value is not None
        }
    return found
