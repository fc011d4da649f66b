"""How much of an installation a runtime needs, read from the installed distributions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

OWN = "pairlock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """What an extra of Pairlock brings, with all that this needs in turn."""

    extra: str
    distributions: int
    size_bytes: int
    """Of their files."""

    missing: tuple[str, ...]
    """Distributions that are needed and not installed."""


def footprint(extra: str) -> Footprint:
    """What an extra of Pairlock brings, as far as it is installed here.

    Args:
        extra: such as `serve`.
    """
    found: dict[str, Distribution] = {}
    missing: set[str] = set()
    seen: set[tuple[str, frozenset[str]]] = set()
    wanted = [(OWN, frozenset({extra}))]
    while wanted:
        name, extras = wanted.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        try:
            found[name] = one = distribution(name)
        except PackageNotFoundError:
            missing.add(name)
            continue
        wanted += _needed(one, extras)
    return Footprint(
        extra=extra,
        distributions=len(found),
        size_bytes=sum(map(_size_bytes, found.values())),
        missing=tuple(sorted(missing)),
    )


def _needed(one: Distribution, extras: frozenset[str]) -> Iterable[tuple[str, frozenset[str]]]:
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    for text in one.requires or ():
        needed = Requirement(text)
        environments = [{"extra": name} for name in (*extras, "")]
        if needed.marker is None or any(map(needed.marker.evaluate, environments)):
            yield str(canonicalize_name(needed.name)), frozenset(needed.extras)


def _size_bytes(one: Distribution) -> int:
    total = 0
    for file in one.files or ():
        path = Path(str(file.locate()))
        total += path.stat().st_size if path.is_file() else 0
    return total
