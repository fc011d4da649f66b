"""Plants defects of every code and clean twins into one registry, audits it, and compares."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pairlock
from pairlock.auditing.codes import Code
from pairlock.auditing.result import Audit
from support.planting import bases, bytes, indexes, stages, tags, versions
from support.planting.case import DEEP, DEFAULT, GOLDEN, Case, Found
from support.planting.packages import EXAMPLE
from support.planting.site import Site
from support.registries import active

PLANTED: Mapping[Code, Callable[[Case], None]] = {
    Code.BASE_MISSING: bases.missing,
    Code.BASE_MOVED: bases.moved,
    Code.BASE_DIGEST: bases.digest,
    Code.BASE_DIMENSION: bases.dimension,
    Code.BASE_RETIRED: bases.retired,
    Code.BASE_NOT_IN_STAGE: bases.not_in_stage,
    Code.BASE_UNPINNED: bases.unpinned,
    Code.BASE_UNREGISTERED: bases.unregistered,
    Code.PACKAGE_MISSING: bytes.missing,
    Code.PACKAGE_INCOMPLETE: bytes.incomplete,
    Code.PACKAGE_TAMPERED: bytes.tampered,
    Code.PACKAGE_UNREADABLE: bytes.unreadable,
    Code.PACKAGE_UNREACHABLE: bytes.unreachable,
    Code.FOREIGN_FILES: bytes.foreign,
    Code.FOREIGN_FLAVOR: bytes.flavor,
    Code.PICKLE: bytes.pickles,
    Code.GOLDEN: bytes.golden,
    Code.NOT_PROVED: bytes.not_proved,
    Code.CACHE_DAMAGED: bytes.cached,
    Code.TAGS_MISSING: tags.missing,
    Code.TAGS_WRONG: tags.wrong,
    Code.ALIAS_UNEXPLAINED: stages.unexplained,
    Code.ALIAS_BEHIND: stages.behind,
    Code.LEDGER_BROKEN: stages.broken,
    Code.HOLDER_GONE: stages.gone,
    Code.HOLDER_ARCHIVED: stages.archived,
    Code.HOLDER_FAILS_GATE: stages.gate,
    Code.SPACE_CHANGES: stages.spaces,
    Code.POLICY_UNREADABLE: stages.policy,
    Code.NOT_READY: versions.not_ready,
    Code.LIBRARY_DRIFT: versions.drift,
    Code.IDENTICAL: versions.identical,
    Code.SUPERSEDED: versions.superseded,
    Code.NEVER_PROFILED: versions.unprofiled,
    Code.INDEX_UNKNOWN_VERSION: indexes.unknown,
    Code.INDEX_FOREIGN_SPACE: indexes.foreign_space,
    Code.GC_WOULD_DELETE: versions.doomed,
    Code.ORPHANED: versions.orphaned,
}
"""How each code is planted."""

_LOADED = (Code.GOLDEN, Code.NOT_PROVED)
"""Codes whose models are loaded, by `--golden`; those of the others never were models."""


@dataclass
class Tally:
    """What became of one code."""

    planted: int = 0
    found: int = 0
    wrong: list[str] = field(default_factory=list)
    """Planted ones that were not found, or elsewhere, or under another code."""

    invented: list[str] = field(default_factory=list)
    """What was found at a defect beside what had to be."""

    on_twins: list[str] = field(default_factory=list)
    """What was found, or not found, at a clean twin."""

    @property
    def is_right(self) -> bool:
        """Whether everything was found, and nothing else."""
        return self.planted == self.found and not (self.wrong or self.invented or self.on_twins)


def plant_and_audit(
    folder: Path,
    *,
    each: int,
    seed: int = 1,
    codes: Iterable[Code] = PLANTED,
    root: str | None = None,
    s3: Any = None,
    template: Path | None = None,
    tell: Callable[[str], None] = lambda _text: None,
) -> dict[Code, Tally]:
    """Plant, audit three times, and compare.

    Args:
        folder: where the registry goes; it is made.
        each: defects of each code, and as many clean twins.
        seed: what is varied at random follows from it.
        codes: which.
        root: where the bytes go, `s3://bucket/prefix`; None for the folder.
        s3: a boto3 client, for S3.
        template: as `Site`.
        tell: told what is being done.

    Returns:
        What became of each code.
    """
    site = Site(folder, root=root, s3=s3, template=template)
    with _environment(folder), active(site.uri):
        cases = [
            Case(site, code, number, planted=planted, seed=seed)
            for code in codes
            for number in range(each)
            for planted in (True, False)
        ]
        for case in cases:
            PLANTED[case.code](case)
        tell(f"{len(cases)} defects and twins in {len(site.models)} models are made")
        site.build()
        tell("the registry is built")
        for case in cases:
            case.plant()
        tell("the defects are planted")
        allow = sorted({name for case in cases for name in case.allow})
        loaded = [case.name for case in cases if case.code in _LOADED]
        folders = [folder for case in cases for folder in case.indexes]
        done = {
            DEFAULT: pairlock.audit(indexes=folders),
            DEEP: pairlock.audit(indexes=folders, deep=True),
        }
        tell("the default and the deep audit are done")
        if loaded:
            names = [f"{name}*" for name in loaded]
            done[GOLDEN] = pairlock.audit(golden=True, models=names, allow=allow)
            tell("the audit of golden vectors is done")
        return compare(cases, {name: _found(audit) for name, audit in done.items()}, loaded)


def compare(
    cases: list[Case], audits: Mapping[str, set[Found]], loaded: list[str]
) -> dict[Code, Tally]:
    """Compare what was found with what had to be, for each audit.

    One place may be wrong in several ways, as an entry of a ledger: that counts once.

    Args:
        cases: what was planted.
        audits: what each found.
        loaded: names of the cases that the audit of golden vectors was asked for.
    """
    tallies = {case.code: Tally() for case in cases}
    owners: dict[tuple[str | None, str], Case] = {}
    for case in cases:
        tallies[case.code].planted += case.planted
        owners[case.name, ""] = case
        for one in case.expected:
            if one.found.model is None:
                owners[None, one.found.place] = case
    missed: dict[str, list[str]] = {}
    extra: dict[str, list[str]] = {}
    for name, found in audits.items():
        by_found: dict[Found, Case] = {}
        for case in cases:
            if name == GOLDEN and case.name not in loaded:
                continue
            for one in case.expected:
                if name == GOLDEN and one.found.model is None:
                    continue  # what belongs to no model is left out of a part of a registry
                if name in one.audits:
                    by_found[one.found] = case
        for lost in by_found.keys() - found:
            missed.setdefault(by_found[lost].name, []).append(f"{name}: not found: {lost}")
        for more in found - by_found.keys():
            case_name = _owner(more, owners)
            extra.setdefault(case_name, []).append(f"{name}: found: {more}")
    for case in cases:
        tally = tallies[case.code]
        lost_here, more_here = missed.get(case.name, []), extra.pop(case.name, [])
        if case.planted:
            tally.found += not lost_here
            tally.wrong += [f"{case.name}: {text}" for text in lost_here]
            tally.invented += [f"{case.name}: {text}" for text in more_here]
        else:
            tally.on_twins += [f"{case.name}: {text}" for text in lost_here + more_here]
    for texts in extra.values():  # at what all stand on, or at nobody's
        next(iter(tallies.values())).on_twins.extend(texts)
    return tallies


def _owner(found: Found, owners: Mapping[tuple[str | None, str], Case]) -> str:
    if found.model is None:
        case = owners.get((None, found.place))
        return "" if case is None else case.name
    parts = found.model.split("-")
    for end in range(len(parts), 0, -1):
        case = owners.get(("-".join(parts[:end]), ""))
        if case is not None:
            return case.name
    return ""


def _found(audit: Audit) -> set[Found]:
    assert audit.complete, audit.problem
    return {Found(one.code, one.model, one.version, one.stage, one.place) for one in audit.findings}


@contextmanager
def _environment(folder: Path) -> Iterator[None]:
    """A cache of its own, no policy of the caller's, and the example's class to import."""
    names = ("PAIRLOCK_CACHE", "PAIRLOCK_POLICY", "PAIRLOCK_OFFLINE", "HF_HUB_OFFLINE")
    before = {name: os.environ.get(name) for name in names}
    os.environ["PAIRLOCK_CACHE"] = str(folder / "cache")
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ.pop("PAIRLOCK_OFFLINE", None)
    os.environ.pop("PAIRLOCK_POLICY", None)
    sys.path.insert(0, str(EXAMPLE))
    writes_nothing, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # beside the example
    try:
        yield
    finally:
        sys.path.remove(str(EXAMPLE))
        sys.dont_write_bytecode = writes_nothing
        for name, text in before.items():
            if text is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = text


HEADER = f"{'code':22} {'planted':>8} {'found':>8} {'missed':>8} {'invented':>8} {'on twins':>8}"


def rows(tallies: Mapping[Code, Tally]) -> list[str]:
    """One line for each code, as `HEADER` has it."""
    return [
        f"{code.value:22} {one.planted:8} {one.found:8} {len(one.wrong):8} {len(one.invented):8}"
        f" {len(one.on_twins):8}"
        for code, one in tallies.items()
    ]
