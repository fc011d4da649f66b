"""Finds and proves the files of a load: the package's, and those of the base under an adapter.

Nothing here knows a model library, so that it can be done while one is imported.
"""

from __future__ import annotations

from dataclasses import dataclass

from pairlock.bases import Base, open_base
from pairlock.catalog import Located
from pairlock.config import Settings
from pairlock.packages import Package, open_package
from pairlock.progress import Progress
from pairlock_flavors.wish import Wish


@dataclass(frozen=True, slots=True, kw_only=True)
class Proved:
    """A package whose every byte is right, and its base, likewise."""

    package: Package
    base: Base | None


def prove(located: Located, *, settings: Settings, wish: Wish, progress: Progress) -> Proved:
    """Find and prove the files of a load.

    Args:
        located: where the package lies.
        settings: which cache and mirrors, and whether the network may be used.
        wish: which digest is expected, and where a base is to be taken from.
        progress: told about the bytes.

    Raises:
        PairlockError: anything is missing, or differs from what was approved.
    """
    package = prove_package(located, settings=settings, wish=wish, progress=progress)
    base = None
    if package.manifest.base is not None:
        base = prove_base(package, settings=settings, wish=wish, progress=progress)
    return Proved(package=package, base=base)


def prove_package(
    located: Located, *, settings: Settings, wish: Wish, progress: Progress
) -> Package:
    """Find and prove a package; see `prove`."""
    return open_package(
        located, settings=settings, progress=progress, expected_digest=wish.expected_digest
    )


def prove_base(package: Package, *, settings: Settings, wish: Wish, progress: Progress) -> Base:
    """Find and prove the base of an adapter's package; see `prove`."""
    pin = package.manifest.base
    assert pin is not None
    return open_base(pin, instead=wish.base, settings=settings, progress=progress)
