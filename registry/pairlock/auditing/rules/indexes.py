"""Whether what stamped indexes were built with is there, and whether anything in a stage fits them.

An index does not say which stage it serves. It can be asked by every version in its document space:
so what counts is whether one of those in a stage is.
"""

from __future__ import annotations

from collections.abc import Iterator

from pairlock.auditing.codes import FACTS, Code, Severity
from pairlock.auditing.findings import AuditFinding
from pairlock.auditing.rules.known import Known
from pairlock.auditing.rules.saying import of_version
from pairlock.auditing.rules.view import View, version_reference
from pairlock.index import StampedIndex
from pairlock.inventory import VersionFacts


def find(view: View, known: Known) -> Iterator[AuditFinding]:
    """Indexes that nobody can ask, or that nobody in a stage can."""
    if not known.indexes:
        return
    serving = _serving(view)
    for index in known.indexes:
        copies = list(view.with_digest(index.stamp.package_digest))
        if not copies:
            if view.inventory.complete:
                yield _unknown(index, view)
            continue
        own = next((one for one in copies if one.uri == index.stamp.uri), copies[0])
        if (space := space_of(own)) is None:
            continue  # what is wrong with the version says so itself
        if space != index.stamp.document_space:
            yield of_version(
                Code.INDEX_FOREIGN_SPACE,
                own,
                severity=Severity.ERROR,
                place=index.place,
                expected=f"the document space of {own.uri}, {space}",
                found=f"a stamp of that package with {index.stamp.document_space}",
                todo="The stamp was not written by `pairlock.index.stamp`: make the index anew, "
                "and stamp that.",
            )
        elif space not in serving and (holder := _holder(view, {one.name for one in copies})):
            yield of_version(
                Code.INDEX_FOREIGN_SPACE,
                own,
                place=index.place,
                expected=f"the document space of {holder.uri}, {space_of(holder)}, or of another "
                "version in a stage",
                found=f"{own.uri}, {space}",
                todo=f"Embed its documents again with {holder.uri} into a new index, or retire it.",
            )


def space_of(version: VersionFacts) -> str | None:
    """The document space of a version, by its manifest or else by its tag."""
    if version.package is not None:
        return version.package.document_space
    return version.tags.get("pairlock.document_space")


def _serving(view: View) -> set[str]:
    """Document spaces of versions that are in a stage."""
    return {
        space
        for one in view.inventory.versions()
        if view.stages(one) and (space := space_of(one)) is not None
    }


def _holder(view: View, names: set[str]) -> VersionFacts | None:
    """A version of these models that is in a stage: in production before any other."""
    held = [
        (one, stages)
        for model in map(view.model, sorted(names))
        if model is not None
        for one in model.versions
        if (stages := view.stages(one)) and space_of(one) is not None
    ]
    held.sort(key=lambda pair: ("production" not in pair[1], pair[0].name, -pair[0].version))
    return held[0][0] if held else None


def _unknown(index: StampedIndex, view: View) -> AuditFinding:
    """Its package is no registered version; another one may be in its space."""
    stamp = index.stamp
    reference = version_reference(stamp.uri)
    named = None if reference is None else view.version(reference.name, reference.version)
    fits = next(
        (
            one
            for one in sorted(view.inventory.versions(), key=lambda one: (one.name, one.version))
            if space_of(one) == stamp.document_space
        ),
        None,
    )
    there = "another package" if named is not None else "no such version"
    facts = FACTS[Code.INDEX_UNKNOWN_VERSION]
    return AuditFinding(
        code=Code.INDEX_UNKNOWN_VERSION,
        severity=facts.severity if fits is None else Severity.WARNING,
        model=reference.name if reference and view.model(reference.name) else None,
        version=named.version if named is not None else None,
        place=index.place,
        expected=f"{stamp.uri}, package {stamp.package_digest}",
        found=there
        if fits is None
        else f"{there}; {fits.uri} is in the same document space, and can ask the index",
        todo=facts.todo,
    )
