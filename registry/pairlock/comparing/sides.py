"""Finds out what is known of a version: manifest, golden vectors at hand, the registry's facts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pairlock.catalog import Located, ledger_location, registered_model
from pairlock.comparing.rules import Golden, Side
from pairlock.config import Settings, current_settings
from pairlock.errors import PairlockError
from pairlock.evaluation.recorded import recorded_metrics
from pairlock.golden_files import read_golden
from pairlock.hashing import ProvedFiles, prove_files
from pairlock.manifest import Manifest
from pairlock.manifest.format import GOLDEN_TEXTS, GOLDEN_VECTORS
from pairlock.packages import open_package, package_error
from pairlock.progress import Progress
from pairlock.promotion.facts.opened import open_model
from pairlock.promotion.facts.versions import stages_of
from pairlock.show import show
from pairlock.stores import LocalStore
from pairlock.stores.opening import is_remote


def read_side(uri: str, *, offline: bool | None, progress: Progress) -> Side:
    """Find out what is known of a version, without moving bytes of its payload.

    Raises:
        IntegrityError: its manifest, or its golden vectors, are not what was registered.
        PairlockError: every other reason not to read its manifest, and that the registry that named
            it does not answer any more.
    """
    settings = current_settings(offline=offline)
    found = show(uri, offline=offline)
    located = found.located
    unknown: list[str] = []
    stages: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    if located.remembered_at is not None:
        unknown.append(f"{located.uri}: metrics, profiles and stages are not asked for offline")
    elif located.name is not None and located.version is not None:
        model = registered_model(located.name)
        aliases = tuple(one for one, number in model.aliases.items() if number == located.version)
        if ledger_location(model) is not None:
            try:
                stages = tuple(stages_of(open_model(located.name).state, located.version))
            except PairlockError as error:
                unknown.append(f"{located.uri}: stages, for {error.summary}")
    return Side(
        uri=located.uri,
        digest=found.digest,
        manifest=found.manifest,
        golden=golden_at_hand(located, found.manifest, found.digest, settings, progress),
        measured=recorded_metrics(located, digest=found.digest),
        profiles=found.profiles,
        stages=stages,
        aliases=aliases,
        unknown=tuple(unknown),
    )


def golden_at_hand(
    located: Located, manifest: Manifest, digest: str, settings: Settings, progress: Progress
) -> Golden:
    """A version's golden vectors, where they lie on this machine; else why they do not.

    Raises:
        IntegrityError: they are there, and are not the recorded ones.
        FormatError: they are not what the manifest says they are.
    """
    if not is_remote(located.location):
        proved = _prove(Path(located.location), manifest, located.uri, progress)
    else:
        try:
            # nothing is fetched: what is in the cache was proved when it came
            package = open_package(
                located,
                settings=replace(settings, offline=True),
                progress=progress,
                expected_digest=digest,
            )
        except PairlockError as error:
            return Golden(reason=f"{error.summary}; `pairlock pull {located.uri}` brings it")
        proved = package.proved
    vectors, texts = read_golden(proved.store.root, manifest)
    proved.check_unchanged()
    return Golden(texts=texts, vectors=vectors)


def _prove(root: Path, manifest: Manifest, uri: str, progress: Progress) -> ProvedFiles:
    """Prove the two files that hold golden vectors, and no other."""
    wanted = {GOLDEN_TEXTS, GOLDEN_VECTORS}
    store = LocalStore(root)
    there = {path: entry for path in sorted(wanted) if (entry := store.entry(path)) is not None}
    records = [record for record in manifest.files if record.path in wanted]
    findings, proved = prove_files(store, records, there, progress=progress)
    if findings:
        raise package_error(uri, findings)
    return proved
