"""What is going to happen when a version is promoted in another registry. Data, no I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlsplit

from pairlock.catalog import Located, sqlite_path
from pairlock.errors import ErrorKind, InvalidInputError
from pairlock.ledger import Act, Entry, Sealed, Subject
from pairlock.promotion.rules.plan import Plan
from pairlock.registries import Registry

NOT_NUMBERED = 0
"""The number of a version that is not registered yet: the registry gives it."""

_SCHEMES = {"sqlite", "http", "https", "postgresql", "mysql", "mssql"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """A package that has to be in the other registry."""

    name: str
    """Its registered name, on both sides."""

    package_digest: str
    size_bytes: int
    source: Located
    """Where its bytes are copied from."""

    there: int | None
    """The version that holds it there already; None when it has to be copied."""

    def __str__(self) -> str:
        if self.there is not None:
            return f"{self.name}: version {self.there} is there already, {self.package_digest}"
        return f"{self.name}: copied from {self.source.uri}, {self.size_bytes} bytes, " + (
            self.package_digest
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SendPlan:
    """A promotion in another registry, with what has to be copied for it."""

    origin: Registry
    destination: Registry
    model: str
    version: int
    """As it is numbered here."""

    stage: str
    copies: tuple[Copy, ...]
    """The base first, then the package itself."""

    promotion: Plan | None
    """What is done there; None when the version is in the stage, and only this side does not know.
    Its subject has the number `NOT_NUMBERED` until the version is registered there."""

    unrecorded: tuple[Sealed, ...]
    """Promotions there of this model's versions that this side's ledger does not know: a process
    ended between the two entries."""

    changes: tuple[str, ...]
    """What is going to change, in words, in order."""

    @property
    def passed(self) -> bool:
        """Whether every gate lets it through."""
        return self.promotion is None or self.promotion.passed

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON data."""
        promotion = None if self.promotion is None else self.promotion.to_dict()
        if promotion is not None and promotion["subject"]["version"] == NOT_NUMBERED:
            promotion["subject"]["version"] = None
        return {
            "act": Act.SEND.value,
            "model": self.model,
            "version": self.version,
            "stage": self.stage,
            "from_registry": str(self.origin),
            "to_registry": str(self.destination),
            "passed": self.passed,
            "copies": [
                {
                    "name": copy.name,
                    "package_digest": copy.package_digest,
                    "size_bytes": copy.size_bytes,
                    "from": copy.source.uri,
                    "there": copy.there,
                }
                for copy in self.copies
            ],
            "promotion": promotion,
            "unrecorded": [one.entry.sequence for one in self.unrecorded],
            "changes": list(self.changes),
        }


def parse_destination(uri: str, origin: Registry) -> Registry:
    """The registry that a URI names.

    Args:
        uri: as `MLFLOW_TRACKING_URI` takes it.
        origin: the registry in use, which it cannot be.

    Raises:
        InvalidInputError: it names none, or the one in use.
    """
    try:
        scheme = urlsplit(uri).scheme.partition("+")[0].lower()
    except ValueError:
        scheme = ""
    if scheme not in _SCHEMES:
        raise InvalidInputError(
            f"{uri!r} names no registry",
            kind=ErrorKind.DESTINATION,
            checked="the registry to promote in",
            expected="sqlite:///path/mlflow.db, or an MLflow server's http:// or https:// address",
            found=repr(uri),
            done="nothing was looked up",
            hint="write it as MLFLOW_TRACKING_URI takes it",
        )
    found = Registry(uri, uri)
    if _plain(uri) == _plain(origin.registry):
        raise same_registry(found)
    return found


def same_registry(destination: Registry) -> InvalidInputError:
    """The error for a destination that is the registry in use."""
    return InvalidInputError(
        f"{destination} is the registry in use",
        kind=ErrorKind.DESTINATION,
        checked="the registry to promote in",
        expected="another one than MLFLOW_TRACKING_URI names",
        found=str(destination),
        done="nothing was changed",
        hint="leave --to-registry out to promote here",
    )


def origin_of(
    registry: Registry, entry_model: str, created_ms: int, version: int, head: Sealed | None
) -> dict[str, Any]:
    """What the destination's entry says of where a version came from.

    Args:
        registry: where it came from.
        entry_model: its name there.
        created_ms: when the registered model was made there: with the name it tells it from
            every other, by whatever address its registry is reached.
        version: its number there.
        head: the newest entry of its ledger there.
    """
    return {
        "registry": str(registry),
        "model": entry_model,
        "model_created_ms": created_ms,
        "version": version,
        "entry": None if head is None else head.entry.sequence,
        "entry_digest": None if head is None else head.digest,
    }


def sent_origin(registry: Registry, promoted: Sealed) -> dict[str, Any]:
    """What this side's entry says of where a version went.

    Args:
        registry: where to.
        promoted: the entry there.
    """
    entry = promoted.entry
    return {
        "registry": str(registry),
        "model": entry.model,
        "model_created_ms": entry.model_created_ms,
        "version": None if entry.subject is None else entry.subject.version,
        "stage": entry.stage,
        "entry": entry.sequence,
        "entry_digest": promoted.digest,
        "by": entry.actor,
        "at": entry.at,
    }


def unrecorded(
    there: Sequence[Sealed], here: Sequence[Sealed], *, model: str, created_ms: int
) -> tuple[Sealed, ...]:
    """Promotions in another registry that came from here, and that are not written down here.

    Args:
        there: every entry of the other ledger.
        here: every entry of this one.
        model: the registered model's name here.
        created_ms: when it was made here, in ms since 1970.

    Returns:
        The other ledger's entries, oldest first.
    """
    known = {
        (one.entry.origin or {}).get("entry_digest") for one in here if one.entry.act is Act.SEND
    }
    found = [
        one
        for one in there
        if one.digest not in known and _came_from(one.entry, model=model, created_ms=created_ms)
    ]
    return tuple(sorted(found, key=lambda one: one.entry.sequence))


def sent_subject(promoted: Entry) -> Subject:
    """The version that was promoted elsewhere, as it is numbered here."""
    assert promoted.subject is not None and promoted.origin is not None
    return Subject(**{**asdict(promoted.subject), "version": promoted.origin["version"]})


def _came_from(entry: Entry, *, model: str, created_ms: int) -> bool:
    origin = entry.origin or {}
    return (
        entry.act is Act.PROMOTE
        and entry.subject is not None
        and (origin.get("model"), origin.get("model_created_ms")) == (model, created_ms)
        and type(origin.get("version")) is int
    )


def _plain(uri: str) -> str:
    """An address without what does not tell two registries apart."""
    path = sqlite_path(uri)
    if path is not None:
        return str(path.resolve())
    split = urlsplit(uri)
    host = split.netloc.rpartition("@")[2].lower()
    return f"{split.scheme.lower()}://{host}{split.path.rstrip('/')}"
