"""Packages that each released format wrote stay in `tests/data`, and must load for ever."""

from __future__ import annotations

from pathlib import Path

import pytest

import pairlock
from pairlock.manifest import FORMAT_VERSION

DATA = Path(__file__).parent.parent / "data"
DIGESTS = {
    "format-1/full": "sha256:d59607f800734946e3b9ba755e5f4feb8a17c520657399e7bfd08eddc6256612",
    "format-1/linear": "sha256:c45d187b5960ebe45dc681deb0812e5128747dd32053c05cd6a23620118411e9",
    "format-1/two_layer": "sha256:d8b24265d5f92ad4b71bc3ac93d22375b418de5ef1a81384a7372ff6f494c6c9",
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
