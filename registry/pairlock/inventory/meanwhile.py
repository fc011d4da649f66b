"""Asks again about the few things that a registry's changes during an inventory may explain.

Models, versions, packages and ledgers are read one after the other, while others go on working. So
a version may be deleted after it was listed, and a ledger may name a version that was registered
since. Neither is a missing package, nor a holder that is gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from pairlock.catalog import DIGEST_TAG, registered_model
from pairlock.catalog.listing import ListedModel, ListedVersion, versions_of
from pairlock.catalog.tables import read_versions
from pairlock.errors import NotFoundError, PairlockError
from pairlock.inventory.facts import LedgerFacts, PackageState, VersionFacts
from pairlock.inventory.tags import pin_of
from pairlock.references import VersionReference, parse_reference

Key = tuple[str, int]

MOST = 200
"""Models that are asked about again. Where more look odd, a store is gone, not a few versions."""


def doubtful(seen: Mapping[Key, VersionFacts]) -> set[Key]:
    """Versions that look as one does that was deleted, or is being registered, right now."""
    return {
        key
        for key, facts in seen.items()
        if facts.package_state is PackageState.MISSING
        or (facts.package is not None and DIGEST_TAG not in facts.tags)
    }


def unseen(
    seen: Mapping[Key, VersionFacts], ledgers: Mapping[str, LedgerFacts | None]
) -> tuple[set[Key], set[Key]]:
    """Versions that were not listed: those that ledgers name as holders, and those stood on."""
    holders = {
        (name, held.version)
        for name, ledger in ledgers.items()
        if ledger is not None
        for held in ledger.state.stages.values()
    }
    pins = {id(pin): pin for facts in seen.values() if (pin := pin_of(facts)) is not None}
    uris = {pin.uri for pin in pins.values()}
    return holders - seen.keys(), set(_versions(uris)) - seen.keys()


def _versions(uris: Iterable[str]) -> Iterator[Key]:
    for uri in uris:
        try:
            found = parse_reference(uri)
        except PairlockError:
            continue
        if isinstance(found, VersionReference):
            yield found.name, found.version


def versions_now(names: Iterable[str]) -> dict[Key, ListedVersion]:
    """Every version of some registered models, as they are now.

    Raises:
        UnavailableError: the registry did not answer.
    """
    pages = versions_of(names) if (found := read_versions(names)) is None else [found]
    return {(one.name, one.version): one for page in pages for one in page}


def model_now(name: str) -> ListedModel | None:
    """A registered model, as it is now; None when it is gone.

    Raises:
        UnavailableError: the registry did not answer.
    """
    try:
        found = registered_model(name)
    except NotFoundError:
        return None
    return ListedModel(
        name=found.name,
        created_ms=found.created_ms,
        updated_ms=0,  # of no use once the listing is made
        aliases=found.aliases,
        tags=found.tags,
    )


def is_same(before: ListedModel, now: ListedModel) -> bool:
    """Whether a registered model says what it said, so that its ledger was read beside it."""
    return (before.created_ms, before.aliases, before.tags) == (
        now.created_ms,
        now.aliases,
        now.tags,
    )
