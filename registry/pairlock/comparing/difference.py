"""In what two packages differ. Data only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pairlock.spaces import SpaceVerdict

SCHEMA = "pairlock.diff/1"
"""Names the form of the JSON document. A new key does not change it; another meaning does."""


class Change(StrEnum):
    """What became of a file."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"
    SAME = "same"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChange:
    """One payload file that is in one of the packages, or in both."""

    path: str
    change: Change
    role: str
    """`weights`, `golden vectors`, or empty for every other file."""

    size_before: int | None
    """Bytes in the first; None where it is not there."""

    size_after: int | None
    """Bytes in the second; None where it is not there."""

    def to_dict(self) -> dict[str, Any]:
        """The change as JSON data."""
        return {
            "path": self.path,
            "change": self.change.value,
            "role": self.role,
            "size_before": self.size_before,
            "size_after": self.size_after,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One fact of both."""

    section: str
    """What it is part of: package, base, encode, adapter, libraries, devices, …"""

    name: str
    before: Any
    """JSON data; None where the first has no such fact."""

    after: Any
    """JSON data; None where the second has no such fact."""

    inside: bool
    """Whether the package says it. Else the registry does, and it can change."""

    @property
    def same(self) -> bool:
        """Whether both are alike; `1` and `true` are not."""
        return bool(_plain(self.before) == _plain(self.after))

    def to_dict(self) -> dict[str, Any]:
        """The row as JSON data."""
        return {
            "section": self.section,
            "name": self.name,
            "before": self.before,
            "after": self.after,
            "inside": self.inside,
            "same": self.same,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenDeviation:
    """How far the golden vectors of two packages lie apart."""

    figures: Mapping[str, Mapping[str, float]]
    """By role (`query`, `text`): `texts` compared, `one_minus_cosine`, `mean_one_minus_cosine`,
    `max_abs`, `norm`. Empty where nothing was compared."""

    reason: str
    """Why nothing was compared, in words; empty where something was."""

    def to_dict(self) -> dict[str, Any]:
        """The deviation as JSON data."""
        return {
            "figures": {role: dict(found) for role, found in self.figures.items()},
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """In what the second of two packages differs from the first."""

    before: str
    """The first: a version's URI, or a folder."""

    after: str
    """The second."""

    same: bool
    """Whether both are one package, byte for byte. What the registry knows of them may differ."""

    rows: tuple[Row, ...]
    """Every fact, section by section."""

    files: tuple[FileChange, ...]
    """Every payload file, by path."""

    golden: GoldenDeviation
    space: SpaceVerdict
    """Whether an index that was made with the first has to be made again for the second."""

    unknown: tuple[str, ...] = ()
    """What could not be found out, and why, in words."""

    def to_dict(self) -> dict[str, Any]:
        """The difference as JSON data."""
        return {
            "schema": SCHEMA,
            "before": self.before,
            "after": self.after,
            "same": self.same,
            "rows": [row.to_dict() for row in self.rows],
            "files": [file.to_dict() for file in self.files],
            "golden": self.golden.to_dict(),
            "space": self.space.to_dict(),
            "unknown": list(self.unknown),
        }


def _plain(value: Any) -> Any:
    """A value with its type, as Python holds `1` and `True` to be equal."""
    if isinstance(value, list):
        return ["list", *map(_plain, value)]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    # JSON has one kind of number
    return ("number" if type(value) in {int, float} else type(value).__name__, value)
