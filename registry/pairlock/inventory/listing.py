"""Lists a registry as the cheapest way that it offers, and hands out versions as soon as it can.

A database is read whole, every time. A server is asked for all its pages the first time; later
only for those models of which MLflow says that a version was registered, deleted or moved to
another legacy stage since. MLflow does not say when a tag of a version changed: of a version in a
model that stayed as it was, other than the newest, the tags are those of the last whole listing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

from msgspec.structs import replace

from pairlock.catalog.listing import (
    ListedLogged,
    ListedVersion,
    Listing,
    derived,
    is_logged_model_there,
    list_deleted_runs,
    list_logged_models,
    list_models,
    list_versions,
    source_model_id,
    versions_of,
)
from pairlock.catalog.tables import read_tables
from pairlock.inventory.facts import VersionFacts
from pairlock.inventory.journal import KnownListing
from pairlock.inventory.remembered import Memory

Place = tuple[str | None, str | None]
"""A location and the id of a logged model, as `catalog.listing.derived` gives them."""

Batch = list[tuple[ListedVersion, Place]]
"""Versions with their places."""

_ASKED_SINGLY = 200
"""Logged models that are remembered as orphans and asked for one by one, before all are listed."""


class Lister:
    """One reading of a registry.

    Args:
        names: registered models; all when empty.
        memory: what is known from before; None to ask for everything.
        stopped: asked between pages.
    """

    def __init__(
        self, names: Iterable[str], memory: Memory | None, stopped: Callable[[], bool]
    ) -> None:
        self._names = frozenset(names)
        self._memory = memory
        self._stopped = stopped
        self._before = KnownListing()
        self.listing = Listing()
        self._given: list[Batch] = []
        self._pending: dict[str | None, list[tuple[str, int]]] = defaultdict(list)
        self.orphans: dict[str, str] = {}
        """Ids of Pairlock's logged models that no version was registered from, with locations."""

        self.whole = False
        """Whether everything was listed that there is."""

    def is_wanted(self, name: str) -> bool:
        """Whether a registered model is one of those that were asked for."""
        return not self._names or name in self._names

    def batches(self) -> Iterator[Batch]:
        """Every version once, with its place as far as the listing says it.

        Raises:
            UnavailableError: the registry is not there, or stopped answering.
        """
        if read_tables(self.listing, stopped=self._stopped, names=self._names):
            yield self._rest()
        else:
            yield from self._by_pages()
            if not self._stopped():
                self.listing.deleted_runs.update(list_deleted_runs())
        if not self._stopped():
            self.whole = True
            if not self._names:
                self.orphans = self._find_orphans()

    def _by_pages(self) -> Iterator[Batch]:
        # an answer for another registry at this address would be worth nothing
        if self._memory is not None and not self._names:
            self._before = self._memory.listing
        listing = self.listing
        newest: list[ListedVersion] = []
        for model, latest in list_models():
            if self._stopped():
                return
            if self.is_wanted(model.name):
                listing.models[model.name] = model
                newest.extend(latest)
        for page in self._version_pages():
            listing.versions.update(((one.name, one.version), one) for one in page)
            if self._stopped():
                yield self._rest()
                return
        for one in newest:
            there = listing.versions.get((one.name, one.version))
            if there is not None and there.created_ms == one.created_ms:
                listing.versions[one.name, one.version] = replace(
                    there, state=one.state, legacy_stage=one.legacy_stage, tags=one.tags
                )
        for key, one in listing.versions.items():
            self._pending[source_model_id(one.source)].append(key)
        yield self._placed([None])
        for logged in self._logged_pages():
            listing.logged.update((one.model_id, one) for one in logged)
            if self._stopped():
                break
            yield self._placed(one.model_id for one in logged)
        yield self._rest()
        if self._memory is not None and not self._names and not self._stopped():
            self._memory.note_listing(_to_remember(listing))

    def _version_pages(self) -> Iterator[list[ListedVersion]]:
        models = self.listing.models
        if self._names:
            yield from versions_of(models)
            return
        before = self._before.models
        changed = {
            name
            for name, model in models.items()
            if before.get(name) != (model.created_ms, model.updated_ms)
        }
        if len(changed) > len(models) / 4:
            yield from self._all_versions()
            return
        yield [
            one for one in self._before.versions if one.name in models and one.name not in changed
        ]
        yield from versions_of(changed)

    def _all_versions(self) -> Iterator[list[ListedVersion]]:
        seen: set[str] = set()
        pages = 0
        for page in list_versions():
            pages += 1
            seen.update(one.name for one in page)
            yield page
        if pages > 1:
            # rows that slipped through between two pages
            yield from versions_of(self.listing.models.keys() - seen)

    def _logged_pages(self) -> Iterator[list[ListedLogged]]:
        before = self._before.logged
        yield before
        newest_ms = max((one.updated_ms for one in before), default=None)
        yield from list_logged_models(newer_than_ms=newest_ms)

    def _placed(self, model_ids: Iterable[str | None]) -> Batch:
        """Versions that were registered from some logged models, where they have a place by now."""
        found: Batch = []
        for model_id in model_ids:
            for key in self._pending.pop(model_id, ()):
                one = self.listing.versions[key]
                place = derived(one, self.listing)
                if place[0] is not None:
                    found.append((one, place))
        self._given.append(found)
        return found

    def _rest(self) -> Batch:
        """Every version that was not handed out yet."""
        given = {(one.name, one.version) for batch in self._given for one, _ in batch}
        found = [
            (one, derived(one, self.listing))
            for key, one in self.listing.versions.items()
            if key not in given
        ]
        self._given.append(found)
        return found

    def came(self, one: ListedVersion, model_id: str | None) -> None:
        """Add a version that was registered since, from a logged model that may be as new."""
        self.listing.versions[one.name, one.version] = one
        if model_id is not None and is_logged_model_there(model_id):
            self.listing.logged_ids.add(model_id)
            self.orphans.pop(model_id, None)

    def doomed(self, versions: Iterable[VersionFacts]) -> dict[tuple[str, int], str]:
        """The deleted things that the bytes of some versions belong to, by model and number.

        Args:
            versions: those that were looked at.
        """
        if not self.whole:
            return {}
        there = self.listing.logged_ids | self.listing.logged.keys()
        found: dict[tuple[str, int], str] = {}
        for one in versions:
            if one.model_id is not None and one.model_id not in there:
                found[one.name, one.version] = f"logged model {one.model_id}"
            elif self.listing.deleted_runs and (run_id := self._deleted_run(one.location)):
                found[one.name, one.version] = f"run {run_id}"
        return found

    def _deleted_run(self, location: str) -> str | None:
        """The deleted run that a location lies in the artifacts of."""
        folder = location.rstrip("/")
        while "/" in folder:
            if (run_id := self.listing.deleted_runs.get(folder)) is not None:
                return run_id
            folder = folder.rpartition("/")[0]
        return None

    def _find_orphans(self) -> dict[str, str]:
        found = {
            one.model_id: one.location
            for one in self.listing.logged.values()
            if one.is_ready and one.digest is not None
        }
        if not found:
            return {}
        used = {text for batch in self._given for _, place in batch for text in place}
        found = {
            model_id: location
            for model_id, location in found.items()
            if model_id not in used and location not in used
        }
        remembered = {one.model_id for one in self._before.logged} & found.keys()
        if len(remembered) > _ASKED_SINGLY:
            there = {one.model_id for page in list_logged_models() for one in page}
        else:
            there = {model_id for model_id in remembered if is_logged_model_there(model_id)}
        return {
            model_id: place
            for model_id, place in found.items()
            if model_id not in remembered or model_id in there
        }


def _to_remember(listing: Listing) -> KnownListing:
    return KnownListing(
        models={
            name: (model.created_ms, model.updated_ms) for name, model in listing.models.items()
        },
        versions=[
            replace(one, location=derived(one, listing)[0]) for one in listing.versions.values()
        ],
        logged=[one for one in listing.logged.values() if one.digest is not None],
    )
