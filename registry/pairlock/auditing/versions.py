"""What is known of a version: by its manifest, or else by its tags. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pairlock.auditing.rules.view import LEGACY
from pairlock.inventory import ModelFacts, PackageState, VersionFacts
from pairlock.manifest import Kind

FOREIGN = "foreign"
"""The kind of a version that another flavor logged."""

UNKNOWN = "unknown"
"""The kind of a version of which neither manifest nor tags can be read."""

KINDS = (*(kind.value for kind in Kind), FOREIGN, UNKNOWN)
"""Everything that `kind_of` says."""


@dataclass(frozen=True, slots=True)
class Holding:
    """Which stages a version holds, in the order of the alphabet."""

    stages: tuple[str, ...] = ()
    """By the ledger."""

    aliases: tuple[str, ...] = ()
    """By MLflow's aliases."""

    legacy_stage: str | None = None
    """MLflow's legacy stage, where it is one that a version is used in."""

    @property
    def names(self) -> tuple[str, ...]:
        """All of them."""
        legacy = () if self.legacy_stage is None else (self.legacy_stage,)
        return tuple(sorted({*self.stages, *self.aliases, *legacy}))


def kind_of(version: VersionFacts) -> str:
    """One of `KINDS`."""
    if version.package is not None:
        return str(version.package.kind)
    tag = version.tags.get("pairlock.kind", "")
    if tag in set(Kind):
        return tag
    return FOREIGN if version.package_state is PackageState.FOREIGN else UNKNOWN


def dimension_of(version: VersionFacts) -> int | None:
    """Components of a vector; None when nobody says."""
    if version.package is not None:
        return version.package.dimension
    tag = version.tags.get("pairlock.dimension", "")
    return int(tag) if tag.isascii() and tag.isdecimal() and len(tag) < 10 else None


def holdings(model: ModelFacts) -> Mapping[int, Holding]:
    """Which versions of a model hold stages; those that hold none are not named."""
    stages: dict[int, list[str]] = {}
    aliases: dict[int, list[str]] = {}
    if model.ledger is not None:
        for stage, held in sorted(model.ledger.state.stages.items()):
            stages.setdefault(held.version, []).append(stage)
    for alias, number in sorted(model.aliases.items()):
        aliases.setdefault(number, []).append(alias)
    legacy = {
        version.version: version.legacy_stage
        for version in model.versions
        if version.legacy_stage in LEGACY
    }
    return {
        number: Holding(
            tuple(stages.get(number, ())), tuple(aliases.get(number, ())), legacy.get(number)
        )
        for number in sorted({*stages, *aliases, *legacy})
    }
