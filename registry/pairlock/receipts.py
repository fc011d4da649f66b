"""What a load checked and found, carried by the object it returned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pairlock.errors import ErrorKind, InvalidInputError

ATTRIBUTE = "_pairlock_receipt"
"""Private attribute of a loaded embedding that holds its receipt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was checked, and passed."""

    name: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseReceipt:
    """The base an adapter was put on."""

    uri: str
    """Where the pin says it is."""

    loaded_from: str
    """Where it was found."""

    tree_digest: str
    package_digest: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What was loaded, from where, on what, and what was proved about it."""

    requested: str
    """What the caller wrote."""

    uri: str
    """What it was resolved to; loading this gives the same bytes for good."""

    kind: str
    package_digest: str
    anchors: Mapping[str, str]
    """Records outside the package that name the same digest. Empty: the package is whole in
    itself, and nothing else says that it is the approved one."""

    dimension: int
    document_space: str
    """The space of its document vectors: an index that was built in another one does not fit."""

    query_space: str
    """The space of its query vectors."""

    device: str
    device_reason: str
    passed_over: tuple[str, ...]
    """Devices that would have come first, and why each was not taken."""

    dtype: str
    merged: bool | None
    """Whether a PEFT adapter was added to the weights; None where there is none."""

    runtime: str
    base: BaseReceipt | None
    checks: tuple[Check, ...]
    location: str
    """Where the package's bytes lie: a folder, or another store's URI."""

    loaded_from: str
    """The folder on this machine that it was loaded from."""

    answer_age_s: float | None
    """How old the registry's answer is, in seconds, when it was not asked; None when it was."""

    bytes_verified: int
    """Bytes of the package's and its base's files; each has the recorded sha256."""

    bytes_hashed: int
    """How many of them this load read from this machine's disk and hashed. Others were hashed while
    they arrived, or are in the cache and unchanged by size, time and inode since."""

    bytes_fetched: int
    """How many this load fetched."""

    warnings: tuple[str, ...]
    """What somebody should know: a version that was made again, a base from a mirror."""

    libraries: Mapping[str, str]
    """Versions in this process; the manifest has those the package was made with."""

    def to_dict(self) -> dict[str, Any]:
        """The receipt as JSON data."""
        return {**asdict(self), "anchors": dict(self.anchors), "libraries": dict(self.libraries)}


def receipt(embedding: object) -> Receipt:
    """The receipt of an embedding that `pairlock.load` returned.

    Raises:
        InvalidInputError: it was not loaded by Pairlock.
    """
    found = getattr(embedding, ATTRIBUTE, None)
    if not isinstance(found, Receipt):
        raise InvalidInputError(
            f"{type(embedding).__name__} was not loaded by Pairlock",
            kind=ErrorKind.NOT_A_PAIRLOCK_EMBEDDING,
            checked="the object",
            expected="an embedding that pairlock.load returned",
            found=f"{type(embedding).__module__}.{type(embedding).__qualname__}",
            done="nothing",
            hint="load the model with pairlock.load",
        )
    return found
