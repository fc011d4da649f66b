"""Packages that each released format wrote stay in `tests/data`, and must load for ever."""

from __future__ import annotations

from pathlib import Path

import pytest

import pairlock
from pairlock.manifest import FORMAT_VERSION

DATA = Path(__file__).parent.parent / "data"
DIGESTS = {
    "format-1/full": "sha256:2947c858a9c6b808a45debed2895d7762eafaf4224ec610b9e9ba2b235120acd",
    "format-1/linear": "sha256:b69aae7978d5715627e178a0d4a90bc95a92474309d15ad46d5bc1b8cb54f69a",
    "format-1/two_layer": "sha256:818cdc9aecdecf64e6d4e61ab002ce89926da51b4194eba0f3c4beb882f29d55",
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
