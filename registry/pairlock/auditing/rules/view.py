"""An inventory as the rules ask it: by name, by digest, by use. Built once, in linear time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from functools import lru_cache

from pairlock.errors import PairlockError
from pairlock.inventory import Inventory, LedgerFacts, ModelFacts, PinFacts, VersionFacts
from pairlock.inventory.tags import digest_of, pin_of
from pairlock.ledger import Held
from pairlock.references import VersionReference, parse_reference

LEGACY = frozenset({"staging", "production"})
"""MLflow's legacy stages that mean that a version is in use."""

_NO_STAGE: AbstractSet[str] = frozenset()


class View:
    """Ways to ask an inventory.

    Of an inventory that broke off only what was looked at is known: that something is not in it
    says nothing of the registry.
    """

    def __init__(self, inventory: Inventory) -> None:
        self.inventory = inventory
        self._models = {model.name: model for model in inventory.models}
        self._versions: dict[tuple[str, int], VersionFacts] = {}
        self._by_digest: defaultdict[str, list[VersionFacts]] = defaultdict(list)
        self._uses: defaultdict[tuple[str, int], list[str]] = defaultdict(list)
        self._stages: defaultdict[tuple[str, int], set[str]] = defaultdict(set)
        self._stands_on: set[tuple[str, int]] = set()
        pinned: dict[int, tuple[PinFacts, list[VersionFacts]]] = {}
        legacy: list[VersionFacts] = []
        for version in inventory.versions():
            self._versions[version.name, version.version] = version
            if (digest := digest_of(version)) is not None:
                self._by_digest[digest].append(version)
            if (pin := pin_of(version)) is not None:
                # nearly all that have equal pins have one pin, which is found without comparing
                if id(pin) in pinned:
                    pinned[id(pin)][1].append(version)
                else:
                    pinned[id(pin)] = (pin, [version])
            if version.legacy_stage in LEGACY:
                legacy.append(version)
        self._pinned = tuple(pinned.values())
        for pin, _ in self._pinned:
            if (reference := version_reference(pin.uri)) is not None:
                self._stands_on.add((reference.name, reference.version))
        for model in inventory.models:
            for stage, held in held_stages(model):
                self._stages[model.name, held.version].add(stage)
                self._uses[model.name, held.version].append(f"stage {stage}")
            for alias, number in sorted(model.aliases.items()):
                self._uses[model.name, number].append(f"alias {alias}")
        for version in legacy:
            stage = str(version.legacy_stage)
            self._stages[version.name, version.version].add(stage)
            self._uses[version.name, version.version].append(f"MLflow's stage {stage}")

    @property
    def is_whole(self) -> bool:
        """Whether what is not there is not in the registry."""
        return self.inventory.complete

    def model(self, name: str) -> ModelFacts | None:
        """A registered model; None when it is not there."""
        return self._models.get(name)

    def version(self, name: str, number: int) -> VersionFacts | None:
        """A version; None when it is not there."""
        return self._versions.get((name, number))

    def with_digest(self, digest: str) -> Iterable[VersionFacts]:
        """Every version that is a package, or is tagged as it."""
        return self._by_digest.get(digest, ())

    def digests(self) -> Iterable[tuple[str, list[VersionFacts]]]:
        """Every digest, with the versions that are that package."""
        return self._by_digest.items()

    def pinned(self) -> Iterable[tuple[PinFacts, list[VersionFacts]]]:
        """Every pin, with the versions that have it. Equal pins may come more than once."""
        return self._pinned

    def used(self) -> Iterator[VersionFacts]:
        """Every version that something points to."""
        for key in self._uses:
            if (version := self._versions.get(key)) is not None:
                yield version

    def is_in_a_stage(self, version: VersionFacts) -> bool:
        """Whether there are `stages` that it is in."""
        own = (version.name, version.version)
        return own in self._uses and bool(self.stages(version))

    def uses(self, version: VersionFacts) -> list[str]:
        """What points to a version: stages by the ledger, aliases, MLflow's legacy stages."""
        return self._uses.get((version.name, version.version), [])

    def stages(self, version: VersionFacts) -> frozenset[str]:
        """The stages that a version is in, by the ledger or by MLflow's legacy stages.

        Where nothing was ever promoted, an alias says it.
        """
        own = self._stages.get((version.name, version.version), _NO_STAGE)
        model = self._models[version.name]
        if model.aliases and not has_entries(model.ledger):
            own = own | {name for name, one in model.aliases.items() if one == version.version}
        return frozenset(own)

    def stands_on(self, version: VersionFacts) -> bool:
        """Whether a version is pinned as somebody's base."""
        return (version.name, version.version) in self._stands_on

    def holders(self) -> Iterator[tuple[ModelFacts, str, Held, VersionFacts | None]]:
        """Every stage that the ledger says is held: model, stage, holder, and its version."""
        for model in self.inventory.models:
            for stage, held in held_stages(model):
                yield model, stage, held, self.version(model.name, held.version)


def has_entries(ledger: LedgerFacts | None) -> bool:
    """Whether a ledger can be read, and says anything."""
    return ledger is not None and ledger.entries > 0 and is_sound(ledger)


def is_sound(ledger: LedgerFacts) -> bool:
    """Whether what a ledger says can be believed."""
    return not ledger.findings and not ledger.problem


def held_stages(model: ModelFacts) -> list[tuple[str, Held]]:
    """Who holds the stages of a model, by its ledger; nobody where it cannot be believed."""
    if model.ledger is None or not is_sound(model.ledger):
        return []
    return sorted(model.ledger.state.stages.items())


@lru_cache(maxsize=4096)
def version_reference(uri: str) -> VersionReference | None:
    """The registered version that a URI names; None for anything else."""
    try:
        found = parse_reference(uri)
    except PairlockError:
        return None
    return found if isinstance(found, VersionReference) else None
