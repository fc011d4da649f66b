"""What a version's tags must say by its manifest, and what they say where none was read. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from operator import itemgetter

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

_NAMES = (
    DIGEST_TAG,
    "pairlock.format",
    "pairlock.kind",
    "pairlock.dimension",
    "pairlock.document_space",
    "pairlock.query_space",
    *BASE_TAGS,
)
_TAKE = {count: itemgetter(*_NAMES[:count]) for count in (6, 9, 10)}
"""Takes so many of a version's tags at once: ten thousand versions are compared."""

_FORMAT = str(FORMAT_VERSION)


def version_tags(package: PackageFacts) -> dict[str, str]:
    """What `pairlock log` writes as tags, from what is known of a manifest.

    The flavor writes them from the manifest itself; a test holds the two together.
    """
    return {name: str(text) for name, text in zip(_NAMES, _texts(package), strict=False)}


def says_all(tags: Mapping[str, str], package: PackageFacts) -> bool:
    """Whether among some tags are those of a package, and all of them."""
    texts = _texts(package)
    try:
        return bool(_TAKE[len(texts)](tags) == texts)
    except KeyError:
        return False


def _texts(package: PackageFacts) -> tuple[str, ...]:
    """What its tags say, in the order of their names: fewer without a base, or a package's."""
    own = (
        package.digest,
        _FORMAT,
        package.kind,
        str(package.dimension),
        package.document_space,
        package.query_space,
    )
    base = package.base
    if base is None:
        return own
    if base.package_digest is None:
        return (*own, base.uri, base.origin, base.tree_digest)
    return (*own, base.uri, base.origin, base.tree_digest, base.package_digest)


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
