"""What a whole registry holds, as compact data: nothing of a manifest that nobody asks for.

Ten thousand versions fit into some hundred MB: names, digests and locations that many versions
share are one object each. What there is one of for each version is a `msgspec.Struct`, which is
made in a quarter of the time that a frozen dataclass takes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from msgspec import Struct

from pairlock.errors import Finding
from pairlock.inventory.looking import folders_of
from pairlock.inventory.pickles import pickles_in
from pairlock.ledger import State
from pairlock.manifest import BaseOrigin, Kind


class PackageState(StrEnum):
    """What was found where a version's bytes should lie."""

    THERE = "there"
    """Its manifest was read, now or earlier under the same digest, and it is still there."""

    FOREIGN = "foreign"
    """Another flavor logged it."""

    MISSING = "missing"
    """No manifest lies there."""

    UNREADABLE = "unreadable"
    """A manifest lies there that this release cannot read."""

    UNREACHABLE = "unreachable"
    """The store did not answer."""


class PinFacts(Struct, frozen=True, kw_only=True, gc=False):
    """The base that a version is pinned to."""

    uri: str
    origin: BaseOrigin
    tree_digest: str
    package_digest: str | None
    """None when the base is no Pairlock package."""

    dimension: int | None
    """None where only the version's tags are known."""


class PackageFacts(Struct, frozen=True, kw_only=True, gc=False):
    """What an audit asks of one manifest. Versions with one digest share one object."""

    digest: str
    """Package digest of the manifest that was read."""

    kind: Kind
    dimension: int
    """Components of a vector."""

    input_dimension: int | None
    """Components that an adapter takes; None for a full model, and where PEFT does not say."""

    document_space: str
    """The space of a document's vector, `sha256:<hex>`."""

    query_space: str
    """The space of a query's vector, `sha256:<hex>`."""

    base: PinFacts | None
    """None for a full model."""

    libraries: Mapping[str, str]
    """Distribution to version, as installed when the package was made."""

    paths: tuple[str, ...]
    """Of the files of its payload, relative to the package."""

    sizes: tuple[int, ...]
    """In bytes, of the files at `paths`."""

    foreign_classes: tuple[str, ...]
    """Classes of other packages that it needs, such as `acme.modules:Gate`."""

    device_order: tuple[str, ...]
    """Device types that the hints name, best first."""

    dtype: str

    @property
    def folders(self) -> tuple[str, ...]:
        """Every folder that `paths` lie in, relative to the package; the package is empty."""
        return folders_of(self.paths)

    @property
    def pickles(self) -> tuple[str, ...]:
        """The files that are named as pickles are."""
        return pickles_in(self.paths)

    def lists(self, found: Mapping[str, int]) -> bool:
        """Whether its payload is files of these names and sizes, and no others."""
        return len(found) == len(self.paths) and all(
            found.get(path) == size for path, size in zip(self.paths, self.sizes, strict=True)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignFacts:
    """What can be known of a model that another flavor logged, by its small files."""

    flavors: tuple[str, ...]
    """The flavors that its `MLmodel` names, such as `sentence_transformers`."""

    is_adapter: bool = False
    """Whether a PEFT `adapter_config.json` lies in it."""

    base: str = ""
    """What that file calls the base (`base_model_name_or_path`); empty where it names none."""


class VersionFacts(Struct, frozen=True, kw_only=True, gc=False):
    """One registered version."""

    name: str
    version: int
    state: str
    """As `catalog.VersionState.state`: `ready`, `archived`, or another status of MLflow's."""

    legacy_stage: str | None
    """MLflow's legacy stage, in small letters; None for none."""

    created_ms: int
    """In ms since 1970, by the registry's clock."""

    model_id: str | None
    """The logged model that it was registered from."""

    location: str
    """Where its bytes lie, for `open_store`."""

    tags: Mapping[str, str]
    """Its `pairlock.*` tags."""

    package_state: PackageState
    package: PackageFacts | None
    """None unless a manifest was read."""

    tags_agree: bool = False
    """Whether its tags are known to say all that the manifest says."""

    findings: tuple[Finding, ...] = ()
    """Everything in which the stored bytes are not what the manifest says, as far as was looked:
    names and sizes always, every byte where that was asked for."""

    problem: str = ""
    """Why nothing is known of the package, in words."""

    foreign: ForeignFacts | None = None
    """What is known where `package_state` is FOREIGN."""

    pickles: tuple[str, ...] = ()
    """Files that lie there and are pickles (`inventory.pickles`), listed in the manifest or not: by
    name always, by their first bytes where every byte was asked for."""

    doomed: str = ""
    """The deleted logged model, `logged model m-…`, or the deleted run, `run …`, that its bytes
    belong to: `mlflow gc` deletes them. Empty where they belong to none that is deleted."""

    other_files: tuple[str, ...] = ()
    """Files beside the payload that neither Pairlock nor MLflow writes; for a package of another
    flavor, every file. At most 100, by path relative to the location."""

    @property
    def uri(self) -> str:
        """What it is loaded as."""
        return f"models:/{self.name}/{self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerFacts:
    """What the ledger of a registered model says."""

    location: str
    state: State
    """Who holds which stage."""

    entries: int
    """How many there are."""

    ever_held: frozenset[str]
    """Stages that the ledger has spoken of."""

    projected: tuple[State, ...] = ()
    """What the entry says that the aliases were last known to follow (the tag
    `pairlock.ledger.head`; `State()` without it), then what any entries between it and the newest
    say. Empty where they follow the newest one."""

    held_versions: frozenset[int] = frozenset()
    """Versions that ever held a stage."""

    bypassed: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """For each stage the gates that were bypassed when its present holder came."""

    findings: tuple[Finding, ...] = ()
    """Everything in which it is not what was written."""

    problem: str = ""
    """Why it could not be read, in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """One registered model."""

    name: str
    created_ms: int
    aliases: Mapping[str, int]
    tags: Mapping[str, str]
    ledger: LedgerFacts | None
    """None where nothing was ever promoted; or it was not read, where the inventory broke off."""

    versions: tuple[VersionFacts, ...]
    """In the order of their numbers."""

    def version(self, number: int) -> VersionFacts | None:
        """The version of this number; None when it is not there."""
        return next((one for one in self.versions if one.version == number), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """A registry, as it was looked at."""

    registry: str
    """Its address, without credentials."""

    at_ms: int
    """When it was looked at, in ms since 1970."""

    models: tuple[ModelFacts, ...]
    """By name."""

    complete: bool = True
    """False when it was stopped, or the registry went away, before the end."""

    problem: str = ""
    """Why it is not complete, in words."""

    orphans: tuple[str, ...] = field(default=())
    """Ids of Pairlock's logged models that no version was registered from."""

    orphan_locations: Mapping[str, str] = field(default_factory=dict)
    """Where the bytes of each orphan lie, by its id."""

    def versions(self) -> Iterator[VersionFacts]:
        """Every version, by model and number."""
        for model in self.models:
            yield from model.versions
