"""Takes the inventory of a whole registry: lists it, looks at every package and every ledger."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from threading import Event

from msgspec.structs import replace

from pairlock.cache import CacheFolder
from pairlock.catalog import is_local_registry, registry_file
from pairlock.catalog.listing import ListedModel, ListedVersion, ask_location, derived
from pairlock.config import current_settings
from pairlock.errors import ErrorKind, Finding, NotFoundError, PairlockError, UnavailableError
from pairlock.garbage import collector_off, collector_on
from pairlock.installed import need
from pairlock.inventory.ahead import Ahead
from pairlock.inventory.deep import Wish, hash_all, wishes
from pairlock.inventory.facts import (
    Inventory,
    LedgerFacts,
    ModelFacts,
    PackageState,
    VersionFacts,
)
from pairlock.inventory.ledgers import has_ledger, read_ledger
from pairlock.inventory.listing import Batch, Lister, Place
from pairlock.inventory.meanwhile import (
    MOST,
    Key,
    doubtful,
    is_same,
    model_now,
    unseen,
    versions_now,
)
from pairlock.inventory.packages import Look, look_at, version_facts
from pairlock.inventory.remembered import Memory, journal_path, keep, recall
from pairlock.progress import SILENT, Progress
from pairlock.registries import registry_in_use
from pairlock.stores.opening import is_remote

_LOCAL_JOBS = 1
"""Looking at local packages is mostly Python, of which one thread runs at a time: on a local disk
a second one costs more than it gives. On a slow network file system `jobs` helps."""

_REMOTE_JOBS = 16
_LOCAL_CHUNK = 100
_LEDGER_CHUNK = 20
_NUMBER = attrgetter("version")
_ROUNDS = 3
"""What came meanwhile may stand on what came meanwhile."""


def take(
    *,
    names: Iterable[str] = (),
    deep: bool = False,
    jobs: int | None = None,
    remembered: bool = True,
    progress: Progress = SILENT,
    stop: Callable[[], bool] | None = None,
) -> Inventory:
    """Look at every model, version, package and ledger of the registry in use.

    Of a package the manifest is read, and names and sizes of all its files are compared with it.
    Nothing but manifests and ledgers is fetched, unless `deep`.

    Args:
        names: registered models to look at; all when empty. Orphans are looked for among all only.
        deep: hash every payload byte, and check the whole chain of every ledger.
        jobs: how many packages or files are worked on at once; None for a number that fits.
        remembered: leave unread what cannot have changed since the last inventory in the same
            cache; see docs/audit.md for what that does and does not see.
        progress: told about the versions looked at, and with `deep` about the bytes hashed.
        stop: asked now and then, by several threads; what was found is kept when it says True, as
            after KeyboardInterrupt.

    Returns:
        The inventory. It is not `complete` when it was stopped, or the registry stopped answering;
        it then holds what was looked at by then.

    Raises:
        UnavailableError: the registry does not answer at all, this machine is offline and the
            registry is not on it, or MLflow is not installed.
        InvalidInputError: an environment variable means nothing.
    """
    need("looking at a whole registry", "mlflow")
    settings = current_settings()
    if settings.offline and not is_local_registry():
        raise _offline(str(registry_in_use()))
    folder = CacheFolder(settings.cache)
    address = _address()
    chosen = frozenset(names)
    is_complete = False
    stop = stop or (lambda: False)
    with collector_off(), Ahead() as ahead:
        if remembered and not chosen and jobs is None:
            ahead.begin(journal_path(folder, address))
        memory = recall(folder, address) if remembered else Memory()
        taking = _Taking(
            deep=deep,
            jobs=jobs,
            memory=memory,
            ahead=ahead,
            offline=settings.offline,
            progress=progress,
            stop=stop,
        )
        lister = Lister(chosen, memory if remembered else None, taking.stopped)
        try:
            inventory = taking.run(lister, str(registry_in_use()))
            is_complete = inventory.complete
        finally:
            keep(folder, address, memory, was_whole=is_complete and not chosen)
    return inventory


@dataclass(slots=True)
class _Taking:
    """The work on one inventory."""

    deep: bool
    jobs: int | None
    memory: Memory
    ahead: Ahead
    offline: bool
    progress: Progress
    stop: Callable[[], bool]
    seen: dict[Key, VersionFacts] = field(default_factory=dict)
    ledgers: dict[str, LedgerFacts | None] = field(default_factory=dict)
    problem: str = ""
    ended: Event = field(default_factory=Event)

    def stopped(self) -> bool:
        """Whether to go on is over."""
        if self.ended.is_set():
            return True
        if self.stop():
            self.ended.set()
            return True
        return False

    def run(self, lister: Lister, registry: str) -> Inventory:
        """Do all of it, as far as it goes."""
        at_ms = time.time_ns() // 1_000_000
        try:
            self._look(lister)
            if not self.problem:
                self._read_ledgers(lister)
                self._catch_up(lister)
            if self.deep and not self.problem:
                with collector_on():
                    self._hash()
        except KeyboardInterrupt:
            self.ended.set()
        if self.ended.is_set() and not self.problem:
            count, listed = len(self.seen), len(lister.listing.versions)
            self.problem = f"it was stopped when {count} of {listed} versions were looked at"
        return self._inventory(lister, registry, at_ms)

    def _look(self, lister: Lister) -> None:
        with (
            self.progress.step("packages") as advance,
            ThreadPoolExecutor(self.jobs or _LOCAL_JOBS) as local,
            ThreadPoolExecutor(self.jobs or _REMOTE_JOBS) as remote,
        ):
            waiting: list[Future[list[tuple[Key, VersionFacts | None]]]] = []
            try:
                try:
                    for batch in lister.batches():
                        for chunk in _chunks(batch):
                            pool = remote if len(chunk) == 1 else local
                            waiting.append(
                                pool.submit(copy_context().run, self._look_at_all, chunk)
                            )
                except UnavailableError as error:
                    if not waiting:
                        raise
                    self.problem = f"{error.summary}: {error.found}"
                for future in waiting:
                    found = future.result()
                    advance(len(found))
                    self.seen.update((key, facts) for key, facts in found if facts is not None)
            except KeyboardInterrupt:
                self.ended.set()
                self.ahead.end()
                self._save(waiting)

    def _save(self, waiting: Iterable[Future[list[tuple[Key, VersionFacts | None]]]]) -> None:
        """Keep what is done, and let nothing else begin."""
        for future in waiting:
            if not future.cancel():
                with suppress(PairlockError):
                    self.seen.update((k, facts) for k, facts in future.result() if facts)

    def _look_at_all(self, chunk: Batch) -> list[tuple[Key, VersionFacts | None]]:
        found: list[tuple[Key, VersionFacts | None]] = []
        for one, place in chunk:
            if self.stopped():
                break
            found.append(((one.name, one.version), self._look_at(one, place)))
        return found

    def _look_at(self, one: ListedVersion, place: Place) -> VersionFacts | None:
        location, model_id = place
        if location is None:
            try:
                location = ask_location(one.name, one.version)
            except NotFoundError:
                return None  # deleted since it was listed
            except PairlockError as error:
                look = Look(state=PackageState.UNREACHABLE, problem=error.found)
                return version_facts(one, "", model_id, look)
        if (known := self.ahead.told(location, self.memory)) is not None:
            look = Look(state=PackageState.THERE, package=known)
        elif self.offline and is_remote(location):
            look = Look(state=PackageState.UNREACHABLE, problem="this machine is offline")
        else:
            look = look_at(one, location, self.memory)
        return version_facts(one, location, model_id, look)

    def _catch_up(self, lister: Lister) -> None:
        """Ask again about what may have come, gone or changed since it was listed."""
        with suppress(UnavailableError):
            for _ in range(_ROUNDS):
                if self.stopped() or not self._ask_again(lister):
                    return

    def _ask_again(self, lister: Lister) -> bool:
        """Whether a version came, which may stand on another that came."""
        models = lister.listing.models
        odd = doubtful(self.seen)
        holders, bases = unseen(self.seen, self.ledgers)
        late = holders | {key for key in bases if lister.is_wanted(key[0])}
        names = {name for name, _ in odd | late}
        changed = {name for name, _ in holders}
        changed |= {name for name, ledger in self.ledgers.items() if ledger and ledger.projected}
        if not names | changed or len(names | changed) > MOST:
            return False
        now = versions_now(names)
        for key in odd:
            if (one := now.get(key)) is None:
                del self.seen[key]
            else:
                self.seen[key] = replace(self.seen[key], tags=one.tags)
        came = sorted(late & now.keys())
        for name in sorted(changed | ({name for name, _ in came} - models.keys())):
            before, model = models.get(name), model_now(name)
            if model is None:
                models.pop(name, None)
                self.ledgers.pop(name, None)
            elif before is None or not is_same(before, model):
                models[name] = model
                self.ledgers[name] = read_ledger(model, self.memory, deep=self.deep)
        for key in came:
            facts = self._look_at(now[key], derived(now[key], lister.listing))
            if facts is not None:
                lister.came(now[key], facts.model_id)
                self.seen[key] = facts
        return bool(came)

    def _read_ledgers(self, lister: Lister) -> None:
        self.ledgers.update(dict.fromkeys(lister.listing.models))
        models = [model for model in lister.listing.models.values() if has_ledger(model)]
        if not models:
            return
        chunks = [
            models[start : start + _LEDGER_CHUNK] for start in range(0, len(models), _LEDGER_CHUNK)
        ]

        def read(chunk: list[ListedModel]) -> None:
            for model in chunk:
                if not self.stopped():
                    self.ledgers[model.name] = read_ledger(model, self.memory, deep=self.deep)

        with self.progress.step("ledgers"), ThreadPoolExecutor(self.jobs or _REMOTE_JOBS) as pool:
            futures = [pool.submit(copy_context().run, read, chunk) for chunk in chunks]
            for future in futures:
                future.result()

    def _hash(self) -> None:
        """Hash the files of every package that is there, once where versions share one."""
        by_place: dict[str, list[Key]] = defaultdict(list)
        for key, facts in self.seen.items():
            if facts.package_state is PackageState.THERE:
                by_place[facts.location].append(key)
        files: list[Wish] = []
        wrong: dict[str, list[Finding]] = defaultdict(list)
        pickles: dict[str, set[str]] = defaultdict(set)
        for location, keys in by_place.items():
            if self.stopped():
                return
            try:
                places = [finding.place for finding in self.seen[keys[0]].findings]
                files += wishes(location, places)
            except PairlockError as error:
                wrong[location].append(_unread(error))
        total_bytes = sum(wish.record.size_bytes for wish in files)
        with self.progress.step("hash", total_bytes) as advance:
            for one in hash_all(
                files,
                jobs=self.jobs or os.cpu_count() or 1,
                advance=advance,
                stopped=self.stopped,
            ):
                if one.finding is not None:
                    wrong[one.wish.location].append(one.finding)
                if one.is_pickle:
                    pickles[one.wish.location].add(one.wish.record.path)
        for location in wrong.keys() | pickles.keys():
            ordered = sorted(wrong[location], key=lambda finding: finding.place)
            for key in by_place[location]:
                facts = self.seen[key]
                self.seen[key] = replace(
                    facts,
                    findings=(*facts.findings, *ordered),
                    pickles=tuple(sorted(pickles[location].union(facts.pickles))),
                )

    def _inventory(self, lister: Lister, registry: str, at_ms: int) -> Inventory:
        by_model: dict[str, list[VersionFacts]] = defaultdict(list)
        doomed = lister.doomed(self.seen.values())
        for key, facts in self.seen.items():
            found = replace(facts, doomed=doomed[key]) if key in doomed else facts
            by_model[facts.name].append(found)
        models = [
            ModelFacts(
                name=name,
                created_ms=model.created_ms,
                aliases=model.aliases,
                tags=model.tags,
                ledger=self.ledgers.get(name),
                versions=tuple(sorted(by_model.get(name, ()), key=_NUMBER)),
            )
            for name, model in sorted(lister.listing.models.items())
        ]
        return Inventory(
            registry=registry,
            at_ms=at_ms,
            models=tuple(models),
            complete=not self.problem,
            problem=self.problem,
            orphans=tuple(sorted(lister.orphans)),
            orphan_locations=lister.orphans,
        )


def _chunks(batch: Batch) -> Iterable[Batch]:
    """Remote packages one by one, for each is waited for; local ones by the hundred.

    The last one comes first, as `ahead` asks.
    """
    local: Batch = []
    for item in reversed(batch):
        if item[1][0] is None or is_remote(item[1][0]):
            yield [item]
            continue
        local.append(item)
        if len(local) == _LOCAL_CHUNK:
            yield local
            local = []
    if local:
        yield local


def _address() -> str:
    """What the memory of the registry in use is kept under."""
    file: Path | None = registry_file()
    return str(file) if file is not None else str(registry_in_use())


def _unread(error: PairlockError) -> Finding:
    return Finding(kind=error.kind, place=error.checked, expected=error.expected, found=error.found)


def _offline(registry: str) -> UnavailableError:
    return UnavailableError(
        "the registry is not on this machine, and this machine is offline",
        kind=ErrorKind.OFFLINE,
        checked=f"the registry {registry}",
        expected="a network",
        found="PAIRLOCK_OFFLINE",
        done="nothing was looked at",
        hint="unset PAIRLOCK_OFFLINE",
    )
