"""Packages that each released format wrote stay in `tests/data`, and must load for ever."""

from __future__ import annotations

from pathlib import Path

import pytest

import pairlock
from pairlock.manifest import FORMAT_VERSION

DATA = Path(__file__).parent.parent / "data"
DIGESTS = {
    "format-1/full": "sha256:ca4bb2242386cb14c306da718677bccf502ad6a9feea69e04dfaee909d0d6973",
    "format-1/linear": "sha256:f0bccbc99acc5288b420246747f41215f47c7f77070f7d791c6880580a8c7085",
    "format-1/two_layer": "sha256:3e27216d7805643b4d58a6aaeb88a0bd150bd8b7ef57ac29131522235f1a0955",
}
"""Digests of the kept packages; a package with another digest is another package."""


def test_every_format_up_to_this_one_is_kept() -> None:
    """There is a folder of packages for each format version."""
    kept = sorted(path.name for path in DATA.iterdir())
    assert kept == [f"format-{version}" for version in range(1, FORMAT_VERSION + 1)]


@pytest.mark.parametrize("name", DIGESTS)
def test_a_package_of_an_earlier_format_gives_its_vectors(name: str) -> None:
    """A kept package loads with its golden vectors, on the base that is kept beside it."""
    package = DATA / name
    base = None if package.name == "full" else str(package.parent / "full")
    found = pairlock.load(str(package), base=base, golden=True, expected_digest=DIGESTS[name])
    assert len(found.get_query_embedding("a refund")) == 32
    assert "golden vectors" in [check.name for check in pairlock.receipt(found).checks]
